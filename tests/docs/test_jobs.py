"""The DAGs of docs/jobs.md wait for their jobs, and the page tells what every answer means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from airflow_provider_achieveit.api import jobs
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.dag_runs import run_dag
from tests.docs.blocks import ROOT, blocks
from tests.docs.dags import dag_of

PAGE = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
SENSOR, TRIGGER = blocks("docs/jobs.md", "python")


def test_a_sensor_waits(simulator: RunningSimulator, airflow_db: None, tmp_path: Path, warehouse: Any) -> None:
    warehouse.run("create table kpi_updates (external_id, status, metric_value, as_of_date)")
    warehouse.run("insert into kpi_updates values ('pat-nps', 'On Track', 47, '2026-01-05')")
    finished = run_dag(dag_of(SENSOR, tmp_path))
    assert finished.state == "success"
    assert finished.xcom("push", "job_ids") == list(simulator.world.jobs)
    assert finished.xcom("push")["batches"][0]["state"] == "queued"


def test_an_operator_of_ones_own_waits_by_the_trigger(
    simulator: RunningSimulator, airflow_db: None, tmp_path: Path
) -> None:
    assert run_dag(dag_of(TRIGGER, tmp_path)).state == "success"
    assert simulator.world.item("pat-nps").fields["currentValue"] == "47.5"


def test_an_operator_of_ones_own_fails_with_the_typed_error(
    simulator: RunningSimulator, airflow_db: None, tmp_path: Path
) -> None:
    assert run_dag(dag_of(TRIGGER.replace("pat-nps", "nobody"), tmp_path)).state == "failed"


def test_it_tells_the_rules_of_the_wait() -> None:
    assert jobs.FAILED_ANSWERS == 3
    assert "| 500 | failed, if it says so three times in a row" in PAGE
    [grace] = re.findall(r"\| 404 \| not known yet, for (\d+) s", PAGE)
    assert float(grace) == jobs.MISSING_GRACE
