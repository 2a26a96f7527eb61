"""Every Monday: the last week's KPI figures become progress updates; weeks that were missed are made up for, in order.

Shows a push that is safe to backfill and to repeat:

- The timetable gives each run the week it stands for. (Airflow 3 turns a plain cron string into a timetable whose
  interval begins and ends at the same moment: its window would hold no row.)
- The figures and their date come from that interval and from nothing else, above all not from today.
- ``max_active_runs=1`` and ``depends_on_past``: an older week never arrives after a newer one.
- A week without figures is skipped and seen as skipped (``on_empty="skip"``, the default), not green.
- A week that is run again sends only what changed (``resubmit="if_changed"``, the default).

Needs the connections ``warehouse`` and ``achieveit_default``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator

with DAG(
    dag_id="achieveit_weekly_backfill_push",
    schedule=CronDataIntervalTimetable("0 0 * * MON", timezone="UTC"),
    start_date=datetime(2026, 1, 5, tzinfo=UTC),
    catchup=True,
    max_active_runs=1,
    default_args={"depends_on_past": True, "retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["achieveit", "example"],
) as dag:
    AchieveItSubmitProgressUpdatesOperator(
        task_id="push_week",
        conn_id="warehouse",
        sql="sql/figures_of_the_week.sql",
        columns={"external_id": "kpi_id", "status": "rag", "metric_value": "value", "comment": "note"},
        status_map={"G": "On Track", "A": "At Risk", "R": "Off Track"},
        # The last day of the week: the interval ends with the first moment after it.
        as_of_date="{{ macros.ds_add(data_interval_end | ds, -1) }}",
        deferrable=True,
        poll_interval=5,
    )


if __name__ == "__main__":
    dag.test()
