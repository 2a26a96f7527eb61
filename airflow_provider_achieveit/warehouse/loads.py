"""The table ``<table>_loads``: what the last load of a plan, or of a plan and day, has put in place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Table, and_, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from airflow_provider_achieveit.warehouse.model import EXTRACTED_AT


@dataclass(frozen=True, slots=True)
class LastLoad:
    """The last load of a plan.

    :param extracted_at: when its state was read.
    :param items: items of the plan.
    :param newest_change: the greatest ``lastUpdated`` among them, as the API told it; None: none was told.
    :param settings: what else shaped the rows.
    """

    extracted_at: datetime
    items: int
    newest_change: str | None
    settings: str


class OvertakenError(IntegrityError):
    """Another load of the plan has come first, and the same again will see what it did; or the row is refused."""


class LoadsRow:
    """The row of a plan; holding it keeps other loads of the same plan waiting.

    :param connection: of the load.
    :param table: ``<table>_loads``.
    :param key: the values of its key columns.
    """

    def __init__(self, connection: Connection, table: Table, key: dict[str, Any]) -> None:
        self.connection, self.table, self.key = connection, table, key
        self.condition = and_(*(table.c[name] == value for name, value in key.items()))

    def hold(self) -> None:
        """Wait for a load that holds the row, and hold it until the transaction ends."""
        unchanged = {name: self.table.c[name] for name in self.key}
        self.connection.execute(update(self.table).where(self.condition).values(unchanged))

    def read(self) -> LastLoad | None:
        """Return what the row tells; None: there is none."""
        columns = (EXTRACTED_AT.name, "items", "newest_change", "settings")
        query = select(*(self.table.c[name] for name in columns)).where(self.condition)
        row = self.connection.execute(query).first()
        return None if row is None else LastLoad(*row)

    def write(self, *, mode: str, told: LastLoad, first: bool) -> None:
        """Let the row tell a load.

        :param mode: of the load.
        :param told: the load.
        :param first: there is no row yet.
        :raises OvertakenError: there is one by now.
        """
        values = {
            "mode": mode,
            "settings": told.settings,
            "items": told.items,
            "newest_change": told.newest_change,
            EXTRACTED_AT.name: told.extracted_at,
        }
        if not first:
            self.connection.execute(update(self.table).where(self.condition).values(values))
            return
        try:
            self.connection.execute(insert(self.table).values(self.key | values))
        except IntegrityError as error:
            raise OvertakenError(error.statement, error.params, error.orig or error) from error
