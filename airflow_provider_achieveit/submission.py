"""What was sent, under which fingerprint, as which job: decides whether a batch is sent, awaited or already applied.

AchieveIt has no idempotency key and every applied update is seen in a plan's history, so the provider itself must know
what it has sent. Each batch goes *planned → sending → queued (job id) → applied | refused | failed | unknown*;
``sending`` is written down before the POST and the job id right after it, under the fingerprint of the batch's content:
a retry after a killed worker finds the job and waits for it instead of sending again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind
from airflow_provider_achieveit.api.jobs import JobEnd, JobWait, WaitOutcome

log = logging.getLogger(__name__)

_LOOK_PAUSE = 2.0
_LONGEST_LOOK = 60.0
"""Seconds: how often and how long a look at an earlier job is repeated where it needs to be confirmed."""

BATCHES_TOLD = 20
"""Batches that a task's result lists; the others are only counted, so that the XCom stays under 8 kB."""


class BatchState(StrEnum):
    """How far a batch has come."""

    PLANNED = "planned"
    SENDING = "sending"
    QUEUED = "queued"
    APPLIED = "applied"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"


_STATE_AT_END = {
    JobEnd.APPLIED: BatchState.APPLIED,
    JobEnd.REFUSED: BatchState.REFUSED,
    JobEnd.FAILED: BatchState.FAILED,
    JobEnd.UNKNOWN: BatchState.UNKNOWN,
    # The job is still there: a later try waits for it again.
    JobEnd.TIMEOUT: BatchState.QUEUED,
}


@dataclass(frozen=True, slots=True)
class SubmittedBatch:
    """One batch of a task, as the task's result tells it.

    :param filename: the name it was sent under.
    :param rows: how many updates it holds.
    :param sha256: the fingerprint of its bytes, in hex.
    :param state: how far it has come.
    :param job_id: AchieveIt's job, once queued.
    :param unchanged: the batch was applied before and not sent again.
    """

    filename: str
    rows: int
    sha256: str
    state: BatchState = BatchState.PLANNED
    job_id: str | None = None
    unchanged: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the batch as JSON values."""
        return asdict(self) | {"state": self.state.value}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SubmittedBatch:
        """Read what :meth:`to_json` gave; keys of a later version are ignored."""
        known = {name: data[name] for name in cls.__slots__ if name in data}
        return cls(**{**known, "state": BatchState(data["state"])})


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What the store keeps of a batch.

    :param state: how far it had come.
    :param job_id: AchieveIt's job, once queued.
    :param generation: which round of tries of the task wrote it; clearing a task begins another.
    :param at: when it was written, seconds since the epoch.
    """

    state: BatchState
    job_id: str | None = None
    generation: int = 0
    at: float = 0.0


class SubmissionStore(Protocol):
    """Where the records outlive the worker."""

    def get(self, fingerprint: str) -> BatchRecord | None:
        """Return the record of a batch, or None."""

    def put(self, fingerprint: str, record: BatchRecord) -> None:
        """Write the record of a batch."""


class TaskStateStore:
    """Keeps the records in Airflow's task state store (Airflow 3.3 and later); its scope is one task of one run.

    :param store: ``context["task_state_store"]``.
    :param kind: progress or metric updates; part of the key.
    """

    def __init__(self, store: Any, kind: UpdateKind) -> None:
        self._store = store
        self._kind = kind

    def get(self, fingerprint: str) -> BatchRecord | None:
        """Return the record of a batch, or None."""
        kept = self._store.get(self._key(fingerprint), None)
        return BatchRecord(**{**kept, "state": BatchState(kept["state"])}) if isinstance(kept, dict) else None

    def put(self, fingerprint: str, record: BatchRecord) -> None:
        """Write the record of a batch."""
        self._store.set(self._key(fingerprint), asdict(record) | {"state": record.state.value})

    def _key(self, fingerprint: str) -> str:
        # Tries in flight during an upgrade look for this key: never rename it.
        return f"achieveit_{self._kind.value}_{fingerprint}"


class NoStore:
    """Keeps nothing: ``durable=False``, or an Airflow without a task state store."""

    def get(self, fingerprint: str) -> BatchRecord | None:
        """Return None."""
        return None

    def put(self, fingerprint: str, record: BatchRecord) -> None:
        """Keep nothing."""


class Decision(StrEnum):
    """What to do with a batch."""

    SEND = "send"
    REATTACH = "reattach"
    SKIP = "skip"
    UNSURE = "unsure"


