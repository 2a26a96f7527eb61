"""Loading a plan: pages are staged beside the tables, then one transaction puts them in place."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from functools import partial
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError

from airflow_provider_achieveit.warehouse import model
from airflow_provider_achieveit.warehouse.compare import Changes
from airflow_provider_achieveit.warehouse.databases import database_of
from airflow_provider_achieveit.warehouse.databases.base import Database
from airflow_provider_achieveit.warehouse.errors import NewerStateError, TooManyDeletesError, WarehouseError
from airflow_provider_achieveit.warehouse.growth import make_missing
from airflow_provider_achieveit.warehouse.loads import LastLoad, LoadsRow, OvertakenError
from airflow_provider_achieveit.warehouse.modes import STATES, PlanState
from airflow_provider_achieveit.warehouse.rows import RowMaker, Rows
from airflow_provider_achieveit.warehouse.target import (
    PlanTables,
    abandoned_lists,
    abandoned_pairs,
    check_names,
    missing,
    plan_tables,
)
from airflow_provider_achieveit.warehouse.values import Limits


class PlanLoad:
    """One load of one plan; made by :func:`plan_load`.

    The order of calls: :meth:`write` for every page (:meth:`clear` to begin anew), then :meth:`apply`.
    """

    def __init__(self, database: Database, connection: Connection, tables: PlanTables, *, complete: bool) -> None:
        self.database, self.connection, self.tables = database, connection, tables
        # Looked at once, when the load is opened: far away, each of a dozen looks at a catalogue takes its time.
        self._complete = complete

    @property
    def limits(self) -> Limits:
        """What the columns can hold."""
        return self.database.limits

    def clear(self) -> None:
        """Forget all staged rows."""
        with self.connection.begin():
            for pair in self.tables.pairs:
                self.connection.execute(delete(pair.staged))

    def write(self, rows: Rows) -> None:
        """Stage the rows of one page; the warehouse's tables are not touched, nor locked."""
        with _refusal_told(self.connection, self.tables.name), self.connection.begin():
            for pair in self.tables.pairs:
                if rows.get(pair.model.suffix):
                    self.database.write(self.connection, pair.staged, rows[pair.model.suffix])

    def last(self, plan_id: str, snapshot_date: date | None = None) -> LastLoad | None:
        """Return what is told of the plan's last load.

        :param plan_id: the plan.
        :param snapshot_date: the day, in mode ``snapshot``.
        :return: None: there was no load, a table or column is missing, or the items' table has not as many of the
            plan's items as was told.
        """
        # First, as it refuses a snapshot without its day.
        row = self._row(plan_id, snapshot_date)
        if not self._complete:
            return None
        with self.connection.begin():
            last = row.read()
            # The moment plays no part in counting.
            if last and self._state(plan_id, last.extracted_at, snapshot_date).count_items() == last.items:
                return last
            return None

    def apply(
        self,
        plan_id: str,
        *,
        extracted_at: datetime,
        max_delete_ratio: float,
        snapshot_date: date | None = None,
        newest_change: str | None = None,
        settings: str = "",
    ) -> Changes:
        """Bring the plan's rows to the staged state, in one transaction.

        Readers see the plan as it was, or as it is now; other plans in the same tables are not touched, nor blocked.
        Missing tables are made before, in a transaction of their own.

        :param plan_id: the plan whose rows are staged.
        :param extracted_at: when they were read.
        :param max_delete_ratio: refuse if more than this share (0 to 1) of the plan's items is gone.
        :param snapshot_date: the day the rows stand for; in mode ``snapshot`` only.
        :param newest_change: the greatest ``lastUpdated`` of the items, as the API told it; for :meth:`last`.
        :param settings: what else shaped the rows; for :meth:`last`.
        :return: what changed, in items.
        :raises ValueError: mode ``snapshot`` without a day.
        :raises NewerStateError: what is there was read later; nothing was written.
        :raises TooManyDeletesError: more is gone; nothing was written.
        :raises TableMismatchError: the tables cannot take the rows; nothing was written.
        :raises WarehouseError: the database refused a row or a statement; nothing was written.
        """
        told = LastLoad(extracted_at, 0, newest_change, settings)
        row, state = self._row(plan_id, snapshot_date), self._state(plan_id, extracted_at, snapshot_date)
        with _refusal_told(self.connection, self.tables.name):
            if not self._complete:
                make_missing(self.database, self.connection, self.tables)
            try:
                return self._put(row, state, told, max_delete_ratio)
            except OvertakenError:
                # Two first loads of one plan; from now on there is a row to wait at.
                return self._put(row, state, told, max_delete_ratio)

    def _put(self, row: LoadsRow, state: PlanState, told: LastLoad, max_delete_ratio: float) -> Changes:
        with self.connection.begin():
            self.database.use_utc(self.connection)
            # Two loads of one plan (a retry, and the worker that was thought dead) go one after the other.
            self.database.lock(self.connection, f"achieveit plan {self.tables.name} {state.plan_id}")
            row.hold()
            last = row.read()
            self._check_newest(last, state)
            staged = self.tables.items.staged
            items = self.connection.execute(select(func.count()).select_from(staged)).scalar_one()
            row.write(mode=self.tables.mode.value, told=dataclasses.replace(told, items=items), first=last is None)
            with self.database.large_joins(self.connection):
                found = state.compare(items)
                self._guard(*state.baseline(found, first=last is None), state.plan_id, max_delete_ratio)
                state.put()
            there = state.count_items()
            if there != items:
                # Staging has no keys everywhere, and an UPDATE takes whichever of two rows it likes.
                raise WarehouseError(
                    f"Plan {state.plan_id} would have {there} items in {self.tables.name} instead of {items}: ids that "
                    "differ only in characters that this database does not hold, or a trigger of the table's own. "
                    "Nothing was written."
                )
            return found

    def _row(self, plan_id: str, snapshot_date: date | None) -> LoadsRow:
        key: dict[str, Any] = {model.PLAN_ID.name: plan_id}
        if self.tables.mode is model.Mode.SNAPSHOT:
            if snapshot_date is None:
                raise ValueError("mode 'snapshot' needs a snapshot_date")
            key[model.SNAPSHOT_DATE.name] = snapshot_date
        return LoadsRow(self.connection, self.tables.loads, key)

    def _state(self, plan_id: str, extracted_at: datetime, snapshot_date: date | None) -> PlanState:
        return STATES[self.tables.mode](self.connection, self.tables, plan_id, extracted_at, snapshot_date)

    def _check_newest(self, last: LastLoad | None, state: PlanState) -> None:
        """Refuse to go back in time: a slow task may end after one that began later."""
        if last and last.extracted_at > state.extracted_at:
            raise NewerStateError(
                f"Plan {state.plan_id} in {self.tables.name} was read at {last.extracted_at}, after this task read it "
                f"at {state.extracted_at}: the newer state stays, and nothing was written. If that moment is wrong (a "
                f"clock that was ahead), correct {model.EXTRACTED_AT.name} of the plan in {self.tables.loads.fullname} "
                "and run again."
            )
        if not last and state.was_read_after():
            # Loads of older releases told no moment but that of the rows; and a table may get lost.
            raise NewerStateError(
                f"Plan {state.plan_id} in {self.tables.name} has rows that were read after this task read it at "
                f"{state.extracted_at}: the newer state stays, and nothing was written. If their moment is wrong (a "
                f"clock that was ahead), correct {model.EXTRACTED_AT.name} of the plan in {self.tables.name} and run "
                "again."
            )

    def _guard(self, gone: int, before: int, plan_id: str, max_delete_ratio: float) -> None:
        if gone > max_delete_ratio * before:
            raise TooManyDeletesError(
                f"Plan {plan_id}: {gone} of its {before} items in {self.tables.name} ({gone / before:.0%}) are no "
                f"longer in the plan, more than max_delete_ratio={max_delete_ratio} allows. Nothing was written. If "
                "they are really gone, run once with a higher max_delete_ratio."
            )


