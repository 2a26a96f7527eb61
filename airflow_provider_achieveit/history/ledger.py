"""The ledger, opened to be looked at: nothing is written, and nobody waits long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from airflow_provider_achieveit.stores.ledger import ledger_engine, limit_waits
from airflow_provider_achieveit.stores.ledger_tables import LedgerTables, ledger_tables, missing_tables

SECONDS = 5
"""How long a connection may take, and each statement."""
_DRIVER_LIMITS: dict[str, int] = {"read_timeout": SECONDS + 5, "write_timeout": SECONDS}
_TOO_SLOW = ("57014", 1969, 3024)
"""What PostgreSQL, MariaDB and MySQL say of a statement that took too long."""


class NoLedger(Exception):  # noqa: N818  (it is a state, not a failure)
    """No task has written into the ledger yet: its tables are not there."""


@contextmanager
def opened(hook: Any, table: str) -> Iterator[tuple[Connection, LedgerTables]]:
    """Give a connection to the ledger, and its tables.

    :param hook: the ``DbApiHook`` of its connection.
    :param table: the ledger's table, or ``schema.table``.
    :raises NoLedger: the tables are not there yet.
    :raises LedgerError: the table's name is none, its schema is not there, or it lacks columns.
    """
    tables = ledger_tables(table)
    engine = ledger_engine(hook)
    try:
        if _is_missing_file(engine):
            # SQLite would make the file.
            raise NoLedger
        event.listen(engine, "begin", _limit_statements)
        limit_waits(engine, **_DRIVER_LIMITS)
        with engine.begin() as connection:
            if missing_tables(connection, tables):
                raise NoLedger
            yield connection, tables
    finally:
        engine.dispose()


def took_too_long(error: DBAPIError) -> bool:
    """Tell whether a statement was stopped by :data:`SECONDS`."""
    # Each driver has a place of its own for the code.
    codes = {getattr(error.orig, name, None) for name in ("pgcode", "sqlstate")}
    return not codes.union(getattr(error.orig, "args", ())[:1]).isdisjoint(_TOO_SLOW)


def _is_missing_file(engine: Engine) -> bool:
    path = engine.url.database or ""
    # Neither in memory nor an address of SQLite's own.
    is_path = bool(path) and not path.startswith((":", "file:"))
    return engine.dialect.name == "sqlite" and is_path and not Path(path).exists()


def _limit_statements(connection: Connection) -> None:
    dialect: Any = connection.dialect
    if dialect.name == "postgresql":
        # LOCAL: a connection pool in front of the server may give the session to somebody else.
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{SECONDS}s'")
    elif dialect.name in ("mysql", "mariadb"):
        limit = f"max_statement_time = {SECONDS}" if dialect.is_mariadb else f"max_execution_time = {SECONDS * 1000}"
        connection.exec_driver_sql(f"SET SESSION {limit}")