def decide(record: BatchRecord | None, *, resubmit_always: bool, generation: int) -> Decision:
    """Decide what to do with a batch, by what the store has of its content.

    :param record: the store's record under the batch's fingerprint.
    :param resubmit_always: a cleared task sends again whatever was applied before.
    :param generation: the present round of tries.
    """
    if record is None or record.state is BatchState.PLANNED:
        return Decision.SEND
    if resubmit_always and record.generation != generation:
        return Decision.SEND
    return {
        BatchState.SENDING: Decision.UNSURE,
        BatchState.UNKNOWN: Decision.UNSURE,
        BatchState.QUEUED: Decision.REATTACH,
        BatchState.APPLIED: Decision.SKIP,
    }.get(record.state, Decision.SEND)


class _Client(Protocol):
    def submit(self, kind: UpdateKind, filename: str, body: bytes) -> str: ...

    def look_at_jobs(self, kind: UpdateKind, wait: JobWait) -> WaitOutcome: ...


class Submission:
    """Sends the batches of one task and keeps account of them.

    :param client: sends a batch and returns its job id.
    :param kind: progress or metric updates.
    :param store: where the account outlives the worker.
    :param generation: the present round of tries of the task.
    :param resubmit_always: a cleared task sends again whatever was applied before, default False.
    :param resubmit_unsure: send again where nobody knows whether a batch arrived, default False.
    """

    def __init__(
        self,
        client: _Client,
        *,
        kind: UpdateKind,
        store: SubmissionStore,
        generation: int = 0,
        resubmit_always: bool = False,
        resubmit_unsure: bool = False,
    ) -> None:
        self._client = client
        self._kind = kind
        self._store = store
        self._generation = generation
        self._resubmit_always = resubmit_always
        self._resubmit_unsure = resubmit_unsure

    def submit(self, batch: SubmittedBatch, body: bytes) -> SubmittedBatch:
        """Bring one batch to AchieveIt, or find that it is there, and return it with its state and job.

        :param batch: the batch, planned.
        :param body: its bytes.
        :raises ApiError: it could not be queued, or (unsure) nobody can tell whether it is.
        """
        record = self._store.get(batch.sha256)
        decision = decide(record, resubmit_always=self._resubmit_always, generation=self._generation)
        if record and decision is Decision.REATTACH and record.generation != self._generation:
            # The task was cleared, perhaps long after: its job may have ended without anybody writing it down.
            record = self._looked_up(record)
            decision = decide(record, resubmit_always=False, generation=self._generation)
        if record and decision is Decision.SKIP:
            log.info("Batch %s was applied as job %s: not sent again", batch.filename, record.job_id)
            return replace(batch, state=BatchState.APPLIED, job_id=record.job_id, unchanged=True)
        if record and decision is Decision.REATTACH:
            log.info("Batch %s is queued as job %s: not sent again", batch.filename, record.job_id)
            return replace(batch, state=BatchState.QUEUED, job_id=record.job_id)
        if record and decision is Decision.UNSURE:
            when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(record.at))
            reason = f"an earlier try began to send it at {when} and no job id was written down"
            if not self._resubmit_unsure:
                raise ApiError(self._unsure(batch, reason))
            log.warning("Batch %s: %s; sending it again (on_unsure='resubmit')", batch.filename, reason)
        return self._send(batch, body)

    def _looked_up(self, record: BatchRecord) -> BatchRecord:
        """Return the record of a queued batch with the state its job has by now."""
        job_id = record.job_id or ""
        now = time.time()
        wait = JobWait([job_id], poll_interval=_LOOK_PAUSE, deadline=now + _LONGEST_LOOK, now=now)
        result = self._client.look_at_jobs(self._kind, wait).results.get(job_id)
        return replace(record, state=_STATE_AT_END[result.end]) if result else record

    def _send(self, batch: SubmittedBatch, body: bytes) -> SubmittedBatch:
        self._store.put(batch.sha256, _record(BatchState.SENDING, self._generation))
        try:
            job_id = self._post(batch, body)
        except ApiError as error:
            if error.failure.kind is FailureKind.UNSURE:
                raise ApiError(self._unsure(batch, error.failure.message, error.failure.status)) from None
            # Certainly not queued: a later try may send it without asking anybody.
            self._store.put(batch.sha256, _record(BatchState.PLANNED, self._generation))
            raise
        sent = replace(batch, state=BatchState.QUEUED, job_id=job_id)
        log.info("Batch %s (%d rows, %d bytes) queued as job %s", batch.filename, batch.rows, len(body), job_id)
        _note(self._store, sent, self._generation)
        return sent

    def _post(self, batch: SubmittedBatch, body: bytes) -> str:
        try:
            return self._client.submit(self._kind, batch.filename, body)
        except ApiError as error:
            # With a 200 the batch is there, only its job id is not: sending again would surely apply it twice.
            unsure = error.failure.kind is FailureKind.UNSURE and error.failure.status != 200
            if not unsure or not self._resubmit_unsure:
                raise
            log.warning("%s; sending it once more (on_unsure='resubmit')", error)
            return self._client.submit(self._kind, batch.filename, body)

    def _unsure(self, batch: SubmittedBatch, reason: str, status: int | None = None) -> Failure:
        return Failure(
            FailureKind.UNSURE,
            f"Nobody can tell whether batch {batch.filename} ({batch.rows} rows, sha256 {batch.sha256}) is queued: "
            f"{reason}",
            status=status,
        )


