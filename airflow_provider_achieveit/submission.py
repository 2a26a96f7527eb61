"""What was sent, under which fingerprint, as which job: decides whether a batch is sent, awaited or already applied.

AchieveIt has no idempotency key and every applied update is seen in a plan's history, so the provider itself must know
what it has sent. Each batch goes *planned → sending → queued (job id) → applied | refused | failed | unknown*, under
the fingerprint of its content: ``sending`` is written down before the POST and the job id right after it, so that a
retry after a killed worker finds the job and waits for it instead of sending again. docs/delivery.md tells what every
state means to every kind of re-run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Protocol

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind
from airflow_provider_achieveit.api.jobs import JobEnd, JobWait, WaitOutcome
from airflow_provider_achieveit.api.progress import report
from airflow_provider_achieveit.stores.records import (
    BatchRecord,
    BatchState,
    ClaimLost,
    SubmissionStore,
    SubmittedBatch,
)
from airflow_provider_achieveit.unsure import (
    earlier_jobs_run,
    interrupted,
    killed,
    not_all_sent,
    replaced_batches,
    sent_elsewhere,
    unsure_batch,
    unsure_batches,
    utc,
)

log = logging.getLogger(__name__)

_LOOK_PAUSE = 2.0
_LONGEST_LOOK = 60.0
"""Seconds: how often and how long a look at an earlier job is repeated where it needs to be confirmed."""
_CLAIM_LIVES = 1800.0
"""Seconds for which another process is believed to be sending what it claimed: all repeats of a POST take less."""
_MAX_UNSURE = 2
"""One lost answer must not cost the batches behind it; two, and something is wrong out there."""

_STATE_AT_END = {
    JobEnd.APPLIED: BatchState.APPLIED,
    JobEnd.REFUSED: BatchState.REFUSED,
    JobEnd.FAILED: BatchState.FAILED,
    JobEnd.UNKNOWN: BatchState.UNKNOWN,
    # The job is still there: a later try waits for it again.
    JobEnd.TIMEOUT: BatchState.QUEUED,
}


class Decision(StrEnum):
    """What to do with a batch."""

    SEND = "send"
    REATTACH = "reattach"
    SKIP = "skip"
    UNSURE = "unsure"
    BUSY = "busy"


def decide(record: BatchRecord | None, *, resubmit_always: bool, generation: int, now: float = 0.0) -> Decision:
    """Decide what to do with a batch, by what the store has of its content.

    :param record: the store's record under the batch's fingerprint.
    :param resubmit_always: a cleared task sends again whatever was applied before.
    :param generation: the present round of tries.
    :param now: the present, in seconds since the epoch.
    """
    if record is None or record.state is BatchState.PLANNED:
        return Decision.SEND
    if record.state is BatchState.SENDING and record.elsewhere and now - record.at < _CLAIM_LIVES:
        return Decision.BUSY
    if resubmit_always and record.generation != generation:
        return Decision.SEND
    if record.state is BatchState.REFUSED and record.generation == generation:
        # A retry of a worker that died over it: the same data would be refused again.
        return Decision.REATTACH
    return {
        BatchState.SENDING: Decision.UNSURE,
        BatchState.UNKNOWN: Decision.UNSURE,
        BatchState.QUEUED: Decision.REATTACH,
        BatchState.APPLIED: Decision.SKIP,
    }.get(record.state, Decision.SEND)


class _Client(Protocol):
    def await_turn(self) -> None: ...

    def submit(self, kind: UpdateKind, filename: str, body: bytes) -> str: ...

    def look_at_jobs(self, kind: UpdateKind, wait: JobWait) -> WaitOutcome: ...

    def wait_for_jobs(self, kind: UpdateKind, wait: JobWait) -> WaitOutcome: ...


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
        self._plan: Sequence[SubmittedBatch] = ()
        self._stopped = False
        self.sending: SubmittedBatch | None = None
        """The batch that is on its way just now: should the process be killed, nobody can tell whether it arrived."""
        self.sent: list[SubmittedBatch] = []
        """The batches brought to AchieveIt, or found there, so far."""
        self.posted: list[SubmittedBatch] = []
        """Those of them that were sent just now."""
        self.found_applied: list[SubmittedBatch] = []
        """Those of them that were applied, or found to be applied, in this round of tries, but not sent just now."""

    def begin(self, plan: Sequence[SubmittedBatch], *, poll_interval: float, deadline: float) -> None:
        """Settle what earlier content of this task has left behind, and write down what is to be sent now.

        Where the content has changed since a try that was killed, its jobs are awaited first: AchieveIt might else
        apply the older values last.

        :param plan: all batches of the present content.
        :param poll_interval: seconds between two looks at an earlier job.
        :param deadline: when to give up waiting for earlier jobs, in seconds since the epoch.
        :raises ApiError: earlier jobs have not ended in time, or nobody can tell whether an earlier batch is queued;
            nothing of the present content was sent.
        """
        self._plan = plan
        planned = {batch.sha256 for batch in plan}
        earlier = {
            fingerprint: record
            for fingerprint, record in self._store.open_batches().items()
            if fingerprint not in planned or self._will_send_beside(record)
        }
        self._give_up({key: rec for key, rec in earlier.items() if rec.state is BatchState.SENDING})
        self._await({key: rec for key, rec in earlier.items() if rec.job_id}, poll_interval, deadline)
        self._store.plan(plan, self._generation)

    def _will_send_beside(self, record: BatchRecord) -> bool:
        """Tell whether the same content will be sent again although a job with it may still be running."""
        return self._resubmit_always and record.generation != self._generation and record.state is BatchState.QUEUED

    def _give_up(self, unsure: Mapping[str, BatchRecord]) -> None:
        """Leave batches behind that may have been sent, where that is wanted; their content has changed since."""
        if not unsure:
            return
        failure = replaced_batches(unsure, [self._store.place(fingerprint) for fingerprint in unsure])
        if not self._resubmit_unsure:
            raise ApiError(failure)
        log.warning("%s\nIt is left behind, and the present content sent (on_unsure='resubmit')", failure.message)
        for fingerprint, record in unsure.items():
            reason = "given up: the content had changed, and that was sent"
            self._store.put(fingerprint, replace(record, state=BatchState.UNKNOWN, reason=reason))

    def _await(self, records: Mapping[str, BatchRecord], poll_interval: float, deadline: float) -> None:
        if not records:
            return
        jobs = {record.job_id or "": fingerprint for fingerprint, record in records.items()}
        log.info("Waiting for jobs of an earlier try first: %s", ", ".join(list(jobs)[:20]))
        now = time.time()
        wait = JobWait(jobs, poll_interval=poll_interval, deadline=deadline, now=now)
        outcome = self._client.wait_for_jobs(self._kind, wait)
        for job_id, result in outcome.results.items():
            record = records[jobs[job_id]]
            log.info("Job %s of an earlier try ended: %s %s", job_id, result.end.value, result.reason)
            self._store.put(jobs[job_id], replace(record, state=_STATE_AT_END[result.end], reason=result.reason))
        if outcome.failure:
            raise ApiError(outcome.failure)
        if running := [job_id for job_id, result in outcome.results.items() if result.end is JobEnd.TIMEOUT]:
            raise ApiError(earlier_jobs_run(running))

    def send_all(self, batches: Iterable[tuple[SubmittedBatch, bytes]]) -> list[SubmittedBatch]:
        """Bring all batches of the plan to AchieveIt and return them with their states and jobs.

        :param batches: each batch, planned, with its bytes, in the order to send them in.
        :raises ApiError: one could not be queued, or (unsure) nobody can tell whether it is; :attr:`sent` tells what is
            there.
        """
        failures: list[Failure] = []
        places: list[str] = []
        told = ""
        for batch, body in batches:
            try:
                if self._stopped:
                    raise ApiError(killed())
                self.sent.append(self.submit(batch, body))
                report("batches sent", len(self.sent), len(self._plan))
            except ApiError as error:
                if error.failure.kind is not FailureKind.UNSURE:
                    if not failures:
                        kept = bool(self._store.place(batch.sha256))
                        raise ApiError(not_all_sent(error.failure, self._plan, self.sent, kept=kept)) from None
                    # Not to be lost behind an error that a retry may mend.
                    told = f"\nThen: {error.failure.message}"
                    break
                failures.append(error.failure)
                places.append(self._store.place(batch.sha256))
                if len(failures) == _MAX_UNSURE:
                    break
        if failures:
            not_sent = len(self._plan) - len(self.sent) - len(failures)
            failure = unsure_batches(failures, known=len(self.sent), not_sent=not_sent, places=places)
            raise ApiError(replace(failure, message=failure.message + told))
        return self.sent

    def stop(self) -> None:
        """Send no further batch: Airflow tells a task that is killed, and lets it go on for a while."""
        self._stopped = True

    def submit(self, batch: SubmittedBatch, body: bytes) -> SubmittedBatch:
        """Bring one batch to AchieveIt, or find that it is there, and return it with its state and job.

        :param batch: the batch, planned.
        :param body: its bytes.
        :raises ApiError: it could not be queued, or (unsure) nobody can tell whether it is.
        """
        record = self._store.get(batch.sha256)
        decision = self._decide(record)
        if record and record.job_id and self._may_have_moved(record):
            record = self._looked_up(batch.sha256, record)
            decision = self._decide(record)
        if record and decision is Decision.SKIP:
            if record.generation == self._generation and not record.elsewhere:
                self.found_applied.append(batch)
            log.info("Batch %s was applied as job %s: not sent again", batch.filename, record.job_id)
            return replace(batch, state=BatchState.APPLIED, job_id=record.job_id, unchanged=True)
        if record and decision is Decision.REATTACH:
            log.info("Batch %s is queued as job %s: not sent again", batch.filename, record.job_id)
            # A retry goes on with the clock of the try that sent it; who clears a task means to wait anew.
            began = record.at if record.generation == self._generation else time.time()
            return replace(batch, state=BatchState.QUEUED, job_id=record.job_id, sent_at=began)
        if record and decision is Decision.UNSURE:
            if not self._resubmit_unsure:
                raise ApiError(unsure_batch(batch, interrupted(record)))
            log.warning("Batch %s: %s; sending it again (on_unsure='resubmit')", batch.filename, interrupted(record))
        if decision is Decision.BUSY:
            raise ApiError(sent_elsewhere(batch, self._store.place(batch.sha256)))
        return self._send(batch, body)

    def _decide(self, record: BatchRecord | None) -> Decision:
        return decide(record, resubmit_always=self._resubmit_always, generation=self._generation, now=time.time())

    def _may_have_moved(self, record: BatchRecord) -> bool:
        """Tell whether a job may have ended otherwise, or at all, since it was written down.

        A task may be cleared long after; and what said 500 so often may have been something in front of AchieveIt.
        """
        if record.generation == self._generation:
            return record.state is BatchState.FAILED
        asked = record.state in (BatchState.QUEUED, BatchState.FAILED, BatchState.REFUSED)
        return asked and not self._resubmit_always

    def _looked_up(self, fingerprint: str, record: BatchRecord) -> BatchRecord:
        """Return the record of a batch with the state its job has by now; one without an end is waited for."""
        job_id = record.job_id or ""
        now = time.time()
        wait = JobWait([job_id], poll_interval=_LOOK_PAUSE, deadline=now + _LONGEST_LOOK, now=now)
        result = self._client.look_at_jobs(self._kind, wait).results.get(job_id)
        state = _STATE_AT_END[result.end] if result else BatchState.QUEUED
        if state is not record.state:
            generation = self._generation if state is BatchState.APPLIED else record.generation
            record = replace(record, state=state, reason=result.reason if result else "", generation=generation)
            self._store.put(fingerprint, record)
        return record

    def _send(self, batch: SubmittedBatch, body: bytes) -> SubmittedBatch:
        # Before it is said to be on its way: nobody has to wonder about a batch that was only waiting for its turn.
        self._client.await_turn()
        if self._stopped:
            raise ApiError(killed())
        record = BatchRecord(BatchState.SENDING, None, self._generation, time.time(), batch.filename, batch.rows)
        try:
            self._store.claim(batch.sha256, record)
        except ClaimLost:
            raise ApiError(sent_elsewhere(batch, self._store.place(batch.sha256))) from None
        # Stays so where the process is killed in between: whoever is told of it can say which batch it was.
        self.sending = batch
        try:
            job_id = self._post(batch, body)
        except ApiError as error:
            self.sending = None
            if error.failure.kind is FailureKind.UNSURE:
                _note(self._store, batch.sha256, replace(record, reason=error.failure.message))
                lost = f"it was sent at {utc(record.at)}; {error.failure.message}"
                raise ApiError(unsure_batch(batch, lost, error.failure.status)) from None
            # Certainly not queued: a later try may send it without asking anybody.
            self._store.put(batch.sha256, replace(record, state=BatchState.PLANNED))
            raise
        log.info(
            "Batch %d of %d, %s (%d rows, %d bytes), queued as job %s in %.1f s",
            len(self.sent) + 1,
            len(self._plan),
            batch.filename,
            batch.rows,
            len(body),
            job_id,
            time.time() - record.at,
        )
        _note(self._store, batch.sha256, replace(record, state=BatchState.QUEUED, job_id=job_id))
        self.sending = None
        self.posted.append(batch)
        return replace(batch, state=BatchState.QUEUED, job_id=job_id, sent_at=record.at)

    def _post(self, batch: SubmittedBatch, body: bytes) -> str:
        try:
            return self._client.submit(self._kind, batch.filename, body)
        except ApiError as error:
            first = error.failure
            # With a 2xx the batch is there, only its job id is not: sending again would surely apply it twice.
            taken = 200 <= (first.status or 0) < 300
            if first.kind is not FailureKind.UNSURE or taken or not self._resubmit_unsure:
                raise
            log.warning("%s; sending it once more (on_unsure='resubmit')", error)
        try:
            return self._client.submit(self._kind, batch.filename, body)
        except ApiError as error:
            # Whatever the second answer says of itself, it says nothing of the first.
            message = f"{first.message}; then, sent once more: {error.failure.message}"
            raise ApiError(replace(first, message=message)) from None


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
            _note(
                store,
                batch.sha256,
                BatchRecord(
                    batch.state, batch.job_id, generation, batch.sent_at, batch.filename, batch.rows, result.reason
                ),
            )
        settled.append(batch)
    return settled


def _note(store: SubmissionStore, fingerprint: str, record: BatchRecord) -> None:
    """Write down what already is so; failing the task over the note would make it send again."""
    try:
        store.put(fingerprint, record)
    except Exception:
        # The job id is what counts: once that is written, a retry finds the rest by looking.
        lost = record.state is BatchState.QUEUED
        log.exception(
            "Batch %s is %s as job %s, but this could not be written down: a retry %s",
            record.filename,
            record.state.value,
            record.job_id,
            "cannot know it" if lost else "looks at what was written before",
        )
