"""The DAGs of the tests at scale: from and to tables of a warehouse, each side by side and one after the other."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import DAG

from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator
from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
from tests.cluster.scale import COLUMNS, DAYS, EXPORT_LOADS, EXPORTED, PUSHED_KPIS, SERIAL, SIDE_BY_SIDE

START = datetime(2026, 1, 1)
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=1)}
PUSH = {"conn_id": "warehouse", "columns": COLUMNS, "deferrable": True, "poll_interval": 5}

with DAG("scale_push", schedule=None, start_date=START, default_args=RETRIES):
    AchieveItSubmitProgressUpdatesOperator.partial(
        task_id=SIDE_BY_SIDE,
        achieveit_conn_id=f"achieveit_{SIDE_BY_SIDE}",
        sql="select * from pushed_values where kpi = %(kpi)s order by day",
        **PUSH,
    ).expand(parameters=[{"kpi": kpi} for kpi in PUSHED_KPIS])

with DAG("scale_push_serial", schedule=None, start_date=START, default_args=RETRIES):
    AchieveItSubmitProgressUpdatesOperator(
        task_id=SERIAL,
        achieveit_conn_id=f"achieveit_{SERIAL}",
        sql="select * from pushed_values order by kpi, day",
        **PUSH,
    )

for mode in EXPORT_LOADS:
    with DAG(f"scale_export_{mode}", schedule=None, start_date=START, default_args=RETRIES):
        export = {"conn_id": "warehouse", "mode": mode, "table": f"plan_items_{mode}"}
        side_by_side = AchieveItExportPlanOperator.partial(task_id=SIDE_BY_SIDE, schema=SIDE_BY_SIDE, **export)
        one_after_the_other = AchieveItExportPlanOperator.partial(
            task_id=SERIAL, schema=SERIAL, max_active_tis_per_dagrun=1, **export
        )
        plan_ids = list(EXPORTED)
        side_by_side.expand(plan_id=plan_ids) >> one_after_the_other.expand(plan_id=plan_ids)

# Its end keeps the scheduler from making runs of its own: all are of the backfill.
with DAG(
    "scale_daily",
    schedule="@daily",
    start_date=datetime.combine(DAYS[0], datetime.min.time()),
    end_date=datetime.combine(DAYS[-1], datetime.min.time()),
    catchup=False,
    default_args=RETRIES,
):
    AchieveItSubmitProgressUpdatesOperator(
        task_id="push",
        achieveit_conn_id=f"achieveit_{SIDE_BY_SIDE}",
        ledger_conn_id="ledger",
        sql="select * from daily_values where day = %(day)s order by kpi",
        parameters={"day": "{{ ds }}"},
        **PUSH,
    )
