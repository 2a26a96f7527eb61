"""What a load does with the plan's rows in each mode, all within the transaction of the caller."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import Table, and_, delete, exists, func, insert, literal, null, select, update
from sqlalchemy.engine import Connection

from airflow_provider_achieveit.warehouse.compare import Change, Changes, compare, count, listed, same_row
from airflow_provider_achieveit.warehouse.model import (
    DELETED_AT,
    EXTRACTED_AT,
    SNAPSHOT_DATE,
    VALID_FROM,
    VALID_TO,
    Mode,
)
from airflow_provider_achieveit.warehouse.target import PlanTables, TablePair


class PlanState:
    """The state of one plan in the warehouse, and the staged one that is to come; in mode ``replace``.

    The order of calls: :meth:`compare`, :meth:`baseline`, :meth:`put`.

    :param connection: the connection that staged the rows, in a transaction.
    :param tables: the tables.
    :param plan_id: the plan.
    :param extracted_at: when the staged state was read.
    :param snapshot_date: the day it is to stand for, in mode ``snapshot``.
    """

    def __init__(
        self,
        connection: Connection,
        tables: PlanTables,
        plan_id: str,
        extracted_at: datetime,
        snapshot_date: date | None,
    ) -> None:
        self.connection, self.tables, self.plan_id = connection, tables, plan_id
        self.extracted_at, self.snapshot_date = extracted_at, snapshot_date
        self.changed: dict[tuple[str, Change], int] = {}
        self.empty = True

    def there(self, table: Table) -> Any:
        """Return the condition for the rows that the staged ones are compared with."""
        return table.c.plan_id == self.plan_id

    def present(self, items: Table) -> Any:
        """Return the condition for the items of the plan as it was read last."""
        return self.there(items)

    def filled(self, target: Table) -> dict[str, Any]:
        """Return what columns of a new row hold that staged rows do not have, where that is not NULL."""
        return {}

    def count_items(self) -> int:
        """Count the items of the plan as it was read last."""
        items = self.tables.items.target
        return self._count(select(func.count()).select_from(items).where(self.present(items)))

    def was_read_after(self) -> bool:
        """Tell whether any of the items there was read later than the staged state."""
        items = self.tables.items.target
        later = and_(self.there(items), items.c[EXTRACTED_AT.name] > self.extracted_at)
        return self._count(select(func.count()).select_from(items).where(later)) > 0

    def compare(self, items: int) -> Changes:
        """Tell what the load changes.

        :param items: how many are staged.
        """
        targets = [pair.target for pair in self.tables.pairs]
        queries = (select(target.c.plan_id).where(self.there(target)).limit(1) for target in targets)
        self.empty = all(self.connection.execute(query).first() is None for query in queries)
        if self.empty:
            # A first load; looking at every row of it would only cost.
            return Changes(before=0, inserted=items, updated=0, deleted=0)
        self.connection.execute(delete(self.tables.changes))
        self.changed = compare(self.connection, self.tables, self.there)
        return count(self.connection, self.tables, self.plan_id, self.changed, before=self.count_items())

    def baseline(self, found: Changes, *, first: bool) -> tuple[int, int]:
        """Return how many items are gone, and of how many, to be judged by ``max_delete_ratio``.

        :param found: what :meth:`compare` returned.
        :param first: nothing of this plan (and day) was loaded before.
        """
        return found.deleted, found.before

    def put(self) -> None:
        """Bring the tables to the staged state."""
        for pair in self.tables.pairs:
            if self.empty:
                self._insert(pair)
            else:
                self._change(pair)

    def _change(self, pair: TablePair) -> None:
        self.connection.execute(delete(pair.target).where(self.there(pair.target)))
        self._insert(pair)

    def _has(self, pair: TablePair, *kinds: Change) -> bool:
        return any((pair.model.suffix, kind) in self.changed for kind in kinds)

    def _insert(self, pair: TablePair, *kinds: Change) -> None:
        """Insert all staged rows, or those that are listed with one of the changes."""
        staged, changes, filled = pair.staged, self.tables.changes, self.filled(pair.target)
        columns = [pair.target.c[name] for name in (*staged.c.keys(), *filled)]
        values = (literal(value, pair.target.c[name].type) for name, value in filled.items())
        rows = select(*staged.c, *values)
        if kinds:
            rows = rows.select_from(staged.join(changes, listed(changes, staged, pair, *kinds)))
            # All are of the plan; told, SQLite finds them by their key.
            rows = rows.where(staged.c.plan_id == self.plan_id)
        # In the order of the key, whose index grows at its end then: ids are random, and an index of them large.
        rows = rows.order_by(*(staged.c[name] for name in pair.model.key))
        self.connection.execute(insert(pair.target).from_select(columns, rows))

    def _listed(self, pair: TablePair, *kinds: Change) -> Any:
        """Return the condition for the rows that are listed with one of the changes."""
        changes = self.tables.changes
        query = select(1).select_from(changes).where(listed(changes, pair.target, pair, *kinds))
        return and_(self.there(pair.target), exists(query.correlate(pair.target)))

    def _count(self, query: Any) -> int:
        return int(self.connection.execute(query).scalar_one())


class SnapshotState(PlanState):
    """One day's state of a plan; those of other days are not touched."""

    def there(self, table: Table) -> Any:
        """Return the condition for the day's rows."""
        return and_(super().there(table), table.c[SNAPSHOT_DATE.name] == self.snapshot_date)

    def filled(self, target: Table) -> dict[str, Any]:
        """Return the day."""
        return {SNAPSHOT_DATE.name: self.snapshot_date}

    def baseline(self, found: Changes, *, first: bool) -> tuple[int, int]:
        """Compare with the snapshot before, where the day has none yet."""
        if not first:
            return super().baseline(found, first=first)
        items, staged = self.tables.items.target, self.tables.items.staged
        day, loads = items.c[SNAPSHOT_DATE.name], self.tables.loads
        loaded = loads.c[SNAPSHOT_DATE.name]
        newest = self.connection.execute(
            select(func.max(loaded)).where(loads.c.plan_id == self.plan_id, loaded < self.snapshot_date)
        ).scalar_one()
        if newest is None:
            return 0, 0
        before = and_(items.c.plan_id == self.plan_id, day == newest)
        joined = items.outerjoin(staged, same_row(items, staged, self.tables.items))
        return (
            self._count(select(func.count()).select_from(joined).where(before, staged.c.plan_id.is_(None))),
            self._count(select(func.count()).select_from(items).where(before)),
        )


