"""What a person is told about batches of which nobody can know whether AchieveIt has them, and how to go on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from airflow_provider_achieveit.api.failure import Failure, FailureKind
from airflow_provider_achieveit.stores.records import BatchRecord, SubmittedBatch


def unsure_batch(batch: SubmittedBatch, reason: str, status: int | None = None) -> Failure:
    """Return the failure of one batch that may or may not be queued.

    :param batch: the batch.
    :param reason: why nobody can tell.
    :param status: the HTTP status code, if an answer came.
    """
    return Failure(FailureKind.UNSURE, f"Nobody can tell whether {_named(batch)} is queued: {reason}", status=status)


def replaced_batches(unsure: Mapping[str, BatchRecord], places: Sequence[str]) -> Failure:
    """Return the failure of batches that an earlier try may have sent, before the source gave other content.

    :param unsure: their records, by fingerprint.
    :param places: where a person finds each record to correct it.
    """
    told = [
        f"Nobody can tell whether {_named(SubmittedBatch(record.filename, record.rows, fingerprint))} is queued: "
        f"{interrupted(record)}"
        for fingerprint, record in unsure.items()
    ]
    told.append("The content has changed since. Nothing of the present content was sent: AchieveIt might apply both.")
    told.append(
        "Look in AchieveIt at the history of the items they update. To leave them behind and send the present content, "
        "set their state to 'applied' or 'planned' and clear this task, or clear it with on_unsure='resubmit'. The "
        f"state is in {'; '.join(dict.fromkeys(places))}."
    )
    return Failure(FailureKind.UNSURE, "\n".join(told))


def interrupted(record: BatchRecord) -> str:
    """Say why a batch of an earlier try is unsure."""
    if record.job_id:
        why = f" ({record.reason})" if record.reason else ""
        return f"it was sent at {utc(record.at)} as job {record.job_id}, which AchieveIt does not know{why}"
    return f"an earlier try began to send it at {utc(record.at)}: {record.reason or 'no job id was written down'}"


def unsure_batches(failures: Sequence[Failure], *, known: int, not_sent: int, places: Sequence[str]) -> Failure:
    """Return the one failure of a task with such batches: which they are, what is known, and how to go on.

    :param failures: of each such batch.
    :param known: how many other batches are queued or applied.
    :param not_sent: how many were not sent at all.
    :param places: where a person finds the record of each unsure batch to correct it; empty texts without a store.
    """
    told = [failure.message for failure in failures]
    told.append(f"{known} other batches are queued or applied, {not_sent} were not sent.")
    told.append("Look in AchieveIt at the history of the items the unsure ones update.")
    if all(places):
        told.append(
            "If the updates are there, set the batch's state to 'applied' and clear this task: it goes on with the "
            "rest. If they are not, set it to 'planned', or clear this task with on_unsure='resubmit': both send it. "
            f"The state is in {'; '.join(dict.fromkeys(places))}."
        )
    elif not_sent:
        told.append(
            "If the updates are not there, clear this task with on_unsure='resubmit': it sends these and the rest. If "
            "they are there, that would apply them twice; send the rest by a task of its own."
        )
    else:
        told.append("If the updates are there, mark this task as success; if not, clear it with on_unsure='resubmit'.")
    return replace(failures[0], message="\n".join(told))


def sent_elsewhere(batch: SubmittedBatch, place: str) -> Failure:
    """Return the failure of a batch that another process is sending just now; the next try knows more.

    :param batch: the batch.
    :param place: where a person finds its record to correct it.
    """
    return Failure(
        FailureKind.UNAVAILABLE,
        f"{_named(batch)} is being sent by another process of this run: a mapped task with the same rows, or an "
        "earlier try that still lives. It is not sent twice; a retry finds how that ended. Should that process be "
        f"dead, its claim is taken for an unsure batch half an hour after it; the state is in {place}",
        retryable=True,
    )


def earlier_jobs_run(job_ids: Sequence[str]) -> Failure:
    """Return the failure of a task whose earlier batches are still being applied at the deadline."""
    return Failure(
        FailureKind.JOB_TIMEOUT,
        f"Jobs of an earlier try had not ended in time: {', '.join(job_ids[:20])}. Nothing was sent by this one, as "
        "AchieveIt could apply the older values last. Clear this task when they have ended",
        job_id=job_ids[0],
    )


def killed() -> Failure:
    """Return the failure of a task that was told to stop before all its batches were sent."""
    return Failure(FailureKind.UNAVAILABLE, "The task was killed", retryable=True)


def not_all_sent(
    failure: Failure, plan: Sequence[SubmittedBatch], sent: Sequence[SubmittedBatch], *, kept: bool
) -> Failure:
    """Return a failure that ended the sending, with what it means for the rows.

    :param failure: why a batch could not be sent.
    :param plan: all batches.
    :param sent: those that are queued or applied.
    :param kept: whether that is written down where the next try finds it.
    """
    rows = sum(batch.rows for batch in plan) - sum(batch.rows for batch in sent)
    what = "only these" if kept or not sent else "all of them again, as nothing was written down"
    how = "A retry sends" if failure.retryable else "When that is mended, clear this task: it sends"
    return replace(
        failure,
        message=f"{failure.message}\n{len(sent)} of {len(plan)} batch(es) are queued or applied; {rows} rows in "
        f"{len(plan) - len(sent)} batch(es) are not sent. {how} {what}.",
    )


def _named(batch: SubmittedBatch) -> str:
    if not batch.filename:
        return f"the batch with sha256 {batch.sha256} (of an earlier release)"
    return f"batch {batch.filename} ({batch.rows} rows, sha256 {batch.sha256})"


def utc(moment: float) -> str:
    """Return a moment (seconds since the epoch) in words."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))
