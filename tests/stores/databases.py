"""Real databases for the ledger, and what other programs see in them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool, QueuePool


@dataclass
class Database:
    """A database with a ledger of the test's own."""

    url: str
    table: str = field(default_factory=lambda: f"ledger_{uuid.uuid4().hex[:12]}")

    @property
    def name(self) -> str:
        return sqlalchemy.engine.make_url(self.url).get_backend_name()

    def engine(self) -> Engine:
        return sqlalchemy.create_engine(self.url, poolclass=NullPool)

    def ledger_engine(self, url: str = "") -> Engine:
        """As the ledger's own, but for the hook."""
        return sqlalchemy.create_engine(url or self.url, poolclass=QueuePool, pool_size=1, pool_pre_ping=True)

    def execute(self, statement: str) -> int:
        """Run what a person may type, and return the number of rows."""
        with self.engine().begin() as connection:
            return connection.exec_driver_sql(statement.format(self.table)).rowcount

    def rows(self, suffix: str = "", order: str = "id") -> list[dict[str, Any]]:
        with self.engine().connect() as connection:
            found = connection.exec_driver_sql(f"select * from {self.table}{suffix} order by {order}")
            return [dict(row._mapping) for row in found]

    def states(self) -> list[tuple[str, str]]:
        return [(row["fingerprint"], row["state"]) for row in self.rows()]

    def drop(self) -> None:
        for suffix in ("", "_rejects"):
            self.execute(f"drop table if exists {self.table}{suffix}")
