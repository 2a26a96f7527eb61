"""A file of figures becomes metric updates in AchieveIt; the wait is a task of its own.

Shows a file as the source (CSV, JSON, JSON Lines or Parquet, here or on any object store: ``s3://lake/figures.csv``),
metric updates, which leave the status alone, and a submit that does not wait: a sensor does, so that other tasks may
run in between.

Needs the connection ``achieveit_default``. Another file: trigger the DAG with the parameter ``path``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG, Param, XComArg

from airflow_provider_achieveit.operators.updates import AchieveItSubmitMetricUpdatesOperator
from airflow_provider_achieveit.sensors.job import AchieveItJobSensor

with DAG(
    dag_id="achieveit_metric_push_from_file",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params={"path": Param(str(Path(__file__).parent / "data" / "finance_figures.csv"), type="string")},
    doc_md=__doc__,
    tags=["achieveit", "example"],
) as dag:
    submit = AchieveItSubmitMetricUpdatesOperator(
        task_id="submit_figures",
        path="{{ params.path }}",
        columns={
            "external_id": "KPI",
            "metric_value": "Figure",
            "as_of_date": "Closing Date",
            "comment": "Remark",
        },
        wait_for_completion=False,
    )
    AchieveItJobSensor(
        task_id="wait_for_jobs",
        # Pushed before any wait, so that it is there even when the rest of the task fails.
        job_id=XComArg(submit, key="job_ids"),
        kind="metric",
        deferrable=True,
        poke_interval=5,
        timeout=1800,
    )


if __name__ == "__main__":
    dag.test()
