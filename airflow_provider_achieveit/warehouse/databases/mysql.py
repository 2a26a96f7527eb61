"""MySQL and MariaDB."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError, OperationalError

from airflow_provider_achieveit.warehouse.databases.base import Database
from airflow_provider_achieveit.warehouse.values import Limits

_REFUSALS = frozenset({1044, 1059, 1071, 1118, 1142, 1143, 1267, 1644, 1906, 3105, 3819, 4025})
"""Errors that stay (rights, constraints, triggers, the table's make-up) and drivers call operational like an outage."""
_NEWER_WORDS = {"row_number"}
"""Names of columns that MariaDB has come to reserve, and SQLAlchemy 1.4 therefore does not quote."""


class MysqlDatabase(Database):
    """MySQL and MariaDB, with all of Unicode: their ``utf8`` ends before the emoji.

    Strict: they would cut what is too long. READ COMMITTED: they would lock the gaps between a plan's rows and its
    neighbours', and let plans wait for each other ("InnoDB Locking").
    """

    limits = Limits(decimal=(35, 30))
    if_not_exists = True
    longest_name = 64

    def __init__(self, engine: Engine, *, lock_seconds: int | None = None) -> None:
        super().__init__(engine, lock_seconds=lock_seconds)
        event.listen(engine, "do_connect", self._connecting)
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "handle_error", self._told, retval=True)
        event.listen(engine, "begin", self._begin)

    @staticmethod
    def _connecting(_dialect: Any, _record: Any, _args: Any, options: dict[str, Any]) -> None:
        options["charset"] = "utf8mb4"

    def _connected(self, dbapi_connection: Any, _record: Any) -> None:
        preparer = self.engine.dialect.identifier_preparer
        preparer.reserved_words = preparer.reserved_words | _NEWER_WORDS
        settings = [
            "SESSION sql_mode = concat_ws(',', nullif(@@SESSION.sql_mode, ''), 'STRICT_ALL_TABLES')",
            "SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        ]
        if self.lock_seconds is not None:
            # The first is for rows, the second for tables (a day, if not set).
            settings.append(f"innodb_lock_wait_timeout = {self.lock_seconds}, lock_wait_timeout = {self.lock_seconds}")
        cursor = dbapi_connection.cursor()
        for setting in settings:
            cursor.execute(f"SET {setting}")
        cursor.close()

    @staticmethod
    def _told(context: Any) -> Exception | None:
        error = context.original_exception
        if isinstance(context.sqlalchemy_exception, OperationalError) and error.args[:1] and error.args[0] in _REFUSALS:
            return IntegrityError(context.statement, context.parameters, error)
        return None

    def use_utc(self, connection: Connection) -> None:
        """Set the zone of the session."""
        connection.exec_driver_sql("SET time_zone = '+00:00'")

    def lock(self, connection: Connection, name: str) -> None:
        """Wait for a lock of the session (there are none of a transaction), which ends before the next transaction.

        :raises OperationalError: it did not come free for as long as the server waits for tables.
        """
        key = f"achieveit {hashlib.blake2b(name.encode(), digest_size=16).hexdigest()}"
        query = text("SELECT get_lock(:key, @@SESSION.lock_wait_timeout)")
        if connection.execute(query, {"key": key}).scalar() != 1:
            raise OperationalError(str(query), {"key": key}, TimeoutError(f"another load holds the lock {name!r}"))
        connection.info.setdefault(_LOCKS, []).append(key)

    @staticmethod
    def _begin(connection: Connection) -> None:
        for key in connection.info.pop(_LOCKS, ()):
            connection.execute(text("SELECT release_lock(:key)"), {"key": key})


_LOCKS = "achieveit locks"
