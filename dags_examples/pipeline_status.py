"""A pipeline tells AchieveIt by itself how it is doing: its end becomes the status of the plan item it works for.

Shows ``AchieveItProgressNotifier`` as a callback of a DAG: a failure puts the item at risk, and the next success puts
it back, each with a comment that names the run. Nothing about it can fail the run.

Needs the connections ``warehouse`` (any SQL database) and ``achieveit_default``. Another item: set the parameter
``item``.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG, Param
from airflow.providers.common.sql.operators.sql import SQLCheckOperator

from airflow_provider_achieveit.notifications.progress import AchieveItProgressNotifier

ITEM = "{{ params.item }}"

with DAG(
    dag_id="achieveit_pipeline_status",
    schedule="0 5 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    # "Publish the KPI catalogue"
    params={"item": Param("7a3d0238-9c79-4642-8125-92e1d048aacb", type="string")},
    on_success_callback=AchieveItProgressNotifier(external_id=ITEM, status="On Track"),
    on_failure_callback=AchieveItProgressNotifier(
        external_id=ITEM,
        status="At Risk",
        comment="The figures of {{ data_interval_end | default(dag_run.run_after, true) | ds }} are missing",
    ),
    doc_md=__doc__,
    tags=["achieveit", "example"],
) as dag:
    SQLCheckOperator(
        task_id="figures_are_there",
        conn_id="warehouse",
        sql="select count(*) from kpi_values",
    )


if __name__ == "__main__":
    dag.test()
