"""What OpenLineage hears of tasks that Airflow runs: the events its own listener writes to a file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import DAG, get_listener_manager
from airflow.providers.openlineage import conf

from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator, AchieveItExportPlanToFileOperator
from airflow_provider_achieveit.operators.updates import (
    AchieveItSubmitMetricUpdatesOperator,
    AchieveItSubmitProgressUpdatesOperator,
)
from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.dag_runs import FinishedRun, run_dag
from tests.postgres import POSTGRES_URL, connect_or_skip

pytestmark = pytest.mark.usefixtures("airflow_db")
_numbers = itertools.count()
PASSWORD = "only-the-database-knows"


def _forget_settings() -> None:
    for found in vars(conf).values():
        if hasattr(found, "cache_clear"):
            found.cache_clear()


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulator: RunningSimulator) -> Iterator[Path]:
    """Listens as OpenLineage's plugin does; returns the file of its events."""
    from airflow.providers.openlineage.plugins.listener import OpenLineageListener

    # With the plugins of Airflow, of which OpenLineage's finds no transport and stays silent.
    manager = get_listener_manager()
    path = tmp_path / "events.jsonl"
    transport = {"type": "file", "log_file_path": str(path), "append": True}
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(transport))
    # A fork of this process would lack the threads of Airflow's in-process API.
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD", "True")
    _forget_settings()
    listener = OpenLineageListener()
    manager.add_listener(listener)
    yield path
    manager.pm.unregister(listener)
    _forget_settings()
    events = path.read_text(encoding="utf-8")
    assert simulator.api_key not in events
    assert PASSWORD not in events


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A schema in the real PostgreSQL, as the connection ``warehouse``; returns the namespace of its database."""
    connection = connect_or_skip()
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("drop schema if exists lineage cascade; create schema lineage")
    cursor.execute("create table lineage.kpi_values (kpi_id text, rag text, value numeric, day date)")
    cursor.execute("insert into lineage.kpi_values values ('pat-nps', 'On Track', 41.5, '2026-01-05')")
    url = urlsplit(POSTGRES_URL)
    given = {"host": url.hostname, "port": url.port, "login": url.username, "schema": url.path.lstrip("/")}
    monkeypatch.setenv(
        "AIRFLOW_CONN_WAREHOUSE",
        json.dumps({"conn_type": "postgres", "password": url.password or PASSWORD, **given}),
    )
    yield f"postgres://{url.hostname}:{url.port or 5432}"
    cursor.execute("drop schema lineage cascade")
    connection.close()


DATABASE = urlsplit(POSTGRES_URL).path.lstrip("/")
QUERY = {
    "sql": "select kpi_id as external_id, rag as status, value as metric_value, day as as_of_date "
    "from lineage.kpi_values where value > %(least)s",
    "parameters": {"least": 1},
    "conn_id": "warehouse",
}


def run(operator: Callable[..., Any], **options: Any) -> FinishedRun:
    with DAG(f"lineage_dag_{next(_numbers)}", schedule=None) as dag:
        operator(task_id="work", **options)
    return run_dag(dag)


def submit(operator: Callable[..., Any] = AchieveItSubmitProgressUpdatesOperator, **options: Any) -> FinishedRun:
    return run(operator, **{"poll_interval": 0.05, "deferrable": False, **options})


def events(told: Path, kind: str) -> list[dict[str, Any]]:
    """Return the events of tasks of a kind: START, RUNNING, COMPLETE or FAIL."""
    lines = [json.loads(line) for line in told.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["eventType"] == kind and line["job"]["name"].endswith(".work")]


def names(datasets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(dataset["namespace"], dataset["name"]) for dataset in datasets]


def achieveit(simulator: RunningSimulator) -> str:
    return f"achieveit://{urlsplit(simulator.url).netloc}"


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_query_goes_to_a_plan(simulator: RunningSimulator, told: Path, lake: str, deferrable: bool) -> None:
    assert submit(**QUERY, plan_id="{{ '4' }}2", deferrable=deferrable).state == "success"
    [completed] = events(told, "COMPLETE")
    for event in [*events(told, "START"), completed]:
        assert names(event["inputs"]) == [(lake, f"{DATABASE}.lineage.kpi_values")]
        assert names(event["outputs"]) == [(achieveit(simulator), "plans/42")]
    [source], [plan] = completed["inputs"], completed["outputs"]
    assert [field["name"] for field in source["facets"]["schema"]["fields"]] == ["kpi_id", "rag", "value", "day"]
    assert plan["outputFacets"]["outputStatistics"]["rowCount"] == 1
    assert completed["job"]["facets"]["sql"]["query"] == QUERY["sql"]


def test_a_file_goes_to_the_endpoint_where_no_plan_is_named(
    simulator: RunningSimulator, told: Path, tmp_path: Path
) -> None:
    path = tmp_path / "figures.csv"
    path.write_text("external_id,metric_value,as_of_date\npat-nps,41,2026-01-05\n")
    assert submit(AchieveItSubmitMetricUpdatesOperator, path=str(path)).state == "success"
    [completed] = events(told, "COMPLETE")
    assert names(completed["inputs"]) == [("file", str(path))]
    assert names(completed["outputs"]) == [(achieveit(simulator), "metricupdates")]


def test_a_submit_that_fails_tells_where_it_was_going(simulator: RunningSimulator, told: Path, lake: str) -> None:
    simulator.faults.add("fail_job")
    assert submit(**QUERY, plan_id="42").state == "failed"
    [failed] = events(told, "FAIL")
    assert names(failed["inputs"]) == [(lake, f"{DATABASE}.lineage.kpi_values")]
    assert names(failed["outputs"]) == [(achieveit(simulator), "plans/42")]
    assert failed["outputs"][0].get("outputFacets", {}) == {}


TABLES = ["", "_members", "_admins", "_tags", "_metric_goals", "_checklists", "_checklist_items"]


def test_a_plan_goes_to_all_its_tables(simulator: RunningSimulator, told: Path, lake: str) -> None:
    finished = run(AchieveItExportPlanOperator, plan_id=DEMO_PLAN_ID, conn_id="warehouse", schema="lineage")
    assert finished.state == "success"
    [completed] = events(told, "COMPLETE")
    assert names(completed["inputs"]) == [(achieveit(simulator), f"plans/{DEMO_PLAN_ID}")]
    assert names(completed["outputs"]) == [(lake, f"{DATABASE}.lineage.plan_items{suffix}") for suffix in TABLES]
    items, members, *_ = completed["outputs"]
    types = {field["name"]: field["type"] for field in items["facets"]["schema"]["fields"]}
    # By the name that the SQLAlchemy of this Airflow has for a text.
    assert types["plan_id"] in ("VARCHAR", "TEXT")
    assert types["current_value"] == "NUMERIC"
    assert types["_extracted_at"] == "TIMESTAMP"
    assert "position" in {field["name"] for field in members["facets"]["schema"]["fields"]}
    assert items["outputFacets"]["outputStatistics"]["rowCount"] == finished.xcom("work")["inserted"]
    # Before the first load the tables are not there.
    [started] = events(told, "START")
    assert names(started["outputs"]) == names(completed["outputs"])
    assert "schema" not in started["outputs"][0].get("facets", {})


def test_a_database_whose_hook_tells_nothing_is_named_all_the_same(
    simulator: RunningSimulator, told: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.db"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    run(AchieveItExportPlanOperator, plan_id=DEMO_PLAN_ID, conn_id="warehouse", nested="drop")
    [completed] = events(told, "COMPLETE")
    assert names(completed["outputs"]) == [(f"sqlite://{path}", "main.plan_items")]


def test_a_plan_goes_to_a_file(simulator: RunningSimulator, told: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.jsonl"
    run(AchieveItExportPlanToFileOperator, plan_id=DEMO_PLAN_ID, path=str(path))
    [completed] = events(told, "COMPLETE")
    assert names(completed["outputs"]) == [("file", str(path))]
    statistics = completed["outputs"][0]["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["size"]) == (
        len(simulator.world.plans[DEMO_PLAN_ID].items),
        path.stat().st_size,
    )


def test_trouble_with_lineage_fails_no_task(
    simulator: RunningSimulator, told: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_achieveit.lineage import datasets

    def fails(*_: Any) -> Any:
        raise RuntimeError("no lineage today")

    monkeypatch.setattr(datasets, "file_name", fails)
    assert run(AchieveItExportPlanToFileOperator, plan_id=DEMO_PLAN_ID, path=str(tmp_path / "p.csv")).state == "success"
    [completed] = events(told, "COMPLETE")
    assert (completed["inputs"], completed["outputs"]) == ([], [])


def test_without_openlineage_nothing_is_told(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.extractors", None)
    operator = AchieveItSubmitProgressUpdatesOperator(task_id="work", rows=[])
    assert operator.get_openlineage_facets_on_start() is None
    assert operator.get_openlineage_facets_on_complete(None) is None


def test_what_gives_access_to_a_file_is_not_told() -> None:
    from airflow_provider_achieveit.lineage.datasets import file_name

    assert file_name("https://user:secret@files.example.com/kpis.csv?sig=secret") == (
        "https://files.example.com",
        "kpis.csv",
    )
    assert file_name("s3://lake_conn@bucket/what?.csv") == ("s3://bucket", "what?.csv")
