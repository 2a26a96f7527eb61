"""Metrics, as a StatsD server gets them from Airflow's own client while Airflow runs the tasks."""

from __future__ import annotations

import importlib
import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator
from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
from airflow_provider_achieveit.sensors.job import AchieveItJobSensor
from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.airflow_versions import AIRFLOW
from tests.dag_runs import FinishedRun, run_dag

pytestmark = pytest.mark.usefixtures("airflow_db")
_numbers = itertools.count()

GOOD = {"external_id": "pat-nps", "status": "on track", "metric_value": 41.5, "as_of_date": "2026-01-05"}
ROWS = [GOOD, {**GOOD, "as_of_date": "2026-01-06"}, {**GOOD, "as_of_date": "2026-01-07", "status": "On Trakc"}]


class StatsD:
    """A StatsD server: what it got so far."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._got: list[tuple[str, str, str]] = []

    def ours(self) -> dict[str, list[str]]:
        """Return the values of each of our metrics, such as ``{"rows.read,kind=progress|c": ["3"]}``."""
        found: dict[str, list[str]] = {}
        while True:
            try:
                name, _, told = self._server.recv(4096).decode().partition(":")
            except BlockingIOError:
                return found
            value, _, kind = told.partition("|")
            if name.startswith("airflow.achieveit."):
                found.setdefault(f"{name.removeprefix('airflow.achieveit.')}|{kind}", []).append(value)


@contextmanager
def airflow_sends() -> Iterator[None]:
    """Make Airflow's client as its settings say, as a worker does before it runs a task."""
    if AIRFLOW < (3, 2):
        from airflow.metrics.statsd_logger import get_statsd_logger
        from airflow.stats import Stats

        client = get_statsd_logger(Stats)
        Stats.instance, Stats._instance_pid = client, os.getpid()
        try:
            yield
        finally:
            client.statsd.close()
            Stats.instance = None
        return
    from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
    from airflow.sdk.observability import stats
    from airflow.sdk.observability.metrics import stats_utils

    if AIRFLOW < (3, 3):
        client = stats_utils.get_stats_factory(stats.Stats)()
        initialize = stats.Stats.initialize
    else:
        client = stats_utils.get_stats_factory()()
        initialize = partial(stats.initialize, export_legacy_names=False)
    initialize(factory=lambda: client)
    try:
        yield
    finally:
        client.statsd.close()
        initialize(factory=NoStatsLogger)


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsD]:
    """A server that Airflow's settings name; tags are told in the metric's name, as InfluxDB wants them."""
    if (3, 2) <= AIRFLOW < (3, 3):
        # Makes a client of its own when a task first imports it.
        importlib.import_module("airflow.sdk.serde")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        settings = {"ON": True, "HOST": "127.0.0.1", "PORT": server.getsockname()[1], "INFLUXDB_ENABLED": True}
        for name, value in settings.items():
            monkeypatch.setenv(f"AIRFLOW__METRICS__STATSD_{name}", str(value))
        with airflow_sends():
            yield StatsD(server)


def run(operator: Any, **options: Any) -> FinishedRun:
    with DAG(f"metrics_{next(_numbers)}", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        operator(task_id="task", **options)
    return run_dag(dag)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_submit_tells_its_rows_batches_and_jobs(
    simulator: RunningSimulator, statsd: StatsD, deferrable: bool
) -> None:
    simulator.world.settings.job_seconds = 0.2
    options = {"rows": ROWS, "batch_size": 1, "on_invalid": "skip", "deferrable": deferrable, "poll_interval": 0.05}
    assert run(AchieveItSubmitProgressUpdatesOperator, **options).state == "success"
    told = statsd.ours()
    durations = told.pop("jobs.duration,kind=progress|ms")
    assert len(durations) == 2
    assert all(200 <= float(duration) < 60_000 for duration in durations), "milliseconds, from sent to seen ended"
    [read] = told.pop("rows.read_duration,kind=progress|ms")
    assert 0 < float(read) < 60_000
    assert told == {
        "rows.read,kind=progress|c": ["3"],
        "rows.rejected,kind=progress|c": ["1"],
        "rows.submitted,kind=progress|c": ["2"],
        "batches.submitted,kind=progress|c": ["2"],
        "jobs.applied,kind=progress|c": ["1", "1"],
    }


def test_a_failed_task_has_told_what_it_rejected(simulator: RunningSimulator, statsd: StatsD) -> None:
    assert run(AchieveItSubmitProgressUpdatesOperator, rows=ROWS).state == "failed"
    told = statsd.ours()
    assert told["rows.rejected,kind=progress|c"] == ["1"]
    assert "rows.submitted,kind=progress|c" not in told


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_sensor_tells_how_jobs_ended(simulator: RunningSimulator, statsd: StatsD, deferrable: bool) -> None:
    options = {"rows": [{**GOOD, "external_id": "nobody-has-this"}], "wait_for_completion": False}
    [job_id] = run(AchieveItSubmitProgressUpdatesOperator, **options).xcom("task", "job_ids")
    statsd.ours()
    assert run(AchieveItJobSensor, job_id=job_id, poke_interval=0.05, deferrable=deferrable).state == "failed"
    assert statsd.ours() == {"jobs.refused,kind=progress|c": ["1"]}


def test_an_export_tells_its_pages_items_and_changes(
    simulator: RunningSimulator, statsd: StatsD, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", f'{{"conn_type": "sqlite", "host": "{tmp_path / "w.db"}"}}')
    options = {"plan_id": DEMO_PLAN_ID, "conn_id": "warehouse", "page_size": 30}
    assert run(AchieveItExportPlanOperator, **options).state == "success"
    told = statsd.ours()
    assert float(told.pop("export.read_duration|ms")[0]) > 0
    assert float(told.pop("export.load_duration,mode=replace|ms")[0]) > 0
    assert told == {
        "export.items|c": ["61"],
        "export.pages|c": ["3"],
        "export.reads|c": ["1"],
        "export.inserted,mode=replace|c": ["61"],
    }


def test_a_metric_that_cannot_be_sent_fails_no_task(
    simulator: RunningSimulator, statsd: StatsD, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Airflow takes a name handler of the user's own, and lets its errors through.
    monkeypatch.setenv("AIRFLOW__METRICS__STAT_NAME_HANDLER", "tests.test_metrics.broken_name_handler")
    with airflow_sends():
        result = run(AchieveItSubmitProgressUpdatesOperator, rows=[GOOD]).xcom("task")
    assert result["rows_submitted"] == 1
    assert statsd.ours() == {}


def broken_name_handler(name: str) -> str:
    if "achieveit" in name:
        raise RuntimeError("out of names")
    return name