def unsure_failure(failures: Sequence[Failure], *, known: int, not_sent: int) -> Failure:
    """Return the one failure of a task with batches of which nobody knows whether they are queued.

    :param failures: of each such batch.
    :param known: how many other batches are queued or applied.
    :param not_sent: how many were not sent at all.
    """
    told = [failure.message for failure in failures]
    told.append(f"{known} other batches are queued or applied, {not_sent} were not sent.")
    told.append("Look in AchieveIt at the history of the items the unsure ones update.")
    if not_sent:
        told.append(
            "If the updates are not there, clear this task with on_unsure='resubmit': it sends these and the rest. If "
            "they are there, that would apply them twice; send the rest by a task of its own."
        )
    else:
        told.append("If the updates are there, mark this task as success; if not, clear it with on_unsure='resubmit'.")
    return replace(failures[0], message="\n".join(told))


def settle(
    store: SubmissionStore, batches: Iterable[SubmittedBatch], outcome: WaitOutcome, *, generation: int = 0
) -> list[SubmittedBatch]:
    """Write down how the jobs ended and return the batches with their last states.

    :param store: where the account outlives the worker.
    :param batches: the batches of the task.
    :param outcome: what the wait found.
    :param generation: the present round of tries of the task.
    """
    settled = []
    for batch in batches:
        result = outcome.results.get(batch.job_id or "")
        if result and not batch.unchanged:
            batch = replace(batch, state=_STATE_AT_END[result.end])
            _note(store, batch, generation)
        settled.append(batch)
    return settled


def summarize(
    kind: UpdateKind, counts: Mapping[str, int], batches: Sequence[SubmittedBatch], *, only_planned: bool = False
) -> dict[str, Any]:
    """Return a task's result: small at any number of rows, and ``rows_read`` is the sum of its buckets.

    :param kind: progress or metric updates.
    :param counts: ``rows_read`` and ``rows_rejected``.
    :param batches: all batches; the first :data:`BATCHES_TOLD` are listed.
    :param only_planned: nothing was sent (a dry run): the rows are told as ``rows_planned``.
    """
    unchanged = sum(batch.rows for batch in batches if batch.unchanged)
    rows = sum(batch.rows for batch in batches) - unchanged
    return {
        "kind": kind.value,
        "rows_read": counts["rows_read"],
        "rows_submitted": 0 if only_planned else rows,
        "rows_rejected": counts["rows_rejected"],
        "rows_unchanged": unchanged,
        **({"rows_planned": rows} if only_planned else {}),
        "batch_count": len(batches),
        "batches": [
            {name: told for name, told in batch.to_json().items() if name != "unchanged"}
            for batch in batches[:BATCHES_TOLD]
        ],
    }


def _note(store: SubmissionStore, batch: SubmittedBatch, generation: int) -> None:
    """Write down what already is so; failing the task over the note would make it send again."""
    try:
        store.put(batch.sha256, _record(batch.state, generation, batch.job_id))
    except Exception:
        log.exception(
            "Batch %s is %s as job %s, but this could not be written down: a retry cannot know it",
            batch.filename,
            batch.state.value,
            batch.job_id,
        )


def _record(state: BatchState, generation: int, job_id: str | None = None) -> BatchRecord:
    return BatchRecord(state, job_id, generation, time.time())
