"""What is asked of the ledger. Every statement is bounded, and sees the rows of permitted DAGs only."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import Table, and_, exists, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from airflow_provider_achieveit.history.filters import Filters
from airflow_provider_achieveit.stores.ledger_tables import LedgerTables
from airflow_provider_achieveit.stores.records import OPEN_STATES

PAGE = 25
"""Batches, and rejected rows, on one page."""
MOST_TASKS = 200
MOST_OPEN = 50

_Row = Any
"""A row of SQLAlchemy: 1.4 and 2.x have different classes for it."""


@dataclass(frozen=True, slots=True)
class DayCount:
    """What one day's plans came to.

    :param day: the day in UTC.
    :param state: how far these batches have come.
    :param batches: how many there are.
    :param rows: the rows in them.
    """

    day: date
    state: str
    batches: int
    rows: int


@dataclass(frozen=True, slots=True)
class LastRun:
    """How a task's last run stands.

    :param states: batches by state, as its last plan has them; empty where none was planned.
    :param rows: the rows in them.
    :param rejects: reasons for which rows were rejected in this run.
    :param at: when something was last written down.
    """

    dag_id: str
    task_id: str
    run_id: str
    kind: str
    states: dict[str, int]
    rows: int
    rejects: int
    at: datetime


@dataclass(slots=True)
class _Plan:
    at: datetime
    rows: int = 0
    states: dict[str, int] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)
    """By map index: the last try that has sent something."""


def written_dag_ids(connection: Connection, tables: LedgerTables) -> set[str]:
    """Return the DAGs of which the ledger has anything at all."""
    found = [connection.execute(select(_exact(connection, t.c.dag_id)).distinct()) for t in _both(tables)]
    return {str(dag_id) for result in found for (dag_id,) in result}


class History:
    """The ledger as one person may see it, through their filters.

    :param connection: to the ledger's database.
    :param tables: the ledger.
    :param filters: what the person wants to see.
    :param dag_ids: the DAGs whose rows they may see.
    :param now: the present moment.
    """

    def __init__(
        self, connection: Connection, tables: LedgerTables, filters: Filters, dag_ids: Collection[str], now: datetime
    ) -> None:
        self._connection = connection
        self._table, self._rejects = tables.submissions, tables.rejects
        self._filters = filters
        self._dag_ids = sorted({filters.dag_id}.intersection(dag_ids) if filters.dag_id else dag_ids)
        self._since = filters.since(now)

    def days(self) -> list[DayCount]:
        """Count batches and rows by day and state; all of them together are what :meth:`batches` pages through."""
        table = self._table
        dated = select(
            _UtcDay(table.c.planned_at).label("day"), table.c.state.label("state"), table.c.row_count.label("rows")
        )
        each = dated.where(*self._wanted(table, table.c.planned_at), *self._in_state()).subquery()
        counted = select(each.c.day, each.c.state, func.count(), func.sum(each.c.rows))
        found = self._connection.execute(counted.group_by(each.c.day, each.c.state).order_by(each.c.day))
        return [DayCount(date.fromisoformat(str(day)[:10]), state, int(n), int(rows)) for day, state, n, rows in found]

    def batches(self) -> list[_Row]:
        """Return one page of batches, newest first."""
        table = self._table
        wanted = select(table).where(*self._wanted(table, table.c.planned_at), *self._in_state())
        return self._page(wanted.order_by(table.c.id.desc()), self._filters.page)

    def reject_count(self) -> int:
        """Count the reasons for which rows were rejected."""
        table = self._rejects
        counted = select(func.count()).select_from(table).where(*self._wanted(table, table.c.written_at))
        return int(self._connection.execute(counted).scalar() or 0)

    def rejects(self) -> list[_Row]:
        """Return one page of them, newest first, those of one try in the order of the source."""
        table = self._rejects
        wanted = select(table).where(*self._wanted(table, table.c.written_at))
        newest_first = table.c.written_at.desc(), table.c.slot, table.c.map_index, table.c.try_number
        return self._page(wanted.order_by(*newest_first, table.c.position), self._filters.rejects_page)

    def open_batches(self) -> list[_Row]:
        """Return the batches whose end nobody has written down, however old, oldest first; at most MOST_OPEN + 1."""
        table, later = self._table, self._table.alias("later")
        newer = and_(
            later.c.slot == table.c.slot,
            later.c.fingerprint == table.c.fingerprint,
            later.c.send_number > table.c.send_number,
        )
        is_open = table.c.state.in_([state.value for state in OPEN_STATES])
        wanted = select(table).where(*self._of_task(table), is_open, ~exists().where(newer))
        return list(self._connection.execute(wanted.order_by(table.c.id).limit(MOST_OPEN + 1)))

    def last_runs(self) -> list[LastRun]:
        """Return how the last run of each task stands, MOST_TASKS of them, the newest."""
        table, rejects = self._table, self._rejects
        sent = self._newest(table, table.c.id, table.c.planned_at)
        # All rejects of a try were written at the same moment.
        refused = self._newest(rejects, rejects.c.written_at, rejects.c.written_at)
        plans = self._plans({row.slot for row in sent})
        counts = self._reject_counts({row.slot for row in [*sent, *refused]}, plans)
        runs: dict[tuple[str, str, str], LastRun] = {}
        for row in sent:
            if (plan := plans.get(row.slot)) is None:
                # Planned, and forgotten a moment ago.
                continue
            rejected, at = counts.get(row.slot, (0, plan.at))
            run = LastRun(*_names(row), states=plan.states, rows=plan.rows, rejects=rejected, at=max(at, plan.at))
            runs[row.dag_id, row.task_id, row.kind] = run
        for row in refused:
            known = runs.get((row.dag_id, row.task_id, row.kind))
            rejected, at = counts.get(row.slot, (0, row.written_at))
            if known is None or known.at < at:
                # A later run of which nothing was sent: its rows were refused.
                run = LastRun(*_names(row), states={}, rows=0, rejects=rejected, at=at)
                runs[row.dag_id, row.task_id, row.kind] = run
        return sorted(runs.values(), key=lambda run: run.at, reverse=True)[:MOST_TASKS]

    def _newest(self, table: Table, column: Any, at: Any) -> list[_Row]:
        """Return the run of each task's newest row, by the column that says which it is."""
        wanted = self._wanted(table, at)
        of_task = *(_exact(self._connection, table.c[name]) for name in ("dag_id", "task_id")), table.c.kind
        newest = func.max(column)
        latest = select(newest).where(*wanted).group_by(*of_task).order_by(newest.desc()).limit(MOST_TASKS)
        # In two steps: SQLite would look through the whole table for each task.
        values = [value for (value,) in self._connection.execute(latest)]
        names = table.c.slot, table.c.dag_id, table.c.task_id, table.c.run_id, table.c.kind, at
        return list(self._connection.execute(select(*names).where(*wanted, column.in_(values)).distinct()))

    def _plans(self, slots: Collection[str]) -> dict[str, _Plan]:
        """Return what the last plan of each task has come to, by slot.

        Content that was replaced, and content that was sent again, does not count twice.
        """
        table = self._table
        in_slots = table.c.slot.in_(list(slots))
        of_task, of_content = (table.c.slot, table.c.last_planned_by), (table.c.slot, table.c.fingerprint)
        last_plan = select(*of_task, func.max(table.c.last_planned_at).label("at")).where(in_slots).group_by(*of_task)
        last_send = select(*of_content, func.max(table.c.send_number).label("n")).where(in_slots).group_by(*of_content)
        plan, send = last_plan.subquery(), last_send.subquery()
        in_plan = and_(
            table.c.slot == plan.c.slot,
            table.c.last_planned_by == plan.c.last_planned_by,
            table.c.last_planned_at == plan.c.at,
        )
        is_last = and_(
            table.c.slot == send.c.slot, table.c.fingerprint == send.c.fingerprint, table.c.send_number == send.c.n
        )
        counted = select(
            *of_task,
            table.c.state,
            func.count().label("batches"),
            func.sum(table.c.row_count).label("rows"),
            func.max(table.c.try_number).label("try_number"),
            func.max(func.coalesce(table.c.ended_at, table.c.sent_at, table.c.last_planned_at)).label("at"),
        ).select_from(table.join(plan, in_plan).join(send, is_last))
        plans: dict[str, _Plan] = {}
        for row in self._connection.execute(counted.where(in_slots).group_by(*of_task, table.c.state)):
            known = plans.setdefault(row.slot, _Plan(at=row.at))
            known.states[row.state] = known.states.get(row.state, 0) + row.batches
            known.rows += int(row.rows)
            known.at = max(known.at, row.at)
            known.tries[row.last_planned_by] = max(known.tries.get(row.last_planned_by, 0), row.try_number)
        return plans

    def _reject_counts(self, slots: Collection[str], plans: dict[str, _Plan]) -> dict[str, tuple[int, datetime]]:
        """Return by slot how many reasons the newest try of each mapped task gave, and when.

        Where a later try has sent something, what an earlier one rejected was mended.
        """
        table = self._rejects
        of_try = table.c.slot, table.c.map_index, table.c.try_number
        counted = select(*of_try, func.count().label("number"), func.max(table.c.written_at).label("at"))
        by_try = counted.where(table.c.slot.in_(list(slots))).group_by(*of_try)
        newest: dict[tuple[str, int], int] = {}
        counts: dict[str, tuple[int, datetime]] = {}
        for row in self._connection.execute(by_try.order_by(table.c.try_number.desc())):
            sent_by = plans[row.slot].tries.get(row.map_index, 0) if row.slot in plans else 0
            if sent_by <= row.try_number == newest.setdefault((row.slot, row.map_index), row.try_number):
                number, at = counts.get(row.slot, (0, row.at))
                counts[row.slot] = number + row.number, max(at, row.at)
        return counts

    def _wanted(self, table: Table, at: Any) -> list[Any]:
        return [*self._of_task(table), *([] if self._since is None else [at >= self._since])]

    def _of_task(self, table: Table) -> list[Any]:
        permitted = _exact(self._connection, table.c.dag_id).in_(self._dag_ids)
        names = ("task_id", "run_id", "kind")
        asked = [table.c[name] == value for name in names if (value := getattr(self._filters, name))]
        return [permitted, *asked]

    def _in_state(self) -> list[Any]:
        return [self._table.c.state == self._filters.state] if self._filters.state else []

    def _page(self, wanted: Any, page: int) -> list[_Row]:
        return list(self._connection.execute(wanted.limit(PAGE).offset((page - 1) * PAGE)))


