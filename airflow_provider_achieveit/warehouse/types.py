"""How each database stores what a column holds, as SQLAlchemy types.

A decimal keeps its digits, a moment its microseconds, and text every character. Where a database has no type for one of
these (SQLite: "Datatypes In SQLite", NUMERIC affinity; a database that nobody has looked into), it is text: the plain
digits, the ISO 8601 moment in UTC. A type without a zone holds moments in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Boolean, Date, Numeric, String, Text, TypeDecorator
from sqlalchemy.dialects import mssql, mysql, oracle
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine, UserDefinedType

from airflow_provider_achieveit.warehouse.model import Column, ColumnType

KEY_LENGTH = 255
"""Characters of a key where the database wants a length; AchieveIt's ids have 36. A longer one is refused, not cut."""
MYSQL = ("mysql", "mariadb")
"""Both names that SQLAlchemy has for this family."""


class _Named(UserDefinedType):  # type: ignore[type-arg]  # no generics in SQLAlchemy 1.4
    """A type for which SQLAlchemy itself has no class."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        return self.name


_Types = Mapping[ColumnType, TypeEngine[Any]]

_ANYWHERE: _Types = {
    ColumnType.TEXT: Text(),
    ColumnType.INTEGER: BigInteger(),
    ColumnType.BOOLEAN: Boolean(),
    ColumnType.MOMENT: Text(),
    ColumnType.DATE: Date(),
    ColumnType.DECIMAL: Text(),
    ColumnType.JSON: Text(),
    ColumnType.WORD: String(20),
}
_ZONED = TIMESTAMP(timezone=True)
_DECIMAL = Numeric(38, 18)
_BINARY = "Latin1_General_100_BIN2"
_SQL_SERVER_TEXT = mssql.NVARCHAR(collation=_BINARY)
_REDSHIFT_TEXT = String(65535)
_OWN: Mapping[str, _Types] = {
    # JSON, not JSONB: that can neither hold a null byte nor keep the text as it is.
    "postgresql": {ColumnType.MOMENT: _ZONED, ColumnType.DECIMAL: Numeric(), ColumnType.JSON: _Named("JSON")},
    "mysql": {ColumnType.MOMENT: mysql.DATETIME(fsp=6), ColumnType.DECIMAL: Numeric(65, 30)},
    "duckdb": {ColumnType.MOMENT: _ZONED, ColumnType.DECIMAL: _DECIMAL},
    "snowflake": {ColumnType.MOMENT: _Named("TIMESTAMP_TZ(6)"), ColumnType.DECIMAL: _DECIMAL},
    "bigquery": {ColumnType.MOMENT: _Named("TIMESTAMP"), ColumnType.DECIMAL: _Named("BIGNUMERIC(38, 18)")},
    "redshift": {
        ColumnType.TEXT: _REDSHIFT_TEXT,
        ColumnType.MOMENT: _ZONED,
        ColumnType.DECIMAL: _DECIMAL,
        ColumnType.JSON: _REDSHIFT_TEXT,
    },
    "mssql": {
        ColumnType.TEXT: _SQL_SERVER_TEXT,
        ColumnType.MOMENT: mssql.DATETIMEOFFSET(6),  # type: ignore[no-untyped-call]
        ColumnType.DECIMAL: _DECIMAL,
        ColumnType.JSON: _SQL_SERVER_TEXT,
    },
    # A moment with its zone cannot be part of a key there.
    "oracle": {ColumnType.MOMENT: oracle.TIMESTAMP(), ColumnType.DECIMAL: _DECIMAL},
}
"""By the name of the dialect: where it has better than :data:`_ANYWHERE`."""
_OWN_KEYS: Mapping[str, TypeEngine[Any]] = {
    "redshift": String(KEY_LENGTH),
    "mssql": mssql.NVARCHAR(KEY_LENGTH, collation=_BINARY),
    "oracle": String(KEY_LENGTH),
}
_WITHOUT_ZONE = (*MYSQL, "oracle")


class Stored(TypeDecorator):  # type: ignore[type-arg]  # no generics in SQLAlchemy 1.4
    """What a column of the model holds, as the database at hand stores it best.

    :param kind: what it holds.
    :param key: a text that is part of a key, default False.
    """

    impl = Text
    cache_ok = True

    def __init__(self, kind: ColumnType, key: bool = False) -> None:
        super().__init__()
        self.kind, self.key = kind, key

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's own type."""
        return dialect.type_descriptor(_stored(self.kind, self.key, dialect))


class ExactDecimal(Stored):
    """A decimal with all its digits."""

    cache_ok = True

    def __init__(self) -> None:
        super().__init__(ColumnType.DECIMAL)

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Write plain digits, never an exponent, where it is text."""
        return value if value is None or not _is_text(self.kind, dialect) else format(value, "f")

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return the decimal."""
        return None if value is None else Decimal(value)


class UtcMoment(Stored):
    """A moment in UTC."""

    cache_ok = True

    def __init__(self) -> None:
        super().__init__(ColumnType.MOMENT)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Write ISO 8601 where it is text: that of UTC moments sorts like the moments."""
        if value is None:
            return None
        if dialect.name in _WITHOUT_ZONE:
            return value.astimezone(UTC).replace(tzinfo=None)
        return value.isoformat() if _is_text(self.kind, dialect) else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return the moment with its zone."""
        moment: datetime | None = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


