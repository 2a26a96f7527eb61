"""What tasks tell of plans, tables and files, written down and acted upon by Airflow itself."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import DAG, Asset, AssetAlias, task

from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator, AchieveItExportPlanToFileOperator
from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.airflow_versions import AIRFLOW, needs_asset_names
from tests.asset_events import Event, events_of
from tests.dag_runs import FinishedRun, run_dag
from tests.going_run import GoingRun, register
from tests.postgres import POSTGRES_URL, connect_or_skip

pytestmark = pytest.mark.usefixtures("airflow_db")
_numbers = itertools.count()
START = datetime(2026, 1, 1, tzinfo=UTC)

ROW = {"external_id": "pat-nps", "status": "On Track", "metric_value": "41", "as_of_date": "2026-01-05"}


def events(run: FinishedRun | GoingRun) -> list[Event]:
    """Return the asset events of a run's tasks."""
    return events_of(run.dag_run.dag_id if isinstance(run, FinishedRun) else run.dag.dag_id)


def task_dag(operator: Callable[..., Any], **options: Any) -> DAG:
    """Return a DAG of one task ``work``."""
    with DAG(f"asset_dag_{next(_numbers)}", schedule=None) as dag:
        operator(task_id="work", retry_delay=timedelta(0), **options)
    return dag


def submit_dag(**options: Any) -> DAG:
    return task_dag(
        AchieveItSubmitProgressUpdatesOperator,
        **{
            "rows": [ROW],
            "plan_id": "{{ '4' }}2",
            "poll_interval": 0.05,
            "emit_asset": True,
            "deferrable": False,
            **options,
        },
    )


def consumer(asset: Any) -> str:
    """Register a DAG that runs when an asset changes; return its id."""
    dag_id = f"asset_dag_{next(_numbers)}"
    register(DAG(dag_id, schedule=[asset], start_date=START, is_paused_upon_creation=False))
    return dag_id


def plan_uri(simulator: RunningSimulator, plan_id: str = "42") -> str:
    return f"achieveit://{urlsplit(simulator.url).netloc}/plans/{plan_id}"


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(
    "name",
    [pytest.param(None, id="by address"), pytest.param("the plan", id="by a name of its own", marks=needs_asset_names)],
)
def test_a_submit_starts_the_dags_that_wait_for_the_plan(
    simulator: RunningSimulator, deferrable: bool, name: str | None
) -> None:
    uri = plan_uri(simulator)
    waiting = consumer(Asset(uri) if name is None else Asset(name=f"{name} {deferrable}", uri=uri))
    dag = submit_dag(deferrable=deferrable, on_invalid="skip", rows=[ROW, {**ROW, "status": "Bad"}])
    run = run_dag(dag)
    [event] = events(run)
    assert event == Event(
        uri,
        {"kind": "progress", "rows_submitted": 1, "rows_rejected": 1, "rows_unchanged": 0, "batch_count": 1},
        [f"achieveit:{dag.dag_id}.work"],
        [waiting],
    )
    assert simulator.api_key not in json.dumps(event)


def test_the_scheduler_makes_the_run(simulator: RunningSimulator) -> None:
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    kind = "dataset" if AIRFLOW < (3,) else "asset"
    waiting = consumer(Asset(plan_uri(simulator)))
    run = run_dag(submit_dag())
    with create_session() as session:
        needed, triggered = DagModel.dags_needing_dagruns(session)
        models = [model for model in needed if model.dag_id == waiting]
        scheduler = SchedulerJobRunner(Job())
        if AIRFLOW < (3,):
            from airflow.models.dagbag import DagBag

            scheduler.dagbag = DagBag(read_dags_from_db=True)
            scheduler._create_dag_runs_dataset_triggered(models, triggered, session=session)
        else:
            since = {"triggered_date_by_dag": triggered} if AIRFLOW < (3, 2) else {}
            scheduler._create_dag_runs_asset_triggered(dag_models=models, session=session, **since)
    with create_session() as session:
        [made] = session.scalars(select(DagRun).where(DagRun.dag_id == waiting))
        assert (str(made.state), made.run_id.partition("__")[0]) == ("queued", f"{kind}_triggered")
        assert [event.source_dag_id for event in getattr(made, f"consumed_{kind}_events")] == [run.dag_run.dag_id]


