"""Every night: one plan of AchieveIt becomes tables of a SQL warehouse.

Shows the export: ``plan_items`` and its child tables (``plan_items_tags``, ``plan_items_members``, ...) are a mirror of
the plan as it is at that moment, replaced in one transaction: a reader sees the old state or the new one.

Needs the connections ``warehouse`` and ``achieveit_default``. Another plan: set the parameter ``plan_id`` (AchieveIt:
the Options menu of the plan's root item, "Copy Plan ID"); its default is the plan of the simulator.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator

with DAG(
    dag_id="achieveit_plan_export",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    # The export is the plan's present state: runs for the past would all write the same.
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    params={"plan_id": Param("a0e2ce03-8d0e-4325-9a13-17a8b5936591", type="string")},
    doc_md=__doc__,
    tags=["achieveit", "example"],
) as dag:
    AchieveItExportPlanOperator(
        task_id="export_plan",
        plan_id="{{ params.plan_id }}",
        conn_id="warehouse",
        table="plan_items",
    )


if __name__ == "__main__":
    dag.test()
