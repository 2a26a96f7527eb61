"""Runs that stand for the past: told by every kind of schedule, and kept from giving today's state an old date."""

from __future__ import annotations

import itertools
import json
import logging
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pendulum
import pytest
from airflow.models.dagrun import DagRun as StoredRun
from airflow.providers.common.compat.sdk import DAG, Asset
from airflow.timetables.base import DagRunInfo, TimeRestriction
from airflow.utils.session import create_session
from pendulum import DateTime
from sqlalchemy import select

from airflow_provider_achieveit.operators.export import (
    AchieveItExportPlanOperator,
    AchieveItExportPlanToFileOperator,
)
from airflow_provider_achieveit.operators.past_runs import why_past
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.airflow_versions import (
    AIRFLOW,
    needs_backfills,
    needs_more_timetables,
    needs_partitions,
    needs_runs_of_materialized_assets,
    needs_runs_of_operators,
    needs_runs_without_dates,
)
from tests.dag_runs import run_dag
from tests.going_run import GoingRun, register

if AIRFLOW >= (3, 2):
    from airflow.sdk import (
        CronDataIntervalTimetable,
        CronTriggerTimetable,
        DeltaDataIntervalTimetable,
        DeltaTriggerTimetable,
    )
    from airflow.serialization.encoders import coerce_to_core_timetable
else:
    from airflow.timetables.interval import CronDataIntervalTimetable, DeltaDataIntervalTimetable
    from airflow.timetables.trigger import CronTriggerTimetable, DeltaTriggerTimetable

_numbers = itertools.count()
LOG = logging.getLogger("test")
PLAN = "a0e2ce03-8d0e-4325-9a13-17a8b5936591"
BERLIN = "Europe/Berlin"
BEGIN, END = pendulum.datetime(2026, 2, 20), pendulum.datetime(2026, 4, 10)
DUE = "data_interval_end" if AIRFLOW < (3,) else "dag_run.run_after"
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
DAILY = f"0 {(datetime.now(UTC).hour + 12) % 24} * * *"
"""Far from now: no run becomes one of the past while a test looks at it."""


def dag_with(schedule: Any, **options: Any) -> DAG:
    return DAG(f"past_{next(_numbers)}", schedule=schedule, start_date=datetime(2026, 1, 1, tzinfo=UTC), **options)


def runs_due(dag: DAG, begin: DateTime, end: DateTime) -> Iterator[DagRunInfo]:
    """Yield what Airflow's scheduler would run from a moment on, were it to catch up."""
    last, restriction = None, TimeRestriction(earliest=begin, latest=end, catchup=True)
    while last := following(dag, last, restriction):
        yield last


def following(dag: DAG, last: DagRunInfo | None, restriction: TimeRestriction) -> DagRunInfo | None:
    if AIRFLOW >= (3, 2):
        timetable = coerce_to_core_timetable(dag.timetable)
        return timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=restriction)
    interval = last and last.data_interval
    return dag.timetable.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction)


def without_dates(run_after: pendulum.DateTime) -> DagRunInfo:
    """Return when a run is due that has no interval."""
    return DagRunInfo.exact(run_after)._replace(data_interval=None)


def for_worker(
    info: DagRunInfo, run_type: str = "scheduled", began: datetime | None = None, clear_number: int = 0
) -> Any:
    """Return a run as a task sees it."""
    interval = info.data_interval
    told = {"dag_id": "dag", "run_id": "run", "run_type": run_type, "state": "running", "start_date": began}
    if AIRFLOW < (3,):
        run = StoredRun(**told, execution_date=info.logical_date, data_interval=interval)
        run.clear_number = clear_number
        return run
    from airflow.sdk.api.datamodels._generated import DagRun

    told |= {
        "logical_date": interval and info.logical_date,
        "data_interval_start": interval and interval.start,
        "data_interval_end": interval and interval.end,
        "run_after": info.run_after,
        "end_date": None,
        "clear_number": clear_number,
        "consumed_asset_events": [],
        "partition_key": getattr(info, "partition_key", None),
        "partition_date": getattr(info, "partition_date", None),
    }
    # Before 3.2 a task sees no run that has not begun.
    make = DagRun if began or AIRFLOW >= (3, 2) else DagRun.model_construct
    return make(**{name: value for name, value in told.items() if name in DagRun.model_fields})