def _names(row: _Row) -> tuple[str, str, str, str]:
    return row.dag_id, row.task_id, row.run_id, row.kind


def _both(tables: LedgerTables) -> tuple[Table, Table]:
    return tables.submissions, tables.rejects


def _exact(connection: Connection, column: Any) -> Any:
    """Return a name to compare as Airflow does; MySQL would take a DAG of other case for the permitted one."""
    return column.collate("utf8mb4_bin") if connection.dialect.name in ("mysql", "mariadb") else column


class _UtcDay(FunctionElement):  # type: ignore[type-arg]  # no generics in SQLAlchemy 1.4
    """The day of a moment in UTC, as a date or as a text that begins with it."""

    inherit_cache = True
    name = "utc_day"


@compiles(_UtcDay)
def _day(element: Any, compiler: Any, **options: Any) -> str:
    [moment] = element.clauses
    return f"CAST({compiler.process(moment, **options)} AS DATE)"


@compiles(_UtcDay, "postgresql")
def _day_in_postgres(element: Any, compiler: Any, **options: Any) -> str:
    [moment] = element.clauses
    return f"CAST({compiler.process(moment, **options)} AT TIME ZONE 'UTC' AS DATE)"


@compiles(_UtcDay, "sqlite")
def _day_in_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    [moment] = element.clauses
    # The moment is an ISO text in UTC.
    return f"SUBSTR({compiler.process(moment, **options)}, 1, 10)"