def test_the_outlet_is_known_before_the_run() -> None:
    dag = submit_dag()
    assert dag.get_task("work").outlets == [AssetAlias(f"achieveit:{dag.dag_id}.work")]


@pytest.mark.parametrize(
    "options",
    [{"plan_id": None}, {"wait_for_completion": False}, {"wait_for_completion": False, "dry_run": True}],
)
def test_an_event_needs_a_plan_and_a_wait(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"emit_asset=True needs plan_id.*and wait_for_completion=True"):
        submit_dag(**options)


def test_a_plan_id_that_a_template_left_empty_is_told_before_anything_is_sent(simulator: RunningSimulator) -> None:
    run = run_dag(submit_dag(plan_id="{{ '' }}", retries=2))
    assert (run.task_state("work"), run.task("work").try_number) == ("failed", 1)
    assert simulator.world.requests == []


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({"dry_run": True}, "success"),
        ({"rows": []}, "skipped"),
        ({"rows": [], "on_empty": "succeed"}, "success"),
        ({"rows": [{**ROW, "status": "Bad"}]}, "failed"),
        ({"emit_asset": False}, "success"),
    ],
)
def test_what_was_not_applied_is_not_told(simulator: RunningSimulator, options: dict[str, Any], state: str) -> None:
    run = run_dag(submit_dag(**options))
    assert run.task_state("work") == state
    assert events(run) == []


def test_a_failed_job_is_not_told_and_its_retry_is_told_once(simulator: RunningSimulator) -> None:
    simulator.faults.add("fail_job")
    run = run_dag(submit_dag(retries=1))
    assert (run.task_state("work"), run.task("work").try_number) == ("success", 2)
    assert [event.extra["rows_submitted"] for event in events(run)] == [1]


def test_a_cleared_task_that_sends_nothing_again_tells_nothing_again(
    simulator: RunningSimulator, account: dict[str, Any]
) -> None:
    dag = submit_dag(**account)
    register(dag)
    run = GoingRun(dag)
    assert run.go_on() == "success"
    run.clear()
    assert run.go_on() == "success"
    assert run.xcom("work")["rows_unchanged"] == 1
    assert [event.extra["rows_submitted"] for event in events(run)] == [1]


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_cleared_task_tells_of_a_job_that_had_not_ended_in_time(
    simulator: RunningSimulator, account: dict[str, Any], deferrable: bool
) -> None:
    simulator.world.settings.job_seconds = 1.0
    dag = submit_dag(deferrable=deferrable, wait_timeout=0.2, **account)
    register(dag)
    run = GoingRun(dag)
    assert run.go_on() == "failed"
    [job] = simulator.world.jobs.values()
    until = time.monotonic() + 30
    while not job.done and time.monotonic() < until:
        time.sleep(0.05)
    for _ in range(2):
        run.clear()
        assert run.go_on() == "success"
        assert run.xcom("work")["rows_unchanged"] == 1
        assert len(events(run)) == 1


def test_a_retry_of_a_cleared_task_does_not_tell_again_what_was_told(
    simulator: RunningSimulator, account: dict[str, Any]
) -> None:
    def rows(ti: Any) -> list[dict[str, str]]:
        if ti.try_number == 3:
            raise ConnectionError("the source is away")
        return [ROW]

    with DAG(f"asset_dag_{next(_numbers)}", schedule=None) as dag:
        options: dict[str, Any] = {"plan_id": "42", "emit_asset": True, "deferrable": False} | account
        task.achieveit_progress_updates(task_id="work", retries=1, retry_delay=timedelta(0), **options)(rows)()
    register(dag)
    run = GoingRun(dag)
    for tries in (1, 2, 4):
        assert run.go_on() == "success"
        assert run.instance("work").try_number == tries
        run.clear()
    assert len(events(run)) == 1


