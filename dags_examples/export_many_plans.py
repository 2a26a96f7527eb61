"""Several plans of AchieveIt share the tables of one warehouse, each exported by a mapped task of its own.

Shows ``.expand()``: the list of plans is known only when the DAG runs, every plan replaces its own rows alone, and one
plan that the key's user may not see fails its own task without stopping the others.

Needs the connections ``warehouse`` and ``achieveit_default``. Other plans: set the parameter ``plan_ids``.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG, Param, get_current_context, task

from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator

with DAG(
    dag_id="achieveit_export_many_plans",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={
        "plan_ids": Param(["a0e2ce03-8d0e-4325-9a13-17a8b5936591"], type="array", items={"type": "string"}, minItems=1)
    },
    doc_md=__doc__,
    tags=["achieveit", "example"],
) as dag:

    @task
    def list_plans() -> list[str]:
        plan_ids: list[str] = get_current_context()["params"]["plan_ids"]
        return plan_ids

    AchieveItExportPlanOperator.partial(
        task_id="export_plan",
        conn_id="warehouse",
        table="plan_items",
        # Few at once: AchieveIt is asked by all of them, and a small warehouse has one writer.
        max_active_tis_per_dagrun=2,
    ).expand(plan_id=list_plans())


if __name__ == "__main__":
    dag.test()
