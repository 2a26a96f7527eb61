"""Whenever somebody changes a plan in AchieveIt: the warehouse has it within minutes.

Shows a DAG that is started by a change instead of a clock: the plan is an asset, and a watcher of it asks AchieveIt
every two minutes, by one small request, whether the plan has changed. It runs in the triggerer, whatever the DAG does.

Needs Airflow 3 (3.3 for changes while the triggerer was down), a triggerer, and the connections ``warehouse`` and
``achieveit_default``. Airflow 2 has no watchers: take the file out there. Another plan: set ``PLAN_ID`` (AchieveIt: the
Options menu of the plan's root item, "Copy Plan ID"); it is the plan of the simulator.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator
from airflow_provider_achieveit.triggers.plan import AchieveItPlanChangedTrigger

PLAN_ID = "a0e2ce03-8d0e-4325-9a13-17a8b5936591"

plan = Asset(
    uri=f"achieveit://api.achieveit.com/plans/{PLAN_ID}",
    watchers=[
        AssetWatcher(
            name="achieveit_plan",
            trigger=AchieveItPlanChangedTrigger(plan_id=PLAN_ID, poll_interval=timedelta(minutes=2)),
        )
    ],
)

with DAG(
    dag_id="achieveit_plan_watcher",
    schedule=[plan],
    # Changes that come while it runs start one more run, with all of them.
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["achieveit", "example"],
) as dag:
    AchieveItExportPlanOperator(
        task_id="export_plan",
        plan_id=PLAN_ID,
        conn_id="warehouse",
        # DAGs that read the table can wait for its asset.
        emit_asset=True,
    )


if __name__ == "__main__":
    dag.test()
