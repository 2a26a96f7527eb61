"""PostgreSQL."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from types import NoneType
from typing import Any

from sqlalchemy import Table, event, text
from sqlalchemy.engine import Connection, Engine

from airflow_provider_achieveit.warehouse.databases.base import Database
from airflow_provider_achieveit.warehouse.rows import Row
from airflow_provider_achieveit.warehouse.values import Limits


class PostgresDatabase(Database):
    """PostgreSQL: COPY, and advisory locks (documented under "Explicit Locking")."""

    limits = Limits(null_bytes=False)
    if_not_exists = True
    keyed_staging = False

    def __init__(self, engine: Engine, *, lock_seconds: int | None = None) -> None:
        super().__init__(engine, lock_seconds=lock_seconds)
        if lock_seconds is not None:
            event.listen(engine, "begin", self._begin)

    def _begin(self, connection: Connection) -> None:
        # LOCAL: a connection pool in front of the server may give the session to somebody else.
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{self.lock_seconds}s'")

    def use_utc(self, connection: Connection) -> None:
        """Set the zone for this transaction; defaults and triggers of the user's own see it too."""
        connection.exec_driver_sql("SET LOCAL TimeZone = 'UTC'")

    def lock(self, connection: Connection, name: str) -> None:
        """Wait for an advisory lock of the transaction."""
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})

    def write(self, connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        """Add rows by COPY, with psycopg 2 or 3; executemany with another driver."""
        quote = connection.dialect.identifier_preparer
        columns = ", ".join(quote.quote(name) for name in table.columns.keys())  # noqa: SIM118
        statement = f"COPY {quote.format_table(table)} ({columns}) FROM STDIN WITH (ENCODING 'UTF8')"
        cursor: Any = connection.connection.cursor()
        try:
            if hasattr(cursor, "copy_expert"):
                cursor.copy_expert(statement, io.BytesIO(copy_text(rows)))
            elif hasattr(cursor, "copy"):
                with cursor.copy(statement) as copy:
                    copy.write(copy_text(rows))
            else:
                super().write(connection, table, rows)
        finally:
            cursor.close()

    @contextmanager
    def large_joins(self, connection: Connection) -> Iterator[None]:
        """Rule out loops: of a table that was filled a moment ago it knows nothing, and would loop for minutes."""
        connection.exec_driver_sql("SET LOCAL enable_nestloop = off")
        yield
        connection.exec_driver_sql("SET LOCAL enable_nestloop = DEFAULT")


def copy_text(rows: Sequence[Row]) -> bytes:
    """Return rows in the text format of PostgreSQL's COPY.

    :param rows: rows of one table; the values of a column are of one type, apart from None.
    """
    columns = map(_fields, zip(*rows, strict=True))
    # Each line by itself: one emoji would make a text of the whole page four times as large.
    return b"".join([f"{line}\n".encode() for line in map("\t".join, zip(*columns, strict=True))])


_NULL = "\\N"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_WRITERS: dict[type, Callable[[Any], str]] = {
    int: str,
    bool: str,
    datetime: datetime.isoformat,
    # Plain digits: the exponent of a zero would get lost on the way through NUMERIC.
    Decimal: "{:f}".format,
}


def _fields(values: Sequence[Any]) -> list[str]:
    """Return the values of one column as COPY wants them."""
    kinds = set(map(type, values)) - {NoneType}
    if kinds <= {str}:
        text = "".join(filter(None, values))
        if not any(map(text.__contains__, map(chr, _ESCAPES))):
            return [_NULL if value is None else value for value in values]
        return [_NULL if value is None else value.translate(_ESCAPES) for value in values]
    [kind] = kinds
    write = _WRITERS[kind]
    return [_NULL if value is None else write(value) for value in values]