def schedule_of_assets_or_time() -> Any:
    timetable = CronTriggerTimetable("0 3 * * *", timezone="UTC")
    if AIRFLOW < (3,):
        from airflow.timetables.datasets import DatasetOrTimeSchedule

        return DatasetOrTimeSchedule(timetable=timetable, datasets=[Asset("a")])
    if AIRFLOW >= (3, 2):
        from airflow.sdk import AssetOrTimeSchedule
    else:
        from airflow.timetables.assets import AssetOrTimeSchedule

    return AssetOrTimeSchedule(timetable=timetable, assets=[Asset("a")])


def schedule_of_several_times() -> Any:
    if AIRFLOW >= (3, 2):
        from airflow.sdk import MultipleCronTriggerTimetable
    else:
        from airflow.timetables.trigger import MultipleCronTriggerTimetable

    return MultipleCronTriggerTimetable("0 6 * * *", "30 18 * * 5", timezone=BERLIN)


def schedule_of_partitions() -> Any:
    from airflow.sdk import CronPartitionTimetable

    return CronPartitionTimetable("0 3 * * *", timezone=BERLIN)


def why(dag: DAG, run: Any, now: datetime) -> str | None:
    return why_past({"dag": dag, "dag_run": run}, now, log=LOG)


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
@pytest.mark.parametrize(
    "schedule",
    [
        "0 3 * * *",
        CronDataIntervalTimetable("0 3 * * *", timezone=BERLIN),
        CronTriggerTimetable("0 3 * * *", timezone=BERLIN),
        CronDataIntervalTimetable("0 0 * * 1", timezone="UTC"),
        CronDataIntervalTimetable("0 0 1 * *", timezone=BERLIN),
        CronTriggerTimetable("0 6 * * 1-5", timezone=BERLIN),
        CronTriggerTimetable("0 6 * * *", timezone=BERLIN, interval=DAY),
        DeltaDataIntervalTimetable(timedelta(hours=6)),
        DeltaTriggerTimetable(timedelta(hours=36)),
        timedelta(days=7),
        schedule_of_assets_or_time(),
        pytest.param(schedule_of_several_times, id="several times", marks=needs_more_timetables),
        pytest.param(schedule_of_partitions, id="partitions", marks=needs_partitions),
    ],
    ids=lambda schedule: schedule if isinstance(schedule, str) else type(schedule).__name__,
)
def test_a_run_is_past_from_the_moment_on_when_the_next_is_due(schedule: Any, run_type: str) -> None:
    dag = dag_with(schedule() if callable(schedule) else schedule, catchup=True)
    due = list(runs_due(dag, BEGIN, END))
    assert len(due) > 1
    for this, following in itertools.pairwise(due):
        run = for_worker(this, run_type)
        assert why(dag, run, this.run_after) is None
        assert why(dag, run, following.run_after - SECOND) is None
        told = why(dag, run, following.run_after)
        assert told is not None
        assert f"was due at {following.run_after.in_timezone('UTC'):%Y-%m-%d %H:%M} UTC" in told
        assert why(dag, run, following.run_after + timedelta(days=400)) is not None


def test_a_run_that_began_in_time_may_come_late_the_same_day() -> None:
    dag = dag_with(DeltaTriggerTimetable(timedelta(minutes=5)), catchup=True)
    info = DagRunInfo.exact(BEGIN)
    slow = for_worker(info, began=BEGIN + timedelta(minutes=4))
    assert why(dag, slow, BEGIN + timedelta(minutes=50)) is None
    assert why(dag, slow, BEGIN + timedelta(hours=24, minutes=1)) is not None
    caught_up = for_worker(info, began=BEGIN + timedelta(minutes=6))
    assert why(dag, caught_up, BEGIN + timedelta(minutes=6)) is not None


