"""Any database SQLAlchemy speaks to, and what others may do better than it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Table
from sqlalchemy.engine import Connection, Engine

from airflow_provider_achieveit.warehouse.rows import Row
from airflow_provider_achieveit.warehouse.values import Limits


class Database:
    """Any database SQLAlchemy speaks to: executemany, no locks besides those of the transaction.

    :param engine: an engine nobody has connected with yet.
    :param lock_seconds: how long a statement waits for what another transaction holds; None: as the database is set
        up, and on SQLite until any load has ended.
    """

    limits = Limits()
    """What its columns can hold."""
    if_not_exists = False
    """CREATE TABLE knows IF NOT EXISTS."""
    keyed_staging = True
    """Staged rows are joined by way of an index; a database that joins by hashing would keep it up for nothing."""
    indexes = True
    """It has indexes, and uses them."""
    temporary = "TEMPORARY"
    """The word for a table that only one session sees."""
    temporary_name = ""
    """What the name of such a table has to begin with."""
    longest_name: int | None = None
    """Bytes in the name of a table; None: as the dialect says."""
    updates_by_join = True
    """UPDATE takes values from another table; mode ``merge`` needs it."""
    refusal: str | None = None
    """Why it cannot take a load."""

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

    @contextmanager
    def large_joins(self, connection: Connection) -> Iterator[None]:
        """Let the statements within join tables that are large, whatever the planner takes them for."""
        yield
