"""Every Monday: what is overdue in a plan, owner by owner, without a warehouse.

Shows the hook in TaskFlow tasks. ``get_plan_df`` gives a whole plan as a DataFrame, read again if somebody changes it
meanwhile. ``iter_plan_items`` gives one item after the other and so needs little memory for any plan; it ends with an
error if the plan changes meanwhile, so the task's ``retries`` read again.

Needs the connection ``achieveit_default`` and the extra ``pandas``. Another plan: set the parameter ``plan_id``.
"""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_achieveit.hooks.achieveit import AchieveItHook

log = logging.getLogger(__name__)

with DAG(
    dag_id="achieveit_plan_review",
    schedule="0 7 * * 1",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    # The plan's present state: runs for the past would all tell the same.
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    params={"plan_id": Param("a0e2ce03-8d0e-4325-9a13-17a8b5936591", type="string")},
    doc_md=__doc__,
    tags=["achieveit", "example"],
) as dag:
    # One XCom; otherwise every name would become the key of its own.
    @task(multiple_outputs=False)
    def overdue(plan_id: str) -> dict[str, list[str]]:
        plan = AchieveItHook().get_plan_df(plan_id)
        late = plan[plan["isPastDue"].astype(bool)]
        owners = late["assignedToFullName"].fillna("nobody")
        return {str(owner): list(names) for owner, names in late["name"].groupby(owners)}

    @task(multiple_outputs=False)
    def statuses(plan_id: str) -> dict[str, int]:
        return dict(Counter(item["statusName"] for item in AchieveItHook().iter_plan_items(plan_id)))

    @task
    def tell(late: dict[str, list[str]], counts: dict[str, int]) -> None:
        log.info("%s", ", ".join(f"{count} {status}" for status, count in sorted(counts.items())))
        for owner, names in sorted(late.items()):
            log.info("%s: %d overdue: %s", owner, len(names), "; ".join(names))

    tell(overdue("{{ params.plan_id }}"), statuses("{{ params.plan_id }}"))  # type: ignore[arg-type]


if __name__ == "__main__":
    dag.test()
