"""Which day an update is for, when neither the source nor the DAG's author says it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from airflow_provider_achieveit.api.contract import UpdateField

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


def date_for_all(context: Mapping[str, Any], given: Any, columns: Collection[str] | None, *, log: Any) -> Any:
    """Return the one date for all rows, or None where the rows have dates of their own.

    :param context: the task's context.
    :param given: what the DAG's author wants it to be, after rendering; None: nothing.
    :param columns: the fields or columns that the rows have; None where only the rows tell.
    :param log: the task's logger.
    :raises ValueError: the template gave nothing.
    """
    if isinstance(given, str) and not given.strip():
        raise ValueError("as_of_date is empty: its template gave nothing")
    if given is not None:
        return given
    if columns is None or UpdateField.AS_OF_DATE in columns:
        return None
    try:
        moment, told_by = run_moment(context)
    except ValueError:
        # On the command line. Whatever column is missing is told by the check of the columns.
        return None
    log.info("No column holds a date: every row gets the day of %s, %s", told_by, moment)
    return moment
