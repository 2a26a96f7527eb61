"""The connection's limit of requests over the tasks of a DAG: worker and trigger, pages read in parallel, polls."""

from __future__ import annotations

import json
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_achieveit.api import rate
from airflow_provider_achieveit.operators.export import AchieveItExportPlanToFileOperator
from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
from airflow_provider_achieveit.simulator.seed_data import generated_plan
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.dag_runs import run_dag
from tests.going_run import GoingRun, register

WINDOW = 1.0
ROW = {"external_id": "pat-nps", "status": "On Track", "metric_value": "41", "as_of_date": "2026-01-05"}


def test_all_tasks_of_a_dag_keep_one_limit(
    simulator: RunningSimulator, airflow_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate, "_MINUTE", WINDOW)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    connection = json.loads(simulator.connection())
    connection["extra"]["max_requests_per_minute"] = 4
    monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connection))
    plan = generated_plan(120, seed=7)
    simulator.world.plans[plan.id] = plan
    simulator.world.settings.job_seconds = 0.3
    with DAG("limited", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
        push = AchieveItSubmitProgressUpdatesOperator(
            task_id="push", rows=[ROW], deferrable=True, poll_interval=0.1, wait_timeout=60
        )
        export = AchieveItExportPlanToFileOperator(
            task_id="export", plan_id=plan.id, path=f"{tmp_path}/plan.jsonl", page_size=20, parallel_pages=4
        )
        push >> export
    assert run_dag(dag).state == "success"
    assert len((tmp_path / "plan.jsonl").read_text().splitlines()) == 120
    moments = [datetime.fromisoformat(request.received_at).timestamp() for request in simulator.world.requests]
    assert len(moments) > 8
    # The limit and the server go by different clocks, hence not the whole of the window.
    assert max(sum(start <= moment < start + 0.95 * WINDOW for moment in moments) for start in moments) == 4


def test_a_batch_that_was_held_back_when_its_task_ended_is_sent_by_the_next_try(
    simulator: RunningSimulator,
    airflow_db: None,
    account: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    connection = json.loads(simulator.connection())
    connection["extra"]["max_requests_per_minute"] = 1
    monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connection))
    with DAG("held_back", schedule=None) as dag:
        AchieveItSubmitProgressUpdatesOperator(
            task_id="push",
            rows=[ROW, {**ROW, "external_id": "fin-margin"}],
            batch_size=1,
            poll_interval=0.05,
            deferrable=False,
            execution_timeout=timedelta(seconds=2),
            **account,
        )
    register(dag)
    run = GoingRun(dag)
    assert run.go_on() == "failed"
    assert len(simulator.world.batches) == 1

    monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", simulator.connection())
    run.clear()
    assert run.go_on() == "success"
    assert len(simulator.world.batches) == 2
