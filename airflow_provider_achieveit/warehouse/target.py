"""The tables of the warehouse: named, looked at, made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Column, MetaData, Table, inspect
from sqlalchemy.engine import Connection, Dialect

from airflow_provider_achieveit.warehouse import model
from airflow_provider_achieveit.warehouse.errors import TableMismatchError
from airflow_provider_achieveit.warehouse.types import SQL_TYPES


@dataclass(frozen=True, slots=True)
class TablePair:
    """A table of the model: where its rows are staged, and where they go."""

    model: model.Table
    staged: Table
    target: Table


def table_pairs(name: str, schema: str | None, nested: model.Nested) -> tuple[TablePair, ...]:
    """Return the tables of a plan as SQLAlchemy tables, the items' table first.

    Staging tables are temporary: only one connection sees them, and whatever kills it takes them along.

    :param name: name of the items' table; the child tables' names begin with it.
    :param schema: schema of the tables; None: the connection's default.
    :param nested: what becomes of the lists in an item.
    """
    metadata = MetaData()
    return tuple(
        TablePair(
            table,
            Table(f"achieveit_stage{table.suffix}", metadata, *_columns(table), prefixes=["TEMPORARY"]),
            Table(f"{name}{table.suffix}", metadata, *_columns(table), schema=schema),
        )
        for table in model.plan_tables(nested)
    )


def _columns(table: model.Table) -> Iterable[Column[object]]:
    for column in table.columns:
        yield Column(
            column.name, SQL_TYPES[column.type], primary_key=column.key, nullable=not column.key, autoincrement=False
        )


def check_names(pairs: Iterable[TablePair], dialect: Dialect) -> None:
    """Refuse a table name that the database would cut short, so that two tables became one.

    :raises TableMismatchError: names the table and the limit.
    """
    for pair in pairs:
        if len(pair.target.name.encode()) > dialect.max_identifier_length:
            raise TableMismatchError(
                f"The table name {pair.target.name!r} is longer than the {dialect.max_identifier_length} bytes this "
                "database allows. Choose a shorter name for 'table'."
            )


def missing_tables(connection: Connection, pairs: Iterable[TablePair]) -> list[Table]:
    """Look at the warehouse, change nothing, and return the tables it does not have.

    :raises TableMismatchError: the schema does not exist, or a table there lacks columns.
    """
    inspector = inspect(connection)
    missing: list[Table] = []
    for pair in pairs:
        table = pair.target
        if table.schema and not missing and table.schema not in inspector.get_schema_names():
            raise TableMismatchError(f"The schema {table.schema!r} does not exist in the warehouse. Create it first.")
        if not inspector.has_table(table.name, schema=table.schema):
            missing.append(table)
            continue
        present = {column["name"] for column in inspector.get_columns(table.name, schema=table.schema)}
        lacking = [column.name for column in table.columns if column.name not in present]
        if lacking:
            raise TableMismatchError(
                f"The table {table.fullname} exists but lacks the column(s) {', '.join(lacking)}. Add them, name "
                "another 'table', or choose another 'nested'."
            )
    return missing
