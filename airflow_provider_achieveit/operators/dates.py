"""Which day an update is for, when neither the source nor the DAG's author says it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

_CANDIDATES = ("data_interval_end", "logical_date")


def run_moment(context: Mapping[str, Any]) -> tuple[datetime, str]:
    """Return the moment a run stands for, and what told it.

    Manual and asset-triggered runs of Airflow 3 may have neither an interval nor a logical date; the time after which
    the run may start is always there. See "Timetables" and "Asset-aware scheduling" in Airflow's documentation.

    :param context: the task's context.
    :raises ValueError: the context has none of them.
    """
    for name in _CANDIDATES:
        if (moment := context.get(name)) is not None:
            return moment, name
    dag_run = context.get("dag_run")
    for name in ("run_after", "start_date"):
        if (moment := getattr(dag_run, name, None)) is not None:
            return moment, f"dag_run.{name}"
    raise ValueError("the run has no date of its own; give as_of_date, or map a column to it")