def test_a_run_that_had_to_wait_for_another_may_come_late_the_same_day() -> None:
    # One run at a time, each of them slower than the schedule: Airflow 3.3 finds out what is next when a run is made,
    # not when it ends, so that every run begins when others are due already.
    dag = dag_with(DeltaTriggerTimetable(timedelta(minutes=5)), max_active_runs=1, catchup=False)
    began = BEGIN + timedelta(minutes=17)
    run = for_worker(DagRunInfo.exact(BEGIN), began=began)
    assert why(dag, run, began + timedelta(minutes=17)) is None
    assert why(dag, run, BEGIN + timedelta(hours=24, minutes=1)) is not None
    cleared = for_worker(DagRunInfo.exact(BEGIN), began=began, clear_number=1)
    assert why(dag, cleared, began) is not None
    assert why(dag, for_worker(DagRunInfo.exact(BEGIN), "backfill", began), began) is not None


def test_a_daily_run_whose_retries_reach_the_next_is_past() -> None:
    dag = dag_with(CronTriggerTimetable("0 3 * * *", timezone="UTC"))
    run = for_worker(DagRunInfo.exact(BEGIN.add(hours=3)), began=BEGIN.add(hours=3))
    assert why(dag, run, BEGIN.add(hours=26)) is None
    assert why(dag, run, BEGIN.add(hours=27, minutes=1)) is not None


def test_the_last_run_of_a_dag_that_has_ended_becomes_past_too() -> None:
    dag = dag_with(CronTriggerTimetable("0 3 * * *", timezone="UTC"), end_date=datetime(2026, 3, 1, tzinfo=UTC))
    [*_, last] = runs_due(dag, BEGIN, pendulum.datetime(2026, 3, 1))
    assert why(dag, for_worker(last), last.run_after + timedelta(hours=23)) is None
    assert why(dag, for_worker(last), last.run_after + timedelta(days=30)) is not None


def test_a_run_that_no_other_follows_stays_present() -> None:
    assert why(dag_with("@once"), for_worker(DagRunInfo.exact(BEGIN)), END) is None


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
@pytest.mark.parametrize("schedule", [None, Asset("a")])
def test_a_run_of_a_schedule_that_is_gone_is_past_after_a_day(schedule: Any, run_type: str) -> None:
    run = for_worker(DagRunInfo.interval(BEGIN - DAY, BEGIN), run_type)
    assert why(dag_with(schedule), run, BEGIN + timedelta(hours=23)) is None
    assert why(dag_with(schedule), run, BEGIN + timedelta(hours=25)) is not None


def test_a_continuous_run_is_past_after_a_day() -> None:
    dag = dag_with("@continuous", max_active_runs=1)
    run = for_worker(DagRunInfo.interval(BEGIN - SECOND, BEGIN))
    assert why(dag, run, BEGIN + timedelta(hours=23)) is None
    assert why(dag, run, BEGIN + timedelta(hours=25)) is not None


@pytest.mark.parametrize(
    "run_type",
    [
        "manual",
        "asset_triggered",
        pytest.param("operator_triggered", marks=needs_runs_of_operators),
        pytest.param("asset_materialization", marks=needs_runs_of_materialized_assets),
    ],
)
@pytest.mark.parametrize("schedule", ["0 * * * *", None, Asset("a")])
@pytest.mark.parametrize("logical", [True, pytest.param(False, marks=needs_runs_without_dates)])
def test_a_run_without_a_schedule_is_past_after_a_day(schedule: Any, run_type: str, logical: bool) -> None:
    dag = dag_with(schedule)
    info = DagRunInfo.exact(BEGIN) if logical else without_dates(BEGIN)
    run = for_worker(info, run_type)
    assert why(dag, run, BEGIN + timedelta(hours=23)) is None
    told = why(dag, run, BEGIN + timedelta(hours=25))
    assert told == f"it is a {run_type} run for 2026-02-20 00:00 UTC, more than a day ago"