class PlanStaging:
    """Takes the items of a plan, page by page, into the staging tables of a load.

    :param load: the load.
    :param plan_id: the plan.
    :param nested: what becomes of the lists in an item.
    :param unescape_html: turn HTML entities in plain-text fields back into characters.
    """

    def __init__(self, load: PlanLoad, plan_id: str, *, nested: model.Nested, unescape_html: bool) -> None:
        self.load = load
        self.make_maker = partial(RowMaker, plan_id, nested=nested, unescape_html=unescape_html, limits=load.limits)
        self.maker: RowMaker | None = None
        self._changed_at = load.tables.items.staged.columns.keys().index(model.snake_case(_LAST_UPDATED))
        self._newest: tuple[datetime, str] | None = None

    @property
    def newest_change(self) -> str | None:
        """The greatest ``lastUpdated`` of the items that were taken, as the API told it; None: there is none."""
        return self._newest and self._newest[1]

    def begin(self, extracted_at: datetime) -> None:
        """Forget all that was taken; a read begins at this moment."""
        if self.maker:
            self.load.clear()
        self.maker, self._newest = self.make_maker(extracted_at), None

    def add(self, items: list[dict[str, Any]]) -> None:
        """Take the items of one page."""
        if not self.maker:
            raise RuntimeError("begin() comes before add()")
        rows = self.maker.rows(items)
        # Moments tell what is newer; of those that are equal to the microsecond, the longer text is.
        changes = (
            (row[self._changed_at], item[_LAST_UPDATED])
            for item, row in zip(items, rows[""], strict=True)
            if row[self._changed_at] is not None
        )
        self._newest = max(itertools.chain([self._newest] if self._newest else [], changes), default=None)
        self.load.write(rows)


