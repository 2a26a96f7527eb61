"""How each database stores what a column holds, as SQLAlchemy types.

PostgreSQL has a type for everything. Elsewhere (SQLite: "Datatypes In SQLite", NUMERIC affinity) a decimal or a moment
would become a float or lose its zone, so it is text: the plain digits, the ISO 8601 moment in UTC. MySQL and MariaDB
have a type for moments without a zone, which holds them in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Boolean, Numeric, Text, TypeDecorator
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.engine import Dialect
from sqlalchemy.types import NullType, TypeEngine, UserDefinedType

from airflow_provider_achieveit.warehouse.model import ColumnType


class ExactDecimal(TypeDecorator):  # type: ignore[type-arg]  # no generics in SQLAlchemy 1.4
    """A decimal with all its digits."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return NUMERIC without limits where that exists."""
        return dialect.type_descriptor(Numeric() if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Write plain digits, never an exponent."""
        return value if value is None or dialect.name == "postgresql" else format(value, "f")

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return the decimal."""
        return None if value is None else Decimal(value)


_MYSQL = ("mysql", "mariadb")


class UtcMoment(TypeDecorator):  # type: ignore[type-arg]  # no generics in SQLAlchemy 1.4
    """A moment in UTC."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return a type of moments to the microsecond where there is one."""
        if dialect.name in _MYSQL:
            return dialect.type_descriptor(DATETIME(fsp=6))
        return dialect.type_descriptor(TIMESTAMP(timezone=True) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Write ISO 8601; the text of UTC moments sorts like the moments."""
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(UTC).replace(tzinfo=None) if dialect.name in _MYSQL else value.isoformat()

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return the moment with its zone."""
        moment: datetime | None = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


class _PostgresJson(UserDefinedType):  # type: ignore[type-arg]  # no generics in SQLAlchemy 1.4
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "JSON"


class JsonText(TypeDecorator):  # type: ignore[type-arg]  # no generics in SQLAlchemy 1.4
    """JSON text, kept as it was written.

    PostgreSQL's JSON, not JSONB: that can neither hold a null byte nor keep the text as it is.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return JSON where that keeps the text."""
        return dialect.type_descriptor(_PostgresJson() if dialect.name == "postgresql" else Text())


SQL_TYPES: dict[ColumnType, TypeEngine[Any]] = {
    ColumnType.TEXT: Text(),
    ColumnType.INTEGER: BigInteger(),
    ColumnType.BOOLEAN: Boolean(),
    ColumnType.MOMENT: UtcMoment(),
    ColumnType.DECIMAL: ExactDecimal(),
    ColumnType.JSON: JsonText(),
}

_SQLITE_TEXT = ("TEXT", "VARCHAR", "CHAR", "NVARCHAR", "NCHAR")
_INTEGERS = ("BIGINT", "INTEGER", "SMALLINT")
_TAKEN: Mapping[str, Mapping[ColumnType, tuple[str, ...]]] = {
    "postgresql": {
        ColumnType.TEXT: ("TEXT", "VARCHAR"),
        ColumnType.INTEGER: _INTEGERS,
        ColumnType.BOOLEAN: ("BOOLEAN",),
        ColumnType.MOMENT: ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP(6) WITH TIME ZONE"),
        ColumnType.DECIMAL: ("NUMERIC",),
        ColumnType.JSON: ("JSON",),
    },
    "sqlite": {
        ColumnType.TEXT: _SQLITE_TEXT,
        ColumnType.INTEGER: _INTEGERS,
        ColumnType.BOOLEAN: ("BOOLEAN", "INTEGER"),
        ColumnType.MOMENT: _SQLITE_TEXT,
        ColumnType.DECIMAL: _SQLITE_TEXT,
        ColumnType.JSON: _SQLITE_TEXT,
    },
}
"""The types that keep a value as it is, or refuse it (a number beyond an integer type); all others change some."""


def fits(found: TypeEngine[Any], wanted: ColumnType, dialect: Dialect) -> bool:
    """Tell whether a column keeps its values as they are; True for a database nobody has looked into.

    :param found: the type of the column, as SQLAlchemy reflects it.
    :param wanted: what the column is to hold.
    :param dialect: the database's.
    """
    name = type_name(found, dialect)
    if dialect.name == "sqlite":
        # SQLite stores by affinity and takes no notice of a length.
        name = name.partition("(")[0]
    return dialect.name not in _TAKEN or name in _TAKEN[dialect.name][wanted]


def type_name(kind: TypeEngine[Any], dialect: Dialect) -> str:
    """Return a type as the database's DDL writes it."""
    return "of no type that is known" if isinstance(kind, NullType) else kind.compile(dialect=dialect)
