"""SQLite."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from airflow_provider_achieveit.warehouse.databases.base import Database

_BUSY_SECONDS = 300
"""SQLite has one writer at a time; another export's load is waited for rather than failed upon."""


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
        dbapi_connection.execute(f"PRAGMA busy_timeout = {(self.lock_seconds or _BUSY_SECONDS) * 1000}")

    @staticmethod
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
