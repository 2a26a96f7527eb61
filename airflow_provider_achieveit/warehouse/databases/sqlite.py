"""SQLite."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import Connection, Engine

from airflow_provider_achieveit.warehouse.databases.base import Database

_BUSY_SECONDS = 300
"""SQLite has one writer at a time; another export's load is waited for rather than failed upon."""


class _Compiler(SQLiteCompiler):
    """SQLAlchemy 1.4's, which does not know the ``UPDATE ... FROM`` of SQLite 3.33 and later."""

    def update_from_clause(
        self, update_stmt: Any, from_table: Any, extra_froms: Any, from_hints: Any, **options: Any
    ) -> str:
        """Return the tables that the values come from."""
        options["asfrom"] = True
        tables = [table._compiler_dispatch(self, fromhints=from_hints, **options) for table in extra_froms]
        return f"FROM {', '.join(tables)}"


class SqliteDatabase(Database):
    """SQLite, with transactions as it documents them.

    Python's module opens transactions by rules of its own and would commit before DDL, so it is told to leave them to
    us (SQLAlchemy, "SQLite: Serializable isolation / Savepoints / Transactional DDL"). IMMEDIATE: a transaction that
    reads first and writes later could otherwise fail for a writer in between.
    """

    if_not_exists = True

    def __init__(self, engine: Engine, *, lock_seconds: int | None = None) -> None:
        super().__init__(engine, lock_seconds=lock_seconds)
        if "update_from_clause" not in vars(SQLiteCompiler):
            engine.dialect.statement_compiler = _Compiler
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "begin", self._begin)

    def _connected(self, dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None
        dbapi_connection.execute(f"PRAGMA busy_timeout = {(self.lock_seconds or _BUSY_SECONDS) * 1000}")

    @staticmethod
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
