"""The tables of the warehouse: named, looked at, made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, MetaData, Table, inspect
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.engine.reflection import Inspector

from airflow_provider_achieveit.warehouse import model
from airflow_provider_achieveit.warehouse.errors import TableMismatchError
from airflow_provider_achieveit.warehouse.types import SQL_TYPES, fits, type_name


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
    # A temporary table hides one of the same name in the default schema.
    stage = "plan_stage" if name.lower().startswith("achieveit_stage") else "achieveit_stage"
    return tuple(
        TablePair(
            table,
            Table(f"{stage}{table.suffix}", metadata, *_columns(table), prefixes=["TEMPORARY"]),
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

    :raises TableMismatchError: the schema does not exist, or a table there cannot take the rows.
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
        mismatch = _mismatch(inspector, pair, connection.dialect)
        if mismatch:
            raise TableMismatchError(f"{mismatch} Or name another 'table'. Nothing was written.")
    return missing


def abandoned_tables(connection: Connection, name: str, schema: str | None, nested: model.Nested) -> list[Table]:
    """Return the child tables that loads with another ``nested`` made, and this one does not fill.

    A table of such a name that could not take the rows is somebody else's.
    """
    if nested is model.Nested.TABLES:
        return []
    inspector = inspect(connection)
    return [
        pair.target
        for pair in table_pairs(name, schema, model.Nested.TABLES)[1:]
        if inspector.has_table(pair.target.name, schema=schema) and not _mismatch(inspector, pair, connection.dialect)
    ]


def _mismatch(inspector: Inspector, pair: TablePair, dialect: Dialect) -> str | None:
    """Tell why something of a table's name cannot take its rows, and what to do."""
    table = pair.target
    # SQLite's names know no case.
    if table.name.lower() not in (name.lower() for name in inspector.get_table_names(schema=table.schema)):
        return (
            f"{table.fullname} exists but is a view or something else that is no table of "
            f"{f'the schema {table.schema!r}' if table.schema else 'the default schema'}. Remove it, or give the "
            "'schema' of the table."
        )
    present = {column["name"]: column for column in inspector.get_columns(table.name, schema=table.schema)}
    lacking = [column.name for column in table.columns if column.name not in present]
    if lacking:
        return (
            f"The table {table.fullname} exists but lacks the column(s) {', '.join(lacking)}. Add them, or choose "
            "another 'nested'."
        )
    unfit = [
        f"{column.name} is {type_name(present[column.name]['type'], dialect)} instead of "
        f"{type_name(SQL_TYPES[column.type], dialect)}"
        for column in pair.model.columns
        if not fits(present[column.name]["type"], column.type, dialect)
    ]
    if unfit:
        return (
            f"The table {table.fullname} exists but its columns would change values: {', '.join(unfit)}. "
            "Change their types."
        )
    unfilled = [name for name, column in present.items() if name not in table.columns and _must_be_given(column)]
    if unfilled:
        return (
            f"The table {table.fullname} has NOT NULL column(s) of its own without a default, which a load cannot "
            f"fill: {', '.join(unfilled)}. Give them a default, or let them be NULL."
        )
    return None


def _must_be_given(column: Mapping[str, Any]) -> bool:
    """Tell whether a reflected column has to be named in an INSERT."""
    # A key of SQLite's own is its row number, which fills itself.
    filled = column["default"] is not None or any(column.get(way) for way in ("identity", "computed", "primary_key"))
    return not column["nullable"] and not filled