_LAST_UPDATED = "lastUpdated"


@contextmanager
def plan_load(
    engine: Engine, *, table: str, schema: str | None, nested: model.Nested, mode: model.Mode = model.Mode.REPLACE
) -> Iterator[PlanLoad]:
    """Open a load; the tables are looked at before anything else is done.

    Needs one database session for its whole time (staging tables are temporary): a connection pool in front of the
    database must not work per transaction.

    :param engine: an engine of the warehouse that nobody has connected with yet; disposed of at the end.
    :param table: name of the items' table; the other tables' names begin with it.
    :param schema: schema of the tables; None: the connection's default.
    :param nested: what becomes of the lists in an item.
    :param mode: what the load leaves of what was there, default ``replace``.
    :raises TableMismatchError: the tables are of another mode, or cannot take the rows.
    :raises WarehouseError: the database does not allow a load.
    """
    database = database_of(engine)
    if database.refusal:
        raise WarehouseError(database.refusal)
    if mode is model.Mode.MERGE and not database.updates_by_join:
        raise WarehouseError(
            f"Mode 'merge' is not to be had on {engine.dialect.name}, whose UPDATE takes nothing from another table. "
            "Choose mode 'replace', 'snapshot' or 'scd2', in tables of their own."
        )
    tables = plan_tables(table, schema, nested, mode, database)
    try:
        check_names(tables, database)
        with engine.connect() as connection:
            with connection.begin():
                complete = not missing(connection, tables)
                # Nothing is staged for these: the plan's rows in them go the way of all rows that are gone.
                abandoned = abandoned_pairs(connection, table, schema, nested, mode, database)
                for column in abandoned_lists(connection, tables):
                    tables.items.target.append_column(column)
            tables = dataclasses.replace(tables, pairs=(*tables.pairs, *abandoned))
            with _refusal_told(connection, tables.name), connection.begin():
                for temporary in tables.temporary:
                    temporary.create(connection, checkfirst=False)
            yield PlanLoad(database, connection, tables, complete=complete)
    finally:
        engine.dispose()


@contextmanager
def _refusal_told(connection: Connection, table: str) -> Iterator[None]:
    """Tell what the database refused and would refuse again; a lost connection or a lock timeout is raised as it is."""
    refusals = (DataError, IntegrityError, ProgrammingError)
    # COPY goes past SQLAlchemy, and so raises the driver's own.
    of_driver = tuple(getattr(connection.dialect.dbapi, refusal.__name__, refusal) for refusal in refusals)
    try:
        yield
    except (*refusals, *of_driver) as error:
        told = str(getattr(error, "orig", error)).strip()
        raise WarehouseError(
            f"The database refused the load into {table}. Nothing was written. Mend what it says, or name another "
            f"'table'. It says: {told}"
        ) from error
