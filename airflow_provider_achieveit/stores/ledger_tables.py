"""The ledger's two tables: what is in them, and how they come to be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text, UniqueConstraint, inspect
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.schema import CreateTable

from airflow_provider_achieveit.warehouse.databases.base import Database
from airflow_provider_achieveit.warehouse.types import UtcMoment

_ID_CHARS = 250
"""The longest id that Airflow's own database takes."""
_MYSQL_NO_CREATE = (1044, 1142)
_OPTIONS: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    # Rows without transactions, or text without all of Unicode, is what a server may be set up for.
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"))
}


class LedgerError(Exception):
    """The ledger cannot be used as it is; the message says what to change. Nothing was sent."""


@dataclass(frozen=True, slots=True)
class LedgerTables:
    """The tables.

    :param submissions: one row for each time a batch is planned and sent.
    :param rejects: one row for each reason why a row was not sent.
    """

    submissions: Table
    rejects: Table


def ledger_tables(name: str) -> LedgerTables:
    """Return the tables of a ledger.

    :param name: the submissions' table, or ``schema.table``.
    :raises LedgerError: the name is none.
    """
    schema, dot, table = name.rpartition(".")
    if not table or (dot and not schema):
        raise LedgerError(f"The ledger_table {name!r} is no name of a table. Give 'table' or 'schema.table'")
    metadata = MetaData(schema=schema or None)
    return LedgerTables(
        Table(
            table,
            metadata,
            # SQLite numbers rows by itself only where the key is an INTEGER.
            Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
            *_task_columns(),
            Column("max_tries", Integer, nullable=False),
            Column("filename", String(_ID_CHARS), nullable=False),
            Column("fingerprint", String(64), nullable=False),
            Column("row_count", BigInteger, nullable=False),
            Column("job_id", String(_ID_CHARS)),
            Column("state", String(20), nullable=False),
            Column("reason", Text),
            Column("planned_at", UtcMoment, nullable=False),
            Column("sent_at", UtcMoment),
            Column("ended_at", UtcMoment),
            Column("slot", String(64), nullable=False),
            Column("send_number", Integer, nullable=False),
            Column("last_planned_at", UtcMoment, nullable=False),
            Column("last_planned_by", Integer, nullable=False),
            # Whoever inserts first sends: safe on every database, without locks.
            UniqueConstraint("slot", "fingerprint", "send_number"),
            **_OPTIONS,
        ),
        Table(
            f"{table}_rejects",
            metadata,
            # Of the key, so that a try replaces its own rows.
            Column("slot", String(64), primary_key=True),
            Column("position", BigInteger, primary_key=True, autoincrement=False),
            *_task_columns(in_key=("map_index", "try_number")),
            Column("source_row", BigInteger, nullable=False),
            Column("source_column", Text, nullable=False),
            Column("value", Text, nullable=False),
            Column("reason", Text, nullable=False),
            Column("written_at", UtcMoment, nullable=False),
            **_OPTIONS,
        ),
    )


def _task_columns(in_key: tuple[str, ...] = ()) -> Iterator[Column[Any]]:
    for name in ("dag_id", "task_id", "run_id"):
        yield Column(name, String(_ID_CHARS), nullable=False)
    for name in ("map_index", "try_number"):
        yield Column(name, Integer, primary_key=name in in_key, nullable=False, autoincrement=False)
    yield Column("kind", String(20), nullable=False)
    yield Column("achieveit_conn_id", String(_ID_CHARS), nullable=False)


def make_missing(database: Database, tables: LedgerTables) -> None:
    """Make the tables that are not there; where both are, no right to make any is needed.

    :raises LedgerError: they cannot be made, or what is there lacks columns.
    """
    engine, wanted = database.engine, (tables.submissions, tables.rejects)
    # SQLAlchemy tells the length of a column's alias for MySQL, which is more than a table's name may have.
    longest = 64 if engine.dialect.name in ("mysql", "mariadb") else engine.dialect.max_identifier_length
    for table in wanted:
        if len(table.name.encode()) > longest:
            raise LedgerError(
                f"The table name {table.name!r} is longer than the {longest} bytes this database allows. Choose a "
                "shorter ledger_table"
            )
    with engine.begin() as connection:
        missing = missing_tables(connection, tables)
    for table in missing:
        try:
            with engine.begin() as connection:
                # Tasks of a first run make them at the same time; on PostgreSQL, IF NOT EXISTS alone may still collide.
                database.lock(connection, f"achieveit tables {table.fullname}")
                connection.execute(CreateTable(table, if_not_exists=database.if_not_exists))
        except DBAPIError as error:
            if not _refused(error):
                raise
            with engine.begin() as connection:
                if table not in missing_tables(connection, tables):
                    continue
            raise LedgerError(
                f"The ledger's table {table.fullname} does not exist and could not be made: "
                f"{str(error.orig).strip()}\nLet somebody who may make it so:"
                f"{CreateTable(table).compile(dialect=engine.dialect)}"
            ) from error


def missing_tables(connection: Connection, tables: LedgerTables) -> list[Table]:
    """Return those of the tables that are not there.

    :raises LedgerError: their schema is not there, or one that is there lacks columns.
    """
    inspector = inspect(connection)
    missing: list[Table] = []
    for table in (tables.submissions, tables.rejects):
        if table.schema and not missing and table.schema not in inspector.get_schema_names():
            raise LedgerError(f"The schema {table.schema!r} of the ledger does not exist. Create it first")
        if not inspector.has_table(table.name, schema=table.schema):
            missing.append(table)
            continue
        present = {column["name"].lower() for column in inspector.get_columns(table.name, schema=table.schema)}
        lacking = [column.name for column in table.columns if column.name not in present]
        if lacking:
            raise LedgerError(
                f"The table {table.fullname} exists but lacks the column(s) {', '.join(lacking)}: it is no ledger of "
                "this version. Add them, or name another ledger_table"
            )
    return missing


def _refused(error: DBAPIError) -> bool:
    """Tell whether the database would say the same again: it did not get lost, nor time out."""
    code = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return isinstance(error, ProgrammingError) or code in _MYSQL_NO_CREATE
