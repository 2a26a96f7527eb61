"""Every morning: the newest KPI figures of a SQL warehouse become progress updates in AchieveIt.

Shows the whole road of a push: a query, the mapping of its columns, the warehouse's own red-amber-green letters
translated to AchieveIt's statuses, bad rows told and left out (``on_invalid="skip"``), and the wait for the jobs in the
triggerer (``deferrable=True``), where it takes no worker slot.

Needs the connections ``warehouse`` (any SQL database) and ``achieveit_default``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator

with DAG(
    dag_id="achieveit_daily_kpi_push",
    schedule="0 6 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    # Two runs at once could bring a newer and an older figure in the wrong order.
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["achieveit", "example"],
) as dag:
    AchieveItSubmitProgressUpdatesOperator(
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
        on_invalid="skip",
        deferrable=True,
        poll_interval=5,
    )


if __name__ == "__main__":
    dag.test()
