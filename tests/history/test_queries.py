"""What is asked of a ledger, on real databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import sqlalchemy

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.history.filters import Filters
from airflow_provider_achieveit.history.ledger import NoLedger, opened
from airflow_provider_achieveit.history.queries import MOST_OPEN, PAGE, History, LastRun, written_dag_ids
from airflow_provider_achieveit.stores.ledger_tables import LedgerError
from airflow_provider_achieveit.stores.records import BatchState
from tests.history.writing import Written, reject
from tests.stores.databases import Database

APPLIED, QUEUED, SENDING = BatchState.APPLIED, BatchState.QUEUED, BatchState.SENDING
FAILED, REFUSED, UNKNOWN, PLANNED = BatchState.FAILED, BatchState.REFUSED, BatchState.UNKNOWN, BatchState.PLANNED
DAY = timedelta(days=1)


@pytest.fixture
def written(database: Database) -> Written:
    return Written(database.url, database.table)


def hook_of(database: Database) -> SimpleNamespace:
    """As much of a ``DbApiHook`` as a ledger wants, for any address."""
    return SimpleNamespace(
        get_sqlalchemy_engine=lambda engine_kwargs: sqlalchemy.create_engine(database.url, **engine_kwargs)
    )


@contextmanager
def history(database: Database, *dag_ids: str, **filters: object) -> Iterator[History]:
    query = {name: str(value) for name, value in filters.items()}
    with opened(hook_of(database), database.table) as (connection, tables):
        yield History(connection, tables, Filters.from_query(query), dag_ids, datetime.now(UTC))


def last_runs(database: Database, *dag_ids: str, **filters: object) -> dict[str, LastRun]:
    with history(database, *dag_ids, **filters) as seen:
        return {f"{run.dag_id}.{run.task_id}": run for run in seen.last_runs()}


def test_only_rows_of_permitted_dags_are_seen(database: Database, written: Written) -> None:
    for dag_id in ("mine", "theirs", "MINE"):
        written.run(dag_id, [APPLIED, QUEUED], rejects=[reject(dag_id)])
    with opened(hook_of(database), database.table) as (connection, tables):
        assert written_dag_ids(connection, tables) == {"mine", "theirs", "MINE"}
    for asked in ({}, {"dag_id": "mine"}, {"dag_id": "theirs"}, {"dag_id": "MINE"}, {"run_id": "run", "days": 0}):
        with history(database, "mine", **asked) as seen:
            found = [*seen.batches(), *seen.rejects(), *seen.open_batches(), *seen.last_runs()]
            assert {row.dag_id for row in found} <= {"mine"}
            # MariaDB compares names without case, unless told otherwise.
            expected = 2 if asked.get("dag_id") in (None, "mine") else 0
            assert sum(count.batches for count in seen.days()) == expected == len(seen.batches())
            assert seen.reject_count() == expected // 2
    with history(database) as seen:
        found = [*seen.batches(), *seen.rejects(), *seen.open_batches(), *seen.last_runs(), *seen.days()]
        assert (found, seen.reject_count()) == ([], 0)


def test_days_are_those_of_utc_and_old_ones_are_left_out(database: Database, written: Written) -> None:
    # One moment for all, so that a run about midnight asks for no other days than it wrote.
    now = datetime.now(UTC)
    written.run("a", [APPLIED, APPLIED, FAILED], rows=7, at=now)
    written.run("a", [APPLIED], run_id="old", rows=5, at=now - 40 * DAY)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    # One second of yesterday, in UTC: in the server's own zone it may be another day.
    written.run("a", [REFUSED], run_id="late", rows=3, at=midnight - timedelta(seconds=1))
    today, yesterday, long_ago = now.date(), (now - DAY).date(), (now - 40 * DAY).date()
    with history(database, "a") as seen:
        counted = [(count.day, count.state, count.batches, count.rows) for count in seen.days()]
    recent = [(yesterday, "refused", 1, 3), (today, "applied", 2, 14), (today, "failed", 1, 7)]
    assert sorted(counted) == recent
    with history(database, "a", days=0) as seen:
        counted = [(count.day, count.state, count.batches, count.rows) for count in seen.days()]
    assert sorted(counted) == [(long_ago, "applied", 1, 5), *recent]


def test_filters_leave_out_the_rest(database: Database, written: Written) -> None:
    written.run("a", [APPLIED, FAILED], reason="because")
    written.run("a", [APPLIED], task_id="other", run_id="second", kind=UpdateKind.METRIC, rejects=[reject("b")])
    written.run("b", [FAILED], rejects=[reject("c")])
    for filters, batches, rejects in (
        ({}, 4, 2),
        ({"dag_id": "a"}, 3, 1),
        ({"task_id": "push"}, 3, 1),
        ({"run_id": "second"}, 1, 1),
        ({"kind": "metric"}, 1, 1),
        ({"state": "failed"}, 2, 2),
        ({"dag_id": "a", "state": "failed", "kind": "progress"}, 1, 0),
        ({"dag_id": "nobody's"}, 0, 0),
    ):
        with history(database, "a", "b", **filters) as seen:
            assert len(seen.batches()) == sum(count.batches for count in seen.days()) == batches, filters
            assert len(seen.rejects()) == seen.reject_count() == rejects, filters


def test_pages_hold_everything_once_and_newest_first(database: Database, written: Written) -> None:
    written.run("a", [APPLIED] * (PAGE + 3), rejects=[reject(str(at), row=at) for at in range(PAGE + 2)])
    with history(database, "a") as first, history(database, "a", page=2, rejects_page=2) as second:
        ids = [row.id for row in [*first.batches(), *second.batches()]]
        assert ids == sorted(set(ids), reverse=True)
        assert (len(first.batches()), len(second.batches())) == (PAGE, 3)
        rows = [row.source_row for row in [*first.rejects(), *second.rejects()]]
        assert rows == list(range(PAGE + 2))
    with history(database, "a", page=3, rejects_page=3) as beyond:
        assert (beyond.batches(), beyond.rejects()) == ([], [])


def test_open_jobs_are_seen_however_old_the_oldest_first(database: Database, written: Written) -> None:
    written.run("a", [QUEUED, APPLIED], run_id="old", before=400 * DAY)
    written.run("a", [SENDING, PLANNED, UNKNOWN], run_id="new")
    with history(database, "a") as seen:
        assert [(row.run_id, row.state) for row in seen.open_batches()] == [("old", "queued"), ("new", "sending")]
    written.run("b", [QUEUED] * (MOST_OPEN + 5))
    with history(database, "b") as seen:
        assert len(seen.open_batches()) == MOST_OPEN + 1


def test_the_last_run_of_a_task_is_told_as_its_last_plan_has_it(database: Database, written: Written) -> None:
    written.run("a", [FAILED], run_id="first", rows=1)
    written.run("a", [APPLIED, APPLIED], run_id="second", rows=10, contents=["x", "y"])
    # Cleared: x is what it was, y was replaced by z.
    written.run("a", [APPLIED, REFUSED], run_id="second", try_number=2, rows=10, contents=["x", "z"])
    for map_index in (0, 1):
        written.run("a", [APPLIED], task_id="mapped", map_index=map_index, rows=4)
    written.run("a", [APPLIED], task_id="MAPPED")
    runs = last_runs(database, "a")
    assert set(runs) == {"a.push", "a.mapped", "a.MAPPED"}
    assert (runs["a.push"].run_id, runs["a.push"].states, runs["a.push"].rows) == (
        "second",
        {"applied": 1, "refused": 1},
        20,
    )
    assert (runs["a.mapped"].states, runs["a.mapped"].rows) == ({"applied": 2}, 8)


def test_a_run_of_which_every_row_was_rejected_is_the_last_run(database: Database, written: Written) -> None:
    written.run("a", [APPLIED], run_id="first", rejects=[reject()])
    assert last_runs(database, "a")["a.push"].rejects == 1
    written.run("a", [], run_id="second", rejects=[reject(), reject(row=2)])
    run = last_runs(database, "a")["a.push"]
    assert (run.run_id, run.states, run.rejects) == ("second", {}, 2)
    # Cleared after the source was mended: what the first try rejected is of the past.
    written.run("a", [APPLIED], run_id="second", try_number=2)
    run = last_runs(database, "a")["a.push"]
    assert (run.run_id, run.states, run.rejects) == ("second", {"applied": 1}, 0)


def test_before_the_first_task_there_is_no_ledger_and_none_is_made(database: Database) -> None:
    for _ in range(2):
        with pytest.raises(NoLedger), opened(hook_of(database), database.table):
            pass
    with database.engine().connect() as connection:
        assert database.table not in sqlalchemy.inspect(connection).get_table_names()


def test_a_table_that_is_no_ledger_is_told(database: Database) -> None:
    database.execute("create table {0} (id integer)")
    database.execute("create table {0}_rejects (id integer)")
    with pytest.raises(LedgerError, match="lacks the column"), opened(hook_of(database), database.table):
        pass