class MergeState(PlanState):
    """The plan with all items it ever had."""

    def present(self, items: Table) -> Any:
        """Return the condition for the items that are not marked as gone."""
        return and_(super().present(items), items.c[DELETED_AT.name].is_(None))

    def _change(self, pair: TablePair) -> None:
        if self._has(pair, Change.DIFFERENT, Change.BACK):
            self._update(pair)
        if self._has(pair, Change.GONE):
            gone = self._listed(pair, Change.GONE)
            if DELETED_AT.name in pair.target.c:
                mark = {DELETED_AT.name: self.extracted_at}
                self.connection.execute(update(pair.target).where(gone).values(mark))
            else:
                self.connection.execute(delete(pair.target).where(gone))
        if self._has(pair, Change.NEW):
            self._insert(pair, Change.NEW)

    def _update(self, pair: TablePair) -> None:
        """Bring rows up to date, and leave what they have in columns of the user's own."""
        staged, target, changes = pair.staged, pair.target, self.tables.changes
        values: dict[str, Any] = {column.name: column for column in staged.c if column.name not in pair.model.key}
        values |= {column.name: null() for column in pair.emptied}
        if DELETED_AT.name in target.c:
            values[DELETED_AT.name] = null()
        self.connection.execute(
            update(target)
            .where(
                self.there(target),
                same_row(target, staged, pair),
                listed(changes, staged, pair, Change.DIFFERENT, Change.BACK),
            )
            .values(values)
        )


class Scd2State(PlanState):
    """The current state of a plan; what was before stays as it is."""

    def there(self, table: Table) -> Any:
        """Return the condition for the current rows."""
        return and_(super().there(table), table.c[VALID_TO.name].is_(None))

    def filled(self, target: Table) -> dict[str, Any]:
        """Return since when a new row is current."""
        return {VALID_FROM.name: self.extracted_at}

    def _change(self, pair: TablePair) -> None:
        target = pair.target
        if self._has(pair, Change.DIFFERENT, Change.GONE):
            ended = self._listed(pair, Change.DIFFERENT, Change.GONE)
            # A version of the same moment was never the state; it would also have the key of the one to come.
            never = target.c[VALID_FROM.name] >= self.extracted_at
            self.connection.execute(delete(target).where(never, ended))
            self.connection.execute(update(target).where(ended).values({VALID_TO.name: self.extracted_at}))
        if self._has(pair, Change.NEW, Change.DIFFERENT):
            self._insert(pair, Change.NEW, Change.DIFFERENT)


STATES: dict[Mode, type[PlanState]] = {
    Mode.REPLACE: PlanState,
    Mode.MERGE: MergeState,
    Mode.SNAPSHOT: SnapshotState,
    Mode.SCD2: Scd2State,
}
