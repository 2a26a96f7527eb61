"""Every Monday: statuses that take Python, judged by the way a figure has gone since the week before.

Shows ``@task.achieveit_progress_updates``: the function only returns rows; checks, batches, the wait for the jobs and
what a retry must know are those of the submit operators, with all their options.

Needs the connections ``warehouse`` (any SQL database) and ``achieveit_default``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from airflow.providers.common.compat.sdk import DAG, BaseHook, task

RECENT = """
    select v.kpi_id, v.day, v.value from kpi_values v
    where (select count(*) from kpi_values later where later.kpi_id = v.kpi_id and later.day > v.day) < 2
    order by v.kpi_id, v.day
"""

with DAG(
    dag_id="achieveit_taskflow_push",
    schedule="0 6 * * 1",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["achieveit", "example"],
) as dag:

    @task
    def better_when_lower() -> list[str]:
        return ["ppl-turnover", "fin-dar", "fin-denials"]

    @task.achieveit_progress_updates(deferrable=True, poll_interval=5)
    def push_trends(reversed_kpis: list[str]) -> Iterator[dict[str, Any]]:
        figures = BaseHook.get_connection("warehouse").get_hook().get_records(RECENT)
        for kpi_id, weeks in groupby(figures, key=lambda figure: figure[0]):
            (_, _, before), (_, day, value) = weeks
            change = before - value if kpi_id in reversed_kpis else value - before
            yield {
                "external_id": kpi_id,
                "status": "On Track" if change >= 0 else "At Risk",
                "metric_value": value,
                "as_of_date": day,
                "comment": f"{'Better' if change >= 0 else 'Worse'} than the week before",
            }

    push_trends(better_when_lower())  # type: ignore[arg-type]


if __name__ == "__main__":
    dag.test()
