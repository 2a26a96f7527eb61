"""Making what the warehouse lacks: tables, and columns that a newer model has."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Table
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import DDLElement

from airflow_provider_achieveit.warehouse.databases.base import Database
from airflow_provider_achieveit.warehouse.target import PlanTables, missing


def make_missing(database: Database, connection: Connection, tables: PlanTables) -> None:
    """Make the tables and columns that are missing; those of old rows are NULL.

    Not a part of a load: some databases commit with every CREATE. Whatever comes between, the next load goes on here.
    Each table is changed in a transaction of its own, which holds no lock while it waits for loads and readers to end.

    :param database: the warehouse.
    :param connection: the connection of the load, outside of a transaction.
    :param tables: the tables of the load.
    :raises TableMismatchError: a table there cannot take the rows.
    """
    seen = None
    while lacking := _missing(connection, tables):
        absent = [table for table in lacking if isinstance(table, Table)]
        if not absent:
            break
        try:
            with connection.begin():
                # Tasks of a first run make the tables at the same time; IF NOT EXISTS alone may still collide.
                _lock(database, connection, tables)
                for table in missing(connection, tables):
                    if isinstance(table, Table):
                        table.create(connection, checkfirst=False)
        except DBAPIError:
            # Where there is no lock, another load may have made some of them; the rest is tried once more.
            if absent == seen:
                raise
            seen = absent
    for growing in dict.fromkeys(column.table for column in lacking if isinstance(column, Column)):
        with connection.begin():
            _lock(database, connection, tables)
            for column in missing(connection, tables):
                if isinstance(column, Column) and column.table is growing:
                    connection.execute(_AddColumn(column))


def _missing(connection: Connection, tables: PlanTables) -> list[Table | Column[Any]]:
    with connection.begin():
        return missing(connection, tables)


def _lock(database: Database, connection: Connection, tables: PlanTables) -> None:
    database.lock(connection, f"achieveit tables {tables.name}")


class _AddColumn(DDLElement):
    def __init__(self, column: Column[Any]) -> None:
        self.column = column


@compiles(_AddColumn)
def _add_column(element: Any, compiler: Any, **_: Any) -> str:
    return _words(element, compiler, "ADD COLUMN")


@compiles(_AddColumn, "mssql")
@compiles(_AddColumn, "oracle")
def _add(element: Any, compiler: Any, **_: Any) -> str:
    return _words(element, compiler, "ADD")


def _words(element: Any, compiler: Any, add: str) -> str:
    table = compiler.preparer.format_table(element.column.table)
    return f"ALTER TABLE {table} {add} {compiler.get_column_specification(element.column)}"