@pytest.mark.parametrize("error", [RuntimeError("no such plug-in"), KeyError("no such plug-in")], ids=repr)
def test_a_schedule_that_cannot_be_asked_is_told_by_its_interval(
    caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    class Broken:
        def next_dagrun_info(self, **options: Any) -> None:
            raise error

    class Dag:
        timetable = Broken()

    run = for_worker(DagRunInfo.interval(BEGIN, BEGIN + timedelta(days=7)))
    with caplog.at_level(logging.INFO):
        assert why(Dag(), run, BEGIN + timedelta(days=14) - SECOND) is None  # type: ignore[arg-type]
    assert f"The schedule does not tell its next run ({type(error).__name__}: {error})" in caplog.text
    assert why(Dag(), run, BEGIN + timedelta(days=14)) is not None  # type: ignore[arg-type]
    point = for_worker(DagRunInfo.exact(BEGIN))
    assert why(Dag(), point, BEGIN + timedelta(hours=23)) is None  # type: ignore[arg-type]
    assert why(Dag(), point, BEGIN + timedelta(hours=25)) is not None  # type: ignore[arg-type]


# --- Through Airflow itself -------------------------------------------------------------------------------------------


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "warehouse.db"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    return path


def rows(warehouse: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(warehouse)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def export_dag(
    schedule: Any, directory: Path, *, snapshot_date: str | None = "{{ ds }}", past_runs: str = "skip"
) -> DAG:
    """Return a DAG with both operators; the file is named by the day that the run stands for."""
    shared: dict[str, Any] = {"plan_id": PLAN, "retries": 2, "past_runs": past_runs}
    with dag_with(schedule) as dag:
        AchieveItExportPlanOperator(
            task_id="tables", conn_id="warehouse", mode="snapshot", snapshot_date=snapshot_date, **shared
        )
        AchieveItExportPlanToFileOperator(
            task_id="file",
            path=f"{directory}/{{{{ {DUE}.strftime('%Y-%m-%d') }}}}.jsonl",
            **shared,
        )
    register(dag)
    return dag


def states(run: GoingRun) -> dict[str, str]:
    return {instance.task_id: str(instance.state) for instance in run.instances()}


SKIPPED = {"tables": "skipped", "file": "skipped"}
LOADED = {"tables": "success", "file": "success"}
FAILED = {"tables": "failed", "file": "failed"}


@pytest.mark.usefixtures("airflow_db")
class TestRunning:
    def latest(self, dag: DAG, count: int = 2) -> list[DagRunInfo]:
        now = pendulum.now("UTC")
        return [info for info in runs_due(dag, now.subtract(days=10), now) if info.run_after <= now][-count:]

    @pytest.mark.parametrize(
        "schedule",
        [CronDataIntervalTimetable(DAILY, timezone="UTC"), CronTriggerTimetable(DAILY, timezone="UTC")],
        ids=["interval", "trigger"],
    )
    def test_catching_up_after_an_outage(
        self, simulator: RunningSimulator, warehouse: Path, tmp_path: Path, schedule: Any
    ) -> None:
        dag = export_dag(schedule, tmp_path / "files")
        *missed, latest = self.latest(dag, 3)
        for info in missed:
            run = GoingRun(dag, f"scheduled__{info.run_after.isoformat()}", info)
            run.go_on()
            assert states(run) == SKIPPED
        assert simulator.world.requests == []
        assert not warehouse.exists()
        run = GoingRun(dag, f"scheduled__{latest.run_after.isoformat()}", latest)
        run.go_on()
        assert states(run) == LOADED
        assert latest.logical_date is not None
        assert rows(warehouse, "SELECT DISTINCT _snapshot_date FROM plan_items") == [
            (latest.logical_date.date().isoformat(),)
        ]
        assert [path.stem for path in (tmp_path / "files").iterdir()] == [latest.run_after.date().isoformat()]

    @needs_backfills
    def test_a_backfill_loads_at_most_the_present(
        self, simulator: RunningSimulator, warehouse: Path, tmp_path: Path
    ) -> None:
        from airflow.models.backfill import ReprocessBehavior, _create_backfill

        dag = export_dag(CronTriggerTimetable(DAILY, timezone="UTC"), tmp_path / "files")
        *_, first, _, latest = self.latest(dag, 4)
        _create_backfill(
            dag_id=dag.dag_id,
            from_date=first.run_after,
            to_date=latest.run_after,
            max_active_runs=3,
            reverse=True,
            dag_run_conf=None,
            reprocess_behavior=ReprocessBehavior.NONE,
            **({"triggering_user_name": None} if AIRFLOW >= (3, 1) else {}),
        )
        with create_session() as session:
            made = session.scalars(
                select(StoredRun).where(StoredRun.dag_id == dag.dag_id).order_by(StoredRun.run_after)
            )
            run_ids = [run.run_id for run in made]
        ended = []
        for run_id in run_ids:
            run = GoingRun(dag, run_id)
            run.go_on()
            ended.append(states(run))
        assert ended == [SKIPPED, SKIPPED, LOADED]

    @pytest.mark.parametrize("schedule", [None, DAILY])
    def test_a_manual_run_for_a_day_long_gone(
        self, simulator: RunningSimulator, warehouse: Path, tmp_path: Path, schedule: Any
    ) -> None:
        run = run_dag(export_dag(schedule, tmp_path), logical_date=datetime(2026, 1, 2, tzinfo=UTC))
        assert (run.task_state("tables"), run.task_state("file")) == ("skipped", "skipped")
        assert simulator.world.requests == []
        run = run_dag(export_dag(schedule, tmp_path))
        assert (run.task_state("tables"), run.task_state("file")) == ("success", "success")

    @needs_runs_without_dates
    def test_a_run_of_an_asset_has_no_logical_date(
        self, simulator: RunningSimulator, warehouse: Path, tmp_path: Path
    ) -> None:
        now = pendulum.now("UTC")
        dag = export_dag([Asset("kpis")], tmp_path, snapshot_date=None)
        fresh = GoingRun(dag, "asset_triggered__1", without_dates(now))
        fresh.go_on()
        assert states(fresh) == LOADED
        old = GoingRun(dag, "asset_triggered__2", without_dates(now - 2 * DAY))
        old.go_on()
        assert states(old) == SKIPPED

    def test_a_cleared_run_of_the_past_fails_where_it_is_to_and_at_once(
        self, simulator: RunningSimulator, warehouse: Path, tmp_path: Path
    ) -> None:
        dag = export_dag(CronTriggerTimetable(DAILY, timezone="UTC"), tmp_path, past_runs="fail")
        run = GoingRun(dag, "scheduled__old", self.latest(dag)[0])
        for _ in range(2):
            run.go_on()
            assert states(run) == FAILED
            assert {instance.try_number for instance in run.instances()} in ({1}, {2})
            error = run.errors["tables", -1]
            assert "This run stands for the past: a later run of its schedule was due at" in str(error)
            assert "set past_runs='run'" in str(error)
            run.clear_run()
        assert simulator.world.requests == []

    def test_a_past_run_that_loads_the_present_does_not_give_it_an_old_date(
        self, simulator: RunningSimulator, warehouse: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        dag = export_dag(CronTriggerTimetable(DAILY, timezone="UTC"), tmp_path, past_runs="run")
        run = GoingRun(dag, "scheduled__old", self.latest(dag)[0])
        with caplog.at_level(logging.WARNING):
            run.go_on()
        assert states(run) == LOADED
        read_on = run.xcom("tables")["extracted_at"][:10]
        assert rows(warehouse, "SELECT DISTINCT _snapshot_date FROM plan_items") == [(read_on,)]