_SQL_TYPES: _Types = {
    ColumnType.TEXT: Stored(ColumnType.TEXT),
    ColumnType.INTEGER: _ANYWHERE[ColumnType.INTEGER],
    ColumnType.BOOLEAN: _ANYWHERE[ColumnType.BOOLEAN],
    ColumnType.MOMENT: UtcMoment(),
    ColumnType.DATE: _ANYWHERE[ColumnType.DATE],
    ColumnType.DECIMAL: ExactDecimal(),
    ColumnType.JSON: Stored(ColumnType.JSON),
    ColumnType.WORD: _ANYWHERE[ColumnType.WORD],
}
_KEY_TEXT = Stored(ColumnType.TEXT, key=True)


def sql_type(column: Column) -> TypeEngine[Any]:
    """Return the type of a column of the model."""
    return _KEY_TEXT if column.key and column.type is ColumnType.TEXT else _SQL_TYPES[column.type]


def _stored(kind: ColumnType, key: bool, dialect: Dialect) -> TypeEngine[Any]:
    family = "mysql" if dialect.name in MYSQL else dialect.name
    if family == "mysql" and kind in (ColumnType.TEXT, ColumnType.JSON):
        words = {"charset": "utf8mb4", "collation": _mysql_collation(dialect)}
        return mysql.VARCHAR(KEY_LENGTH, **words) if key else mysql.LONGTEXT(**words)
    if key and family in _OWN_KEYS:
        return _OWN_KEYS[family]
    return _OWN.get(family, {}).get(kind, _ANYWHERE[kind])


def _mysql_collation(dialect: Any) -> str:
    """Return a collation that tells case apart, and trailing blanks too where there is such a one."""
    if dialect.is_mariadb:
        return "utf8mb4_nopad_bin"
    # Not known before the first connection, when statements are only compiled.
    return "utf8mb4_0900_bin" if (dialect.server_version_info or (8, 0, 17)) >= (8, 0, 17) else "utf8mb4_bin"


def _is_text(kind: ColumnType, dialect: Dialect) -> bool:
    return isinstance(_stored(kind, False, dialect), Text)


_SQLITE_TEXT = ("TEXT", "VARCHAR", "CHAR", "NVARCHAR", "NCHAR")
_INTEGERS = ("BIGINT", "INTEGER", "SMALLINT")
_MYSQL_TEXT = ("LONGTEXT CHARACTER SET utf8mb4", "MEDIUMTEXT CHARACTER SET utf8mb4")
_TAKEN: Mapping[str, Mapping[ColumnType, tuple[str, ...]]] = {
    "postgresql": {
        ColumnType.TEXT: ("TEXT", "VARCHAR"),
        ColumnType.INTEGER: _INTEGERS,
        ColumnType.BOOLEAN: ("BOOLEAN",),
        ColumnType.MOMENT: ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP(6) WITH TIME ZONE"),
        ColumnType.DATE: ("DATE",),
        ColumnType.DECIMAL: ("NUMERIC",),
        ColumnType.JSON: ("JSON",),
    },
    "sqlite": {
        ColumnType.TEXT: _SQLITE_TEXT,
        ColumnType.INTEGER: _INTEGERS,
        ColumnType.BOOLEAN: ("BOOLEAN", "INTEGER"),
        ColumnType.MOMENT: _SQLITE_TEXT,
        ColumnType.DATE: ("DATE", *_SQLITE_TEXT),
        ColumnType.DECIMAL: _SQLITE_TEXT,
        ColumnType.JSON: _SQLITE_TEXT,
    },
    "mysql": {
        ColumnType.TEXT: _MYSQL_TEXT,
        ColumnType.INTEGER: ("BIGINT", "INTEGER", "MEDIUMINT", "SMALLINT"),
        ColumnType.BOOLEAN: ("TINYINT", "SMALLINT", "INTEGER", "BIGINT"),
        ColumnType.MOMENT: ("DATETIME(6)",),
        ColumnType.DATE: ("DATE",),
        ColumnType.DECIMAL: ("DECIMAL(65, 30)",),
        ColumnType.JSON: _MYSQL_TEXT,
    },
    "duckdb": {
        ColumnType.TEXT: ("VARCHAR",),
        ColumnType.INTEGER: ("HUGEINT", *_INTEGERS),
        ColumnType.BOOLEAN: ("BOOLEAN",),
        ColumnType.MOMENT: ("TIMESTAMP WITH TIME ZONE",),
        ColumnType.DATE: ("DATE",),
        ColumnType.DECIMAL: ("DECIMAL(38,18)",),
        ColumnType.JSON: ("VARCHAR", "JSON"),
    },
}
"""The types that keep a value as it is, or refuse it (a number beyond an integer type); all others change some."""


def fits(found: str, wanted: Column, dialect: Dialect) -> bool:
    """Tell whether a column keeps its values as they are; True for a database nobody has looked into.

    :param found: the type of the column, as the database's DDL writes it.
    :param wanted: the column of the model.
    :param dialect: the database's.
    """
    family = "mysql" if dialect.name in MYSQL else dialect.name
    if family not in _TAKEN:
        return True
    if family == "mysql" and wanted.key and wanted.type is ColumnType.TEXT:
        # Keys of other lengths may be refused, never changed; another collation could not be compared with ours.
        return found.partition("(")[0] == "VARCHAR" and found.endswith(f" COLLATE {_mysql_collation(dialect)}")
    if family == "mysql":
        found = found.partition(" COLLATE ")[0]
    if family == "sqlite":
        # SQLite stores by affinity and takes no notice of a length.
        found = found.partition("(")[0]
    return found in _TAKEN[family][wanted.type]
