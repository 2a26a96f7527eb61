"""Runs that stand for the past, while AchieveIt only tells the present."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_achieveit.exceptions import AchieveItLoadRefusedError

PAST_RUNS = ("skip", "fail", "run")
"""What an export may do in a run of the past."""

_RUN_TYPES_OF_SCHEDULES = ("scheduled", "backfill")
_LONG_AGO = timedelta(days=1)
"""A run without a schedule stands for the past when its moment is longer ago."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def refuse_past_run(context: Mapping[str, Any], past_runs: str, *, log: Any) -> bool:
    """Skip or fail a run of the past, unless it may load the present.

    :param context: the task's context.
    :param past_runs: one of :data:`PAST_RUNS`.
    :param log: the task's logger.
    :return: whether the run is one of the past.
    :raises AirflowSkipException: it is, and ``past_runs`` is ``skip``.
    :raises AchieveItLoadRefusedError: it is, and ``past_runs`` is ``fail``.
    """
    why = why_past(context, datetime.now(UTC), log=log)
    if why is None:
        return False
    told = f"This run stands for the past: {why}. AchieveIt only tells the present"
    if past_runs == "run":
        log.warning("%s, which is loaded all the same, as past_runs='run' says", told)
        return True
    message = (
        f"{told}, and today's state must not get an old date: nothing was read or written. The state of that time "
        "cannot be had any more; for today's, run the latest run of the schedule or trigger a new run, or set "
        "past_runs='run'"
    )
    raise AirflowSkipException(message) if past_runs == "skip" else AchieveItLoadRefusedError(message)


def why_past(context: Mapping[str, Any], now: datetime, *, log: Any) -> str | None:
    """Tell why a run stands for the past; None: it stands for the present.

    :param context: the task's context.
    :param now: this moment.
    :param log: the task's logger.
    """
    run = context.get("dag_run")
    if run is None:
        return None
    kind = str(getattr(run.run_type, "value", run.run_type))
    # Airflow 2 has no run_after.
    moment = run.logical_date or getattr(run, "run_after", None)
    if kind in _RUN_TYPES_OF_SCHEDULES:
        # The logical date may be the beginning of an interval that has only just ended.
        moment = getattr(run, "run_after", None) or run.data_interval_end
        with suppress(_UnknownError):
            due = _next_due(context["dag"], run, log)
            if due is None or due > now or _is_only_slow(context["dag"], run, moment, due, now):
                return None
            return f"a later run of its schedule was due at {_told(due)} already"
    if moment is None or moment >= now - _LONG_AGO:
        return None
    return f"it is a {kind} run for {_told(moment)}, more than a day ago"


class _UnknownError(Exception):
    """Nobody can tell when the next run of a schedule is due."""


def _is_only_slow(dag: Any, run: Any, due: datetime | None, next_due: datetime, now: datetime) -> bool:
    """Tell whether a run began in its time, or had to wait for another to end, and has come late here the same day.

    Else a schedule that is shorter than what comes before the export would never export anything: where a DAG has one
    run at a time, each begins when the next is long due. What catches up or is cleared begins late too, but on purpose.
    """
    if not due or due < now - _LONG_AGO or not run.start_date:
        return False
    kind = getattr(run.run_type, "value", run.run_type)
    waited = kind == "scheduled" and not dag.catchup and not run.clear_number
    return bool(waited or run.start_date < next_due)


def snapshot_day(given: Any, now: datetime) -> date | None:
    """Return the day that a snapshot is to be labelled with; None: that of the read.

    :param given: a text ``YYYY-MM-DD``, a date or a moment (its day in UTC), after rendering; None: nothing.
    :param now: this moment.
    :raises AchieveItLoadRefusedError: not a day, or one that is nowhere on Earth yet.
    """
    if given is None:
        return None
    day = _day(given)
    if day is None:
        raise AchieveItLoadRefusedError(
            f"snapshot_date must be a day such as '2026-01-31' (a template such as {{{{ ds }}}} gives one), not "
            f"{given!r}. Nothing was read or written"
        )
    tomorrow = now.astimezone(UTC).date() + timedelta(days=1)
    if day > tomorrow:
        raise AchieveItLoadRefusedError(
            f"snapshot_date {day} is in the future: a snapshot tells the present. Nothing was read or written"
        )
    return day


def _day(given: Any) -> date | None:
    if isinstance(given, datetime):
        return (given.astimezone(UTC) if given.tzinfo else given).date()
    if isinstance(given, date):
        return given
    if not isinstance(given, str) or not _DATE.fullmatch(given.strip()):
        return None
    try:
        return date.fromisoformat(given.strip())
    except ValueError:
        return None


def _next_due(dag: Any, run: Any, log: Any) -> datetime | None:
    """Return when the schedule's next run after this one is due; None: there is none.

    :raises _UnknownError: nobody can tell.
    """
    try:
        return _next_by_timetable(dag, run)
    except _UnknownError:
        raise
    except Exception as error:
        # A timetable of the user's own may be missing on a worker, or raise whatever it likes.
        log.info("The schedule does not tell its next run (%s: %s)", type(error).__name__, error)
    begin, end = run.data_interval_start, run.data_interval_end
    if not begin or not end or begin == end:
        raise _UnknownError
    following: datetime = end + (end - begin)
    return following


def _next_by_timetable(dag: Any, run: Any) -> datetime | None:
    import pendulum
    from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction

    timetable = dag.timetable
    if not hasattr(timetable, "next_dagrun_info"):
        # Since Airflow 3.2 a task's DAG has a description of its timetable, not the timetable itself.
        from airflow.serialization.encoders import coerce_to_core_timetable

        timetable = coerce_to_core_timetable(timetable)
    if getattr(timetable, "active_runs_limit", None):
        # @continuous: whenever this run ends, so always at once.
        raise _UnknownError
    # Every run of the schedule counts, wherever the DAG begins or ends, and whether or not it catches up.
    every = TimeRestriction(earliest=None, latest=None, catchup=True)
    if run.data_interval_start and run.data_interval_end:
        interval = DataInterval(pendulum.instance(run.data_interval_start), pendulum.instance(run.data_interval_end))
        following = timetable.next_dagrun_info(last_automated_data_interval=interval, restriction=every)
        since = TimeRestriction(earliest=interval.start, latest=None, catchup=True)
        if not following and not timetable.next_dagrun_info(last_automated_data_interval=None, restriction=since):
            # The DAG's schedule was taken away, or assets trigger it now: that no run follows tells nothing.
            raise _UnknownError
    elif getattr(timetable, "partitioned", False):
        # Airflow 3.2 wants more arguments than 3.3.
        this = DagRunInfo.exact(pendulum.instance(run.run_after))._replace(data_interval=None)
        following = timetable.next_dagrun_info_v2(last_dagrun_info=this, restriction=every)
    else:
        raise _UnknownError
    return following.run_after if following else None


def _told(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