def test_a_retry_tells_what_a_try_applied_that_failed_later(
    simulator: RunningSimulator, account: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection goes when the work is done and the event is to be told, and is back for the retry."""
    from airflow_provider_achieveit.assets import events as told

    looked_up = told.plan_asset
    calls: list[str] = []

    def fails_once(conn_id: str, plan_id: str) -> Any:
        calls.append(plan_id)
        if len(calls) == 1:
            raise ConnectionError("the API server is away")
        return looked_up(conn_id, plan_id)

    monkeypatch.setattr(told, "plan_asset", fails_once)
    run = run_dag(submit_dag(retries=1, **account))
    assert (run.task_state("work"), run.task("work").try_number) == ("success", 2)
    assert len(simulator.world.batches) == 1
    [event] = events(run)
    assert (event.extra["rows_submitted"], event.extra["rows_unchanged"]) == (0, 1)


def test_mapped_tasks_tell_one_event_each(simulator: RunningSimulator) -> None:
    with DAG(f"asset_dag_{next(_numbers)}", schedule=None) as dag:
        AchieveItSubmitProgressUpdatesOperator.partial(
            task_id="work", rows=[ROW], poll_interval=0.05, emit_asset=True, resubmit="always"
        ).expand(plan_id=["7", "8"])
    run = run_dag(dag)
    assert sorted(event.uri for event in events(run)) == [plan_uri(simulator, "7"), plan_uri(simulator, "8")]


def test_a_function_whose_rows_are_submitted_tells_too(simulator: RunningSimulator) -> None:
    with DAG(f"asset_dag_{next(_numbers)}", schedule=None) as dag:

        @task.achieveit_progress_updates(plan_id="42", emit_asset=True, poll_interval=0.05)
        def work() -> list[dict[str, str]]:
            return [ROW]

        work()
    assert [event.uri for event in events(run_dag(dag))] == [plan_uri(simulator)]


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A schema in the real PostgreSQL, as the connection ``warehouse``; returns the beginning of its tables' URIs."""
    connection = connect_or_skip()
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("drop schema if exists asset_events cascade; create schema asset_events")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", POSTGRES_URL.replace("postgresql://", "postgres://", 1))
    url = urlsplit(POSTGRES_URL)
    yield f"postgres://{url.hostname}:{url.port or 5432}{url.path}/asset_events"
    cursor.execute("drop schema asset_events cascade")
    connection.close()


def export_dag(**options: Any) -> DAG:
    given = {"plan_id": DEMO_PLAN_ID, "conn_id": "warehouse", "schema": "asset_events", "emit_asset": True}
    return task_dag(AchieveItExportPlanOperator, **given | options)


def test_an_export_tells_of_its_table(simulator: RunningSimulator, lake: str) -> None:
    waiting = consumer(Asset(f"{lake}/plan_items"))
    inlets: list[Any] = []
    run = run_dag(export_dag(on_success_callback=lambda context: inlets.extend(context["ti"].task.inlets)))
    result = run.xcom("work")
    [event] = events(run)
    assert (event.uri, event.queued) == (f"{lake}/plan_items", [waiting])
    assert event.extra == {
        "plan": plan_uri(simulator, DEMO_PLAN_ID),
        **{name: result[name] for name in ("items", "inserted", "updated", "deleted", "mode", "extracted_at")},
    }
    assert event.extra["inserted"] == len(simulator.world.plans[DEMO_PLAN_ID].items)
    assert inlets == [Asset(plan_uri(simulator, DEMO_PLAN_ID))]

    # Nothing to load: nothing to tell.
    again = run_dag(export_dag(skip_unchanged=True))
    assert again.xcom("work")["unchanged"] is True
    assert events(again) == []


def test_an_export_to_a_file_tells_of_the_file(simulator: RunningSimulator, tmp_path: Path) -> None:
    # Airflow's API server sets a task to failed that tells of an address which is not ASCII.
    path = tmp_path / "Pläne.jsonl"
    dag = task_dag(AchieveItExportPlanToFileOperator, plan_id=DEMO_PLAN_ID, path=str(path), emit_asset=True)
    register(dag)
    run = GoingRun(dag)
    assert run.go_on() == "success"
    [event] = events(run)
    assert event.uri == f"file://{tmp_path}/Pl%C3%A4ne.jsonl"
    assert (event.extra["format"], event.extra["bytes"]) == ("jsonl", path.stat().st_size)


def test_a_table_without_an_address_is_no_outlet(
    simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "w.db")}))
    run = run_dag(export_dag(schema=None))
    assert run.task_state("work") == "success"
    assert events(run) == []
