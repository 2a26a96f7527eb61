"""Numbers for Airflow's metrics (StatsD, OpenTelemetry, Datadog); docs/operations.md lists them.

Rests on "Metrics Configuration" of Airflow's documentation. A metric that cannot be sent never fails a task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_achieveit.api.contract import UpdateKind
    from airflow_provider_achieveit.api.jobs import WaitOutcome
    from airflow_provider_achieveit.api.paging import PlanRead
    from airflow_provider_achieveit.submission import Submission
    from airflow_provider_achieveit.updates.spool import Prepared
    from airflow_provider_achieveit.warehouse.compare import Changes

log = logging.getLogger(__name__)

_PREFIX = "achieveit."


def rows_checked(prepared: Prepared, seconds: float, kind: UpdateKind) -> None:
    """Tell what became of a source's rows, and how long reading and checking them took."""
    _count("rows.read", prepared.rows_read, kind=kind)
    _count("rows.rejected", prepared.rows_rejected, kind=kind)
    _duration("rows.read_duration", seconds, kind=kind)


def batches_sent(submission: Submission, kind: UpdateKind) -> None:
    """Tell what a task has sent in this try, and what it did not send again because it was applied before."""
    _count("batches.submitted", len(submission.posted), kind=kind)
    _count("rows.submitted", sum(batch.rows for batch in submission.posted), kind=kind)
    _count("rows.unchanged", sum(batch.rows for batch in submission.sent if batch.unchanged), kind=kind)


def jobs_ended(outcome: WaitOutcome, kind: UpdateKind, sent_at: Mapping[str | None, float] | None = None) -> None:
    """Tell how jobs ended, and how long after they were sent.

    :param outcome: what the wait for them found.
    :param kind: progress or metric updates.
    :param sent_at: when each was sent, in seconds since the epoch, where that is known.
    """
    for job_id, result in outcome.results.items():
        _count(f"jobs.{result.end.value}", 1, kind=kind)
        if result.ended_at and sent_at and job_id in sent_at:
            _duration("jobs.duration", result.ended_at - sent_at[job_id], kind=kind)


def plan_read(read: PlanRead, seconds: float) -> None:
    """Tell what reading a plan took."""
    _count("export.items", read.items)
    _count("export.pages", read.pages)
    _count("export.reads", read.reads)
    _duration("export.read_duration", seconds)


def plan_loaded(changes: Changes, seconds: float, mode: str) -> None:
    """Tell what a load changed in the warehouse, in items, and how long it took."""
    _count("export.inserted", changes.inserted, mode=mode)
    _count("export.updated", changes.updated, mode=mode)
    _count("export.deleted", changes.deleted, mode=mode)
    _duration("export.load_duration", seconds, mode=mode)


def _count(name: str, number: int, **tags: str) -> None:
    if number:
        _send(lambda stats: stats.incr(_PREFIX + name, count=number, tags={**tags}))


def _duration(name: str, seconds: float, **tags: str) -> None:
    # A timedelta, because a number is seconds to Airflow 2.11 and milliseconds to later ones.
    _send(lambda stats: stats.timing(_PREFIX + name, timedelta(seconds=max(seconds, 0.0)), tags={**tags}))


def _send(send: Callable[[Any], object]) -> None:
    try:
        from airflow.providers.common.compat.sdk import Stats

        send(Stats)
    except Exception:
        log.debug("A metric could not be sent", exc_info=True)
