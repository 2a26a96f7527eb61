"""Waiting for jobs, as a pure state machine: answers go in, the next delay and the results come out.

Both carriers drive the same machine, so that a synchronous and a deferred wait cannot differ.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from airflow_provider_achieveit.api.contract import JobState, JobStatus
from airflow_provider_achieveit.api.failure import Failure, FailureKind
from airflow_provider_achieveit.api.http import LONGEST_PAUSE

FAILED_ANSWERS = 3
"""So many 500 answers in a row make a failed job; fewer may be the web server in front."""
MISSING_GRACE = 120.0
"""Seconds after the start of a wait in which a 404 may only be early."""
REPORT_INTERVAL = 60.0
"""Seconds until the first line in the log about a wait that goes on; each next one takes twice as long to come."""
LONGEST_REPORT_INTERVAL = 600.0
"""Seconds between two such lines at last: a triggerer with thousands of waits has little room for their lines."""
_FAILURES_TOLD = 20
_OPEN_TOLD = 5
_JITTER = 0.1
_LEAST_PAUSE = 0.1
"""Part of the interval that is left in peace however long a round took: who answers slowly has enough to do."""
_SHORTEST_DELAY = 0.05
SHORTEST_LOOK = 1.0
"""Seconds that an answer has in any case, however late it is."""
_LATE = 0.25
_LATE_ROUND = 60.0
"""Seconds: a wait with less than the first left when it begins may look at all its jobs once, for the second."""


class JobEnd(StrEnum):
    """How the wait for one job ended."""

    APPLIED = "applied"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """AchieveIt does not know the job (404 after the grace period)."""
    TIMEOUT = "timeout"


_FAILURE_KINDS = {
    JobEnd.REFUSED: FailureKind.JOB_REFUSED,
    JobEnd.FAILED: FailureKind.JOB_FAILED,
    JobEnd.UNKNOWN: FailureKind.REQUEST,
    JobEnd.TIMEOUT: FailureKind.JOB_TIMEOUT,
}
_ADVICE = {
    FailureKind.JOB_REFUSED: "Mend these rows in the source, then clear the task that sent them.",
    FailureKind.JOB_FAILED: "A retry sends them again; if it stays so, tell AchieveIt's support the jobs.",
    FailureKind.REQUEST: "Look in AchieveIt at the history of the items they update before these are sent again.",
    FailureKind.JOB_TIMEOUT: (
        "When the jobs have ended, clear the task that sent them: with a task state store or a ledger it sends nothing "
        "twice. Is wait_timeout long enough?"
    ),
}
_GRAVEST_FIRST = (FailureKind.JOB_REFUSED, FailureKind.REQUEST, FailureKind.JOB_TIMEOUT, FailureKind.JOB_FAILED)


@dataclass(frozen=True, slots=True)
class JobResult:
    """How the wait for one job ended.

    :param end: which way.
    :param reason: what AchieveIt said, or why the wait gave up.
    :param ended_at: when it was seen ended, in seconds since the epoch; None: it was not.
    """

    end: JobEnd
    reason: str = ""
    ended_at: float | None = field(default=None, compare=False)

    def failure(self, job_id: str, what: str) -> Failure | None:
        """Return the failure this result means, or None for an applied job.

        :param job_id: the job.
        :param what: what the job stands for in a message, such as ``batch kpis.csv, ``; may be empty.
        """
        kind = _FAILURE_KINDS.get(self.end)
        if kind is None:
            return None
        told = {
            JobEnd.REFUSED: "AchieveIt refused the data (400)",
            JobEnd.FAILED: "AchieveIt failed to apply it (500, repeated)",
            JobEnd.UNKNOWN: "AchieveIt does not know this job (404)",
            JobEnd.TIMEOUT: "not ended at the deadline; AchieveIt may still apply it",
        }[self.end]
        reason = f": {self.reason}" if self.reason else ", without saying why"
        if self.end is JobEnd.REFUSED and self.reason:
            reason += " (rows are counted within the batch)"
        if self.end is JobEnd.TIMEOUT:
            reason = f" ({self.reason})" if self.reason else ""
        return Failure(kind, f"{what}job {job_id}: {told}{reason}", retryable=self.end is JobEnd.FAILED, job_id=job_id)


@dataclass(frozen=True, slots=True)
class WaitOutcome:
    """What a finished wait found.

    :param results: the result of each job.
    :param failure: what ended the wait before all jobs had ended (a key that is no longer accepted, say), if anything.
    """

    results: Mapping[str, JobResult]
    failure: Failure | None = None

    def combined_failure(self, names: Mapping[str, str] | None = None) -> Failure | None:
        """Return one failure that tells every job that was not applied, or None if all were.

        :param names: what each job stands for in the message, such as the batch's filename (default: nothing).
        """
        names = names or {}
        failures = [
            failure
            for job, result in self.results.items()
            if (failure := result.failure(job, f"batch {names[job]}, " if job in names else ""))
        ]
        if not failures:
            return self.failure
        # What ended the wait comes first. Else the gravest decides: where one batch was refused, a retry of the task
        # cannot end well.
        worst = self.failure or min(failures, key=lambda failure: _GRAVEST_FIRST.index(failure.kind))
        told = [failure.message for failure in failures[:_FAILURES_TOLD]]
        if len(failures) > _FAILURES_TOLD:
            told.append(f"and {len(failures) - _FAILURES_TOLD} more")
        applied = len(self.results) - len(failures)
        if self.failure is None:
            told.append(_ADVICE[worst.kind])
        ended = f"{self.failure.message}\n" if self.failure else ""
        counted = f"{len(failures)} of {len(self.results)} job(s) not applied ({applied} applied):"
        message = ended + "\n".join([counted, *told])
        return replace(worst, message=message)

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as JSON values (a trigger event carries it)."""
        return {
            "results": {
                job: {"end": result.end.value, "reason": result.reason, "ended_at": result.ended_at}
                for job, result in self.results.items()
            },
            "failure": self.failure.to_json() if self.failure else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WaitOutcome:
        """Read what :meth:`to_json` gave."""
        results = {
            job: JobResult(JobEnd(told["end"]), told["reason"], told.get("ended_at"))
            for job, told in data["results"].items()
        }
        return cls(results, Failure.from_json(data["failure"]) if data.get("failure") else None)


class JobWait:
    """The wait for some jobs until all have ended or the deadline is there.

    :param job_ids: the jobs.
    :param poll_interval: seconds between two looks at the same job.
    :param deadline: when to give up, in seconds since the epoch.
    :param now: the present, in seconds since the epoch.
    """

    def __init__(self, job_ids: Iterable[str], *, poll_interval: float, deadline: float, now: float) -> None:
        self.deadline = deadline
        self._poll_interval = poll_interval
        self._started = self._round_began = now
        # A dict keeps the order and drops repetitions.
        self._failed_answers = dict.fromkeys(job_ids, 0)
        self._results: dict[str, JobResult] = {}
        self._last_trouble: dict[str, str] = {}
        self._failure: Failure | None = None
        self._retry_after = 0.0
        self._reported, self._report_interval = now, REPORT_INTERVAL
        self._looked = False
        self._first_round = True
        self._unanswered = False

    @property
    def pending(self) -> list[str]:
        """The jobs to ask about in the next round; empty when the wait is over."""
        if self._failure:
            return []
        return [job for job in self._failed_answers if job not in self._results]

    @property
    def unconfirmed(self) -> list[str]:
        """The jobs that said they failed, but not often enough to believe it."""
        return [job for job in self.pending if self._failed_answers[job]]

    def observe(self, job_id: str, status: JobStatus, now: float) -> None:
        """Take in what the status address said about a job."""
        self._last_trouble.pop(job_id, None)
        self._failed_answers[job_id] = self._failed_answers[job_id] + 1 if status.state is JobState.FAILED else 0
        if status.state is JobState.APPLIED:
            self._results[job_id] = JobResult(JobEnd.APPLIED, ended_at=now)
        elif status.state is JobState.REFUSED:
            self._results[job_id] = JobResult(JobEnd.REFUSED, status.reason, now)
        elif status.state is JobState.FAILED and self._failed_answers[job_id] >= FAILED_ANSWERS:
            self._results[job_id] = JobResult(JobEnd.FAILED, status.reason, now)
        elif status.state is JobState.MISSING:
            self._last_trouble[job_id] = "404 so far: is this a job of AchieveIt, and of this kind of updates?"
            if now - self._started >= MISSING_GRACE:
                self._results[job_id] = JobResult(JobEnd.UNKNOWN, status.reason)

    def observe_failure(self, job_id: str, failure: Failure) -> None:
        """Take in that no state could be had: a passing fault goes on, anything else ends the wait for all jobs."""
        if not failure.retryable:
            self._failure = failure
            return
        self._unanswered = True
        self._failed_answers[job_id] = 0
        self._last_trouble[job_id] = failure.message
        self._retry_after = max(self._retry_after, min(failure.retry_after or 0.0, LONGEST_PAUSE))

    def patience(self, now: float) -> float | None:
        """Return the seconds that the next look may take, at least a moment; None if the deadline is there.

        The first round is never left out. A wait that begins late looks at all its jobs once, for a minute and as long
        as AchieveIt answers: it still tells how they ended.
        """
        left = self.deadline - now
        if left <= 0 and self._looked and not self._goes_on_late(now):
            return None
        self._looked = True
        return max(left, SHORTEST_LOOK)

    def _goes_on_late(self, now: float) -> bool:
        began_late = self._started > self.deadline - _LATE
        return began_late and self._first_round and not self._unanswered and now < self._started + _LATE_ROUND

    def next_delay(self, now: float) -> float:
        """End a round: return the seconds to sleep before the next one.

        Never nothing (no loop without a pause), never beyond the deadline; with jitter, so that many waits that began
        together do not ask together. At the deadline the jobs left end as timeouts.
        """
        self._first_round = False
        if now >= self.deadline:
            for job in self.pending:
                self._results[job] = JobResult(JobEnd.TIMEOUT, self._last_trouble.get(job, ""))
            return 0.0
        interval = self._poll_interval * (1 + random.uniform(-_JITTER, _JITTER))  # noqa: S311
        # From look to look: what a round of many jobs takes is part of the interval.
        left = interval - max(now - self._round_began, 0)
        wanted = max(left, interval * _LEAST_PAUSE, self._retry_after, _SHORTEST_DELAY)
        self._retry_after = 0.0
        delay = min(wanted, max(self.deadline - now, _SHORTEST_DELAY))
        self._round_began = now + delay
        return delay

    def report(self, now: float) -> str | None:
        """Return a line about a wait that goes on when one is due (:data:`REPORT_INTERVAL`), else None."""
        if now - self._reported < self._report_interval or not self.pending:
            return None
        self._reported = now
        self._report_interval = min(2 * self._report_interval, LONGEST_REPORT_INTERVAL)
        trouble = next(iter(self._last_trouble.values()), "")
        return (
            f"Waiting for {len(self.pending)} of {len(self._failed_answers)} job(s) since {now - self._started:.0f} s, "
            f"{max(self.deadline - now, 0):.0f} s left: {self.told_pending()}"
            + (f"; last trouble: {trouble}" if trouble else "")
        )

    def told_pending(self) -> str:
        """Return the first jobs that have not ended, in words."""
        more = len(self.pending) - _OPEN_TOLD
        return ", ".join(self.pending[:_OPEN_TOLD]) + (f" and {more} more" if more > 0 else "")

    def outcome(self) -> WaitOutcome:
        """Return what the wait has found so far."""
        return WaitOutcome(dict(self._results), self._failure)
