"""What a database has: its schemas, tables and columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.types import NullType, TypeEngine

from airflow_provider_achieveit.warehouse.types import MYSQL


@dataclass(frozen=True, slots=True)
class FoundColumn:
    """A column of a table that is there.

    :param type: its type as the database's DDL writes it.
    :param must_be_given: it is neither NULL nor filled by the database where an INSERT does not name it.
    """

    type: str
    must_be_given: bool


class Catalog:
    """What SQLAlchemy sees in a database.

    :param connection: an open connection.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @cached_property
    def inspector(self) -> Inspector:
        """SQLAlchemy's view; it looks at everything once only."""
        return inspect(self.connection)

    def has_schema(self, schema: str) -> bool:
        """Tell whether there is a schema of this name."""
        return schema in self.inspector.get_schema_names()

    def is_table(self, name: str, schema: str | None) -> bool:
        """Tell whether something of this name is a table of the schema itself."""
        # The list that was read for the table before lacks one that another load has made since.
        return any(name.lower() in _table_names(seen, schema) for seen in (self.inspector, inspect(self.connection)))

    def columns(self, name: str, schema: str | None) -> dict[str, FoundColumn]:
        """Return the columns of a table by their names, in lower case where case does not tell names apart.

        :return: empty: there is no table, no view or the like.
        """
        if not self.inspector.has_table(name, schema=schema):
            return {}
        # SQLite's do not.
        fold = str.lower if self.connection.dialect.name == "sqlite" else str
        return {
            fold(column["name"]): FoundColumn(self._type(column["type"]), _must_be_given(column))
            for column in self.inspector.get_columns(name, schema=schema)
        }

    def _type(self, kind: TypeEngine[Any]) -> str:
        if isinstance(kind, NullType):
            return "of no type that is known"
        return kind.compile(dialect=self.connection.dialect)


def _table_names(inspector: Inspector, schema: str | None) -> set[str]:
    # SQLite's names know no case.
    return {found.lower() for found in inspector.get_table_names(schema=schema)}


def _must_be_given(column: Mapping[str, Any]) -> bool:
    # A key of SQLite's own is its row number, which fills itself.
    filled = column["default"] is not None or any(column.get(way) for way in ("identity", "computed", "primary_key"))
    return not column["nullable"] and not filled


class _OwnCatalog(Catalog):
    """A database that is asked in its own words."""

    schemas: str
    tables: str
    details: str
    """Of columns, also of views: the name, the type, whether it must be given; or what else :meth:`_column` takes."""

    def has_schema(self, schema: str) -> bool:
        """Tell whether there is a schema of this name."""
        return bool(self._ask(self.schemas, schema))

    def is_table(self, name: str, schema: str | None) -> bool:
        """Tell whether something of this name is a table of the schema itself."""
        return bool(self._ask(self.tables, schema, name))

    def columns(self, name: str, schema: str | None) -> dict[str, FoundColumn]:
        """Return the columns of a table by their names in lower case: it does not tell them apart.

        :return: empty: there is no table, no view or the like.
        """
        return {column.lower(): self._column(*told) for column, *told in self._ask(self.details, schema, name)}

    def _ask(self, query: str, schema: str | None, name: str | None = None) -> Sequence[Any]:
        values = {"schema": schema} if name is None else {"schema": schema, "name": name}
        return self.connection.execute(text(query), values).fetchall()

    def _column(self, *told: Any) -> FoundColumn:
        return FoundColumn(*told)


class MysqlCatalog(_OwnCatalog):
    """MySQL and MariaDB.

    SQLAlchemy does not tell the character set that a column has from its table, and looking for a table that is not
    there leaves its connection deaf to listeners of errors.
    """

    _of_table = (
        "table_schema = coalesce(:schema, database()) AND table_name = :name "
        # Its own tables know case no better than the file system does; the names in this catalogue never do.
        "AND (BINARY table_name = :name OR @@lower_case_table_names > 0)"
    )
    schemas = "SELECT 1 FROM information_schema.schemata WHERE schema_name = :schema"
    tables = f"SELECT 1 FROM information_schema.tables WHERE {_of_table} AND table_type = 'BASE TABLE'"
    details = (
        "SELECT column_name, data_type, column_type, character_set_name, collation_name, "
        "is_nullable = 'NO' AND column_default IS NULL AND extra NOT LIKE '%auto_increment%' "
        f"AND extra NOT LIKE '%GENERATED%' FROM information_schema.columns WHERE {_of_table}"
    )

    def _column(self, *told: Any) -> FoundColumn:
        kind, whole, charset, collation, must_be_given = told
        # The width of an integer is one to show it in, and not everywhere told.
        name = str(kind if kind.endswith("int") else whole).upper().replace(",", ", ")
        name = "INTEGER" if name == "INT" else name
        if charset:
            name += f" CHARACTER SET {charset} COLLATE {collation}"
        return FoundColumn(name, bool(must_be_given))


class DuckdbCatalog(_OwnCatalog):
    """DuckDB, of which its dialect of SQLAlchemy asks more of PostgreSQL's catalogue than it has."""

    _in_schema = (
        "database_name = current_database() AND lower(schema_name) = lower(coalesce(:schema, current_schema()))"
    )
    _of_table = f"{_in_schema} AND lower(table_name) = lower(:name)"
    schemas = f"SELECT 1 FROM duckdb_schemas() WHERE {_in_schema}"
    tables = f"SELECT 1 FROM duckdb_tables() WHERE {_of_table}"
    details = (
        "SELECT column_name, data_type, NOT is_nullable AND column_default IS NULL "
        f"FROM duckdb_columns() WHERE {_of_table}"
    )


def catalog_of(connection: Connection) -> Catalog:
    """Return what the database of a connection has."""
    if connection.dialect.name == "duckdb":
        return DuckdbCatalog(connection)
    return MysqlCatalog(connection) if connection.dialect.name in MYSQL else Catalog(connection)
