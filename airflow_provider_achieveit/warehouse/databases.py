"""What differs between databases: transactions, locks and the bulk path."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Table, event, text
from sqlalchemy.engine import Connection, Engine

from airflow_provider_achieveit.warehouse.rows import Row

_SQLITE_BUSY_SECONDS = 300
"""SQLite has one writer at a time; another export's load is waited for rather than failed upon."""


class Database:
    """Any database SQLAlchemy speaks to: executemany, no locks besides those of the transaction.

    :param engine: an engine nobody has connected with yet.
    :param lock_seconds: how long a statement waits for what another transaction holds; None: as the database is set
        up, and on SQLite until any load has ended.
    """

    null_bytes = True
    """Text may hold U+0000."""
    if_not_exists = False
    """CREATE TABLE knows IF NOT EXISTS."""

    def __init__(self, engine: Engine, *, lock_seconds: int | None = None) -> None:
        self.engine = engine
        self.lock_seconds = lock_seconds

    def use_utc(self, connection: Connection) -> None:
        """Let the transaction derive days and texts from a moment in UTC, whatever the session's zone is."""

    def lock(self, connection: Connection, name: str) -> None:
        """Wait until no other transaction has a lock of this name, and hold it to the end of this one."""

    def write(self, connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        """Add rows, each in the order of the table's columns."""
        names = table.columns.keys()
        connection.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in rows])

    def analyze(self, connection: Connection, table: Table) -> None:
        """Tell the planner how large a staging table is, where it would not look."""


class SqliteDatabase(Database):
    """SQLite, with transactions as it documents them.

    Python's module opens transactions by rules of its own and would commit before DDL, so it is told to leave them to
    us (SQLAlchemy, "SQLite: Serializable isolation / Savepoints / Transactional DDL"). IMMEDIATE: a transaction that
    reads first and writes later could otherwise fail for a writer in between.
    """

    if_not_exists = True

    def __init__(self, engine: Engine, *, lock_seconds: int | None = None) -> None:
        super().__init__(engine, lock_seconds=lock_seconds)
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "begin", self._begin)

    def _connected(self, dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None
        dbapi_connection.execute(f"PRAGMA busy_timeout = {(self.lock_seconds or _SQLITE_BUSY_SECONDS) * 1000}")

    @staticmethod
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


class PostgresDatabase(Database):
    """PostgreSQL: COPY, and advisory locks (documented under "Explicit Locking")."""

    null_bytes = False
    if_not_exists = True

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

    def analyze(self, connection: Connection, table: Table) -> None:
        """Autovacuum does not see temporary tables."""
        connection.exec_driver_sql(f"ANALYZE {connection.dialect.identifier_preparer.format_table(table)}")


class MysqlDatabase(Database):
    """MySQL and MariaDB, with all of Unicode: their ``utf8`` ends before the emoji."""

    if_not_exists = True

    def __init__(self, engine: Engine, *, lock_seconds: int | None = None) -> None:
        super().__init__(engine, lock_seconds=lock_seconds)
        event.listen(engine, "do_connect", self._connecting)
        if lock_seconds is not None:
            event.listen(engine, "connect", self._connected)

    @staticmethod
    def _connecting(_dialect: Any, _record: Any, _args: Any, options: dict[str, Any]) -> None:
        options["charset"] = "utf8mb4"

    def _connected(self, dbapi_connection: Any, _record: Any) -> None:
        cursor = dbapi_connection.cursor()
        # The first is for rows, the second for tables (a day, if not set).
        cursor.execute(f"SET innodb_lock_wait_timeout = {self.lock_seconds}, lock_wait_timeout = {self.lock_seconds}")
        cursor.close()


def copy_text(rows: Sequence[Row]) -> bytes:
    """Return rows in the text format of PostgreSQL's COPY.

    The values hold no null byte (PostgreSQL could not store it), so marks that begin with one stand for NULL, the end
    of a field and the end of a row while the whole page is escaped in a few passes of C speed.
    """
    page = "".join(
        [
            # Most values are text or NULL: no call for those.
            "\x00f".join([v if type(v) is str else _NULL if v is None else _field(v) for v in row]) + "\x00r"
            for row in rows
        ]
    )
    for plain, escaped in _COPY_ESCAPES:
        page = page.replace(plain, escaped)
    return page.encode()


_NULL = "\x00n"
_COPY_ESCAPES = (
    ("\\", "\\\\"),
    ("\t", "\\t"),
    ("\n", "\\n"),
    ("\r", "\\r"),
    (_NULL, "\\N"),
    ("\x00f", "\t"),
    ("\x00r", "\n"),
)


def _field(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return format(value, "f") if isinstance(value, Decimal) else str(value)


_DATABASES = {
    "sqlite": SqliteDatabase,
    "postgresql": PostgresDatabase,
    "mysql": MysqlDatabase,
    "mariadb": MysqlDatabase,
}


def database_of(engine: Engine, *, lock_seconds: int | None = None) -> Database:
    """Return what is special about an engine's database.

    :param engine: an engine nobody has connected with yet.
    :param lock_seconds: how long a statement waits for what another transaction holds.
    """
    return _DATABASES.get(engine.dialect.name, Database)(engine, lock_seconds=lock_seconds)
