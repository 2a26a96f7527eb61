"""Push the newest KPI figures, export the plan, and check that the plan holds what was pushed.

Shows the two roads as one: AchieveIt tells of a batch only that it was applied as a whole; that every figure arrived is
seen in the plan itself. The last task fails and names the KPIs that differ.

Needs the connections ``warehouse`` and ``achieveit_default``. Another plan: set the parameter ``plan_id``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, AirflowFailException, Param, task
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator

from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator
from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator

with DAG(
    dag_id="achieveit_push_then_verify",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={"plan_id": Param("a0e2ce03-8d0e-4325-9a13-17a8b5936591", type="string")},
    doc_md=__doc__,
    tags=["achieveit", "example"],
) as dag:
    push = AchieveItSubmitProgressUpdatesOperator(
        task_id="push_figures",
        conn_id="warehouse",
        sql="sql/newest_figures.sql",
        columns={
            "external_id": "kpi_id",
            "status": "rag",
            "metric_value": "value",
            "as_of_date": "day",
            "comment": "note",
        },
        status_map={"G": "On Track", "A": "At Risk", "R": "Off Track"},
        deferrable=True,
        poll_interval=5,
    )
    export = AchieveItExportPlanOperator(
        task_id="export_plan",
        plan_id="{{ params.plan_id }}",
        conn_id="warehouse",
        table="plan_items",
        # Verified is the plan as it is now, whatever day the run stands for.
        past_runs="run",
    )
    compare = SQLExecuteQueryOperator(
        task_id="compare", conn_id="warehouse", sql="sql/differing_items.sql", show_return_value_in_logs=True
    )

    @task
    def verify(differing: list[Any]) -> None:
        if differing:
            told = "; ".join(f"{kpi}: pushed {pushed}, the plan has {held}" for kpi, pushed, held in differing)
            raise AirflowFailException(f"{len(differing)} KPIs are not in the plan as they were pushed: {told}")

    push >> export >> compare
    verify(compare.output)  # type: ignore[arg-type]


if __name__ == "__main__":
    dag.test()
