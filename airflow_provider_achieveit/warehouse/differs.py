"""Whether two columns of the model differ: NULL is a value like others, and so are case and blanks at the end."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, LargeBinary, Text, and_, case, cast, func, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import UserDefinedType

from airflow_provider_achieveit.warehouse.model import ColumnType
from airflow_provider_achieveit.warehouse.types import Stored


class _Differs(FunctionElement):  # type: ignore[type-arg]  # no generics in SQLAlchemy 1.4
    name = "differs"
    type = Boolean()
    inherit_cache = True


def differs(one: Any, other: Any) -> Any:
    """Return the condition that two columns hold different values; never NULL.

    :param one: a column of the model.
    :param other: the same column of another table.
    """
    return _Differs(one, other)


@compiles(_Differs)
def _anywhere(element: Any, compiler: Any, **words: Any) -> str:
    one, other = element.clauses
    return f"({compiler.process(one.is_distinct_from(other), **words)})"


@compiles(_Differs, "postgresql")
def _on_postgres(element: Any, compiler: Any, **words: Any) -> str:
    """JSON has no equality; its text does, and the same content is always the same text."""
    one, other = (cast(side, Text) if _holds(side) is ColumnType.JSON else side for side in element.clauses)
    return f"({compiler.process(one.is_distinct_from(other), **words)})"


@compiles(_Differs, "mysql")
@compiles(_Differs, "mariadb")
def _on_mysql(element: Any, compiler: Any, **words: Any) -> str:
    """A table of the user's own may have a collation that takes much for the same."""
    one, other = (cast(side, LargeBinary) if _is_text(side) else side for side in element.clauses)
    return f"({compiler.process(one.is_distinct_from(other), **words)})"


class _Bytes(UserDefinedType):  # type: ignore[type-arg]  # no generics in SQLAlchemy 1.4
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "VARBINARY(MAX)"


@compiles(_Differs, "mssql")
def _on_sql_server(element: Any, compiler: Any, **words: Any) -> str:
    """Blanks at the end count only in bytes; IS DISTINCT FROM is younger than many a server."""
    one, other = (cast(side, _Bytes()) if _is_text(side) else side for side in element.clauses)
    return _in_full(one == other, one, other, compiler, words)


@compiles(_Differs, "oracle")
def _on_oracle(element: Any, compiler: Any, **words: Any) -> str:
    """A CLOB has no equality."""
    one, other = element.clauses
    same = func.dbms_lob.compare(one, other) == 0 if _is_text(one) else one == other
    return _in_full(same, one, other, compiler, words)


@compiles(_Differs, "redshift")
def _on_redshift(element: Any, compiler: Any, **words: Any) -> str:
    """It has no IS DISTINCT FROM."""
    one, other = element.clauses
    return _in_full(one == other, one, other, compiler, words)


def _in_full(same: Any, one: Any, other: Any, compiler: Any, words: dict[str, Any]) -> str:
    told = case((or_(same, and_(one.is_(None), other.is_(None))), 0), else_=1)
    return f"({compiler.process(told == 1, **words)})"


def _holds(side: Any) -> ColumnType | None:
    return side.type.kind if isinstance(side.type, Stored) else None


def _is_text(side: Any) -> bool:
    return _holds(side) in (ColumnType.TEXT, ColumnType.JSON)
