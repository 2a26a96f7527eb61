"""Every night: the plan's state of the day is added to a history in SQL tables, and kept as a Parquet file.

Shows ``mode="snapshot"`` (one state a day, side by side, told by ``_snapshot_date``), a file on any object store, and
what happens to runs of the past: AchieveIt only tells the present, so a backfill, a run that is caught up on or an old
run that is cleared does not give today's state an old date; its tasks are skipped (``past_runs="skip"``, the default).

Needs the connections ``warehouse`` and ``achieveit_default``, and pyarrow (extra ``parquet``). Another plan or place
(``s3://lake/plans``): set the parameters ``plan_id`` and ``directory``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_achieveit.operators.export import (
    AchieveItExportPlanOperator,
    AchieveItExportPlanToFileOperator,
)

# A manual run of Airflow 3 may have no logical date, and so no ``ds``.
DAY = "{{ (dag_run.logical_date or dag_run.run_after) | ds }}"

with DAG(
    dag_id="achieveit_plan_snapshots",
    schedule="0 1 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    params={
        "plan_id": Param("a0e2ce03-8d0e-4325-9a13-17a8b5936591", type="string"),
        "directory": Param("/tmp/achieveit_plans", type="string"),  # noqa: S108 - a place to look at, not to rely on
    },
    doc_md=__doc__,
    tags=["achieveit", "example"],
) as dag:
    AchieveItExportPlanOperator(
        task_id="keep_in_tables",
        plan_id="{{ params.plan_id }}",
        conn_id="warehouse",
        table="plan_history",
        mode="snapshot",
        snapshot_date=DAY,
    )
    AchieveItExportPlanToFileOperator(
        task_id="keep_as_file",
        plan_id="{{ params.plan_id }}",
        path=f"{{{{ params.directory }}}}/{DAY}.parquet",
    )


if __name__ == "__main__":
    dag.test()
