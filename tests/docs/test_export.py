"""The operators of docs/export.md, run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator
from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.dag_runs import run_dag
from tests.docs.blocks import blocks


def made_by(source: str) -> DAG:
    with DAG("of_the_page", schedule="@daily", start_date=datetime(2026, 1, 1)) as dag:
        exec(source, {"AchieveItExportPlanOperator": AchieveItExportPlanOperator})
    return dag


def test_a_plan_is_kept_as_a_file(simulator: RunningSimulator, airflow_db: None, tmp_path: Path) -> None:
    [source] = blocks("docs/export.md", "python", "Files")
    here = source.replace("s3://lake/", f"{tmp_path}/").replace('    path_conn_id="aws_default",\n', "")
    assert here.count(str(tmp_path)) == 1
    assert "aws_default" not in here
    assert run_dag(made_by(here)).state == "success"
    [file] = (tmp_path / "plans").iterdir()
    assert pyarrow.parquet.read_table(file).num_rows == len(simulator.world.plans[DEMO_PLAN_ID].items)


def test_an_unchanged_plan_is_read_once(simulator: RunningSimulator, airflow_db: None, warehouse: Any) -> None:
    [source] = blocks("docs/export.md", "python", "Nothing changed")
    here = source.replace('"..."', f'"{DEMO_PLAN_ID}"')
    assert [run_dag(made_by(here)).xcom("export")["reads"] for _ in range(2)] == [1, 0]
