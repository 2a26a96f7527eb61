"""DuckDB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import Table, event
from sqlalchemy.engine import Connection, Engine
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from airflow_provider_achieveit.warehouse.databases.base import Database
from airflow_provider_achieveit.warehouse.rows import Row
from airflow_provider_achieveit.warehouse.values import Limits

_BUSY_SECONDS = 300
"""One process at a time may open a file that is written; another export's load is waited for, as on SQLite."""
_LOCKED = "Could not set lock on file"


class DuckdbDatabase(Database):
    """DuckDB, one writer at a time.

    Processes keep each other out of the file. Within a process, of two transactions that touch the same rows or tables
    one would fail ("Concurrency" in DuckDB's documents), so they go one after the other.
    """

    limits = Limits(decimal=(20, 18))
    if_not_exists = True
    keyed_staging = False
    indexes = False
    longest_name = 255

    def __init__(self, engine: Engine, *, lock_seconds: int | None = None) -> None:
        super().__init__(engine, lock_seconds=lock_seconds)
        event.listen(engine, "do_connect", self._connect)

    def _connect(self, dialect: Any, _record: Any, args: Any, options: dict[str, Any]) -> Any:
        seconds = self.lock_seconds or _BUSY_SECONDS
        # Those that wait are not told when it comes free, and should not ask in step.
        patient = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, dialect.dbapi.Error) and _LOCKED in str(error)),
            stop=stop_after_delay(seconds),
            wait=wait_random(0.02, 0.2),
            reraise=True,
        )
        connection = patient(dialect.connect, *args, **options)
        return _OneWriter(connection, _turn(self.engine.url.database), seconds, dialect.dbapi)

    def use_utc(self, connection: Connection) -> None:
        """Set the zone of the session."""
        connection.exec_driver_sql("SET TimeZone = 'UTC'")

    def write(self, connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        """Add rows as one list a column: executemany takes a hundred times as long."""
        quote = connection.dialect.identifier_preparer
        names = ", ".join(quote.quote(column.name) for column in table.columns)
        lists = ", ".join(f"unnest(?::{column.type.compile(dialect=connection.dialect)}[])" for column in table.columns)
        columns = tuple(list(column) for column in zip(*rows, strict=True))
        # In a list: SQLAlchemy 1.4 takes a tuple of lists for the parameters of many statements.
        connection.exec_driver_sql(f"INSERT INTO {quote.format_table(table)} ({names}) SELECT {lists}", [columns])


class _Turn:
    """Whose turn it is to write to a file."""

    def __init__(self) -> None:
        self.lock = Lock()


_turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()


def _turn(path: str | None) -> _Turn:
    return _turns.setdefault(str(Path(path or "").resolve()), _Turn())


class _OneWriter:
    """A connection of DuckDB's dialect whose transactions wait for those of other connections of the process."""

    def __init__(self, connection: Any, turn: _Turn, seconds: float, dbapi: Any) -> None:
        self._connection, self._turn, self._seconds, self._dbapi = connection, turn, seconds, dbapi
        self._has_turn = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def begin(self) -> None:
        if not self._turn.lock.acquire(timeout=self._seconds):
            raise self._dbapi.TransactionException(
                f"another transaction of this process did not end within {self._seconds} s"
            )
        self._has_turn = True
        self._connection.begin()

    def commit(self) -> None:
        self._connection.commit()
        self._done()

    def rollback(self) -> None:
        try:
            self._connection.rollback()
        finally:
            self._done()

    def close(self) -> None:
        try:
            self._connection.close()
        finally:
            self._done()

    def _done(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._turn.lock.release()
