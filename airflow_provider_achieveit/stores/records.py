"""What is known of a batch, and what a store of this knowledge has to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from airflow_provider_achieveit.updates.rejects import Reject


class BatchState(StrEnum):
    """How far a batch has come."""

    PLANNED = "planned"
    """It is going to be sent. Nothing of it has left."""
    SENDING = "sending"
    """It was about to be sent, and no job id is written down: nobody can tell whether AchieveIt has it."""
    QUEUED = "queued"
    """AchieveIt has it as a job; how that ended is not known yet."""
    APPLIED = "applied"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """Nobody can tell what became of it, and nobody will ask any more."""


MAY_BE_APPLIED = frozenset(BatchState) - {BatchState.PLANNED, BatchState.REFUSED}
"""A batch in one of these states may have changed the plan, or a part of it."""
REPLACEABLE = frozenset({BatchState.APPLIED, BatchState.UNKNOWN})
"""A batch in one of these states is sent again when its content comes back after other content took its place."""
OPEN_STATES = frozenset({BatchState.SENDING, BatchState.QUEUED})
"""A batch in one of these states was sent, or nearly, and its end is not written down."""


@dataclass(frozen=True, slots=True)
class SubmittedBatch:
    """One batch of a task, as far as it has come.

    :param filename: the name it was sent under.
    :param rows: how many updates it holds.
    :param sha256: the fingerprint of its bytes, in hex.
    :param state: how far it has come.
    :param job_id: AchieveIt's job, once queued.
    :param unchanged: the batch was applied before and not sent again.
    :param sent_at: when the wait for it began, seconds since the epoch.
    """

    filename: str
    rows: int
    sha256: str
    state: BatchState = BatchState.PLANNED
    job_id: str | None = None
    unchanged: bool = False
    sent_at: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the batch as JSON values (a trigger carries it)."""
        return asdict(self) | {"state": self.state.value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SubmittedBatch:
        """Read what :meth:`to_json` gave; keys of a later version are ignored."""
        known = {name: data[name] for name in cls.__slots__ if name in data}
        return cls(**{**known, "state": BatchState(data["state"])})


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What a store keeps of a batch.

    :param state: how far it had come.
    :param job_id: AchieveIt's job, once queued.
    :param generation: which round of tries of the task sent it; clearing a task begins another.
    :param at: when it was sent (planned, if it was not), seconds since the epoch.
    :param filename: the name it was sent under.
    :param rows: how many updates it holds.
    :param reason: what AchieveIt said, or why nobody knows more.
    :param elsewhere: another process wrote it: a mapped task of the same run, or a twin of this very try.
    """

    state: BatchState
    job_id: str | None = None
    generation: int = 0
    at: float = 0.0
    filename: str = ""
    rows: int = 0
    reason: str = ""
    elsewhere: bool = False


class ClaimLost(Exception):  # noqa: N818  (it is what happened, not what went wrong)
    """Another process has begun to send the batch."""


class SubmissionStore(Protocol):
    """Where the records outlive the worker; all methods speak of one task of one run."""

    def open_batches(self) -> Mapping[str, BatchRecord]:
        """Return, by fingerprint, the records of this task in one of :data:`OPEN_STATES`."""

    def plan(self, batches: Sequence[SubmittedBatch], generation: int) -> None:
        """Write down what is to be sent now.

        A batch that has a record keeps it, with one exception: one in a state of :data:`REPLACEABLE`, when other
        content has been sent in its place since, is planned again.
        """

    def get(self, fingerprint: str) -> BatchRecord | None:
        """Return the record of a batch, or None."""

    def claim(self, fingerprint: str, record: BatchRecord) -> None:
        """Write down that a batch is about to be sent.

        :raises ClaimLost: another process has done so first.
        """

    def put(self, fingerprint: str, record: BatchRecord) -> None:
        """Write down how far a batch has come since it was claimed or found."""

    def place(self, fingerprint: str) -> str:
        """Say where a person finds the record of a batch to correct it."""

    def write_rejects(self, rejects: Iterable[Reject]) -> None:
        """Write down why rows were rejected, in place of what the same try wrote before."""


class NoStore:
    """Keeps nothing: ``durable=False``, or an Airflow without a task state store and no ledger."""

    def open_batches(self) -> Mapping[str, BatchRecord]:
        """Return nothing."""
        return {}

    def plan(self, batches: Sequence[SubmittedBatch], generation: int) -> None:
        """Keep nothing."""

    def get(self, fingerprint: str) -> BatchRecord | None:
        """Return None."""
        return None

    def claim(self, fingerprint: str, record: BatchRecord) -> None:
        """Keep nothing."""

    def put(self, fingerprint: str, record: BatchRecord) -> None:
        """Keep nothing."""

    def place(self, fingerprint: str) -> str:
        """Return an empty text: there is no such place."""
        return ""

    def write_rejects(self, rejects: Iterable[Reject]) -> None:
        """Keep nothing."""
