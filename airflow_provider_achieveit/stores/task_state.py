"""Records in Airflow's task state store (Airflow 3.3 and later)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.stores.records import (
    MAY_BE_APPLIED,
    OPEN_STATES,
    REPLACEABLE,
    BatchRecord,
    BatchState,
    SubmittedBatch,
)

if TYPE_CHECKING:
    from airflow_provider_achieveit.updates.rejects import Reject


class TaskStateStore:
    """Keeps the records where Airflow keeps them for one task of one run, with one key for each batch.

    The store finds values by key only, so a further key holds the fingerprints this task has planned, each with the
    number of the last plan it was part of; a record tells the number of the plan it was sent under. A mapped task has a
    store of its own, by its index, and cannot see those of the others. See "Task state store" in Airflow's
    documentation.

    :param store: ``context["task_state_store"]``.
    :param kind: progress or metric updates; part of the keys.
    :param achieveit_conn_id: records of batches that went through another connection are not known.
    :param server: host of the AchieveIt that it leads to; nor are those of another one. Empty: not told.
    """

    def __init__(self, store: Any, kind: UpdateKind, achieveit_conn_id: str, server: str = "") -> None:
        self._store = store
        # Tries in flight during an upgrade look for these keys: never rename them.
        self._prefix = f"achieveit_{kind.value}_"
        self._through = {"conn_id": achieveit_conn_id, "server": server}
        self._known: dict[str, BatchRecord | None] = {}
        self._keys: dict[str, str] = {}
        self._sent_under: dict[str, int] = {}
        self._number = 0

    def open_batches(self) -> Mapping[str, BatchRecord]:
        """Return, by fingerprint, what was sent, or nearly, and has no end written down."""
        records = {fingerprint: self.get(fingerprint) for fingerprint in self._plans()}
        return {key: record for key, record in records.items() if record and record.state in OPEN_STATES}

    def plan(self, batches: Sequence[SubmittedBatch], generation: int) -> None:
        """Write down what is to be sent now; what has been replaced since it was applied is planned again."""
        plans = self._plans()
        for batch in batches:
            record = self.get(batch.sha256)
            if record and record.state in REPLACEABLE and self._is_replaced(batch.sha256, plans):
                self.put(batch.sha256, BatchRecord(BatchState.PLANNED, generation=generation))
        self._number = max(plans.values(), default=0) + 1
        # One write for all; and after the others, so that killed in between the next try finds them replaced again.
        self._store.set(
            f"{self._prefix}plans", plans | dict.fromkeys((batch.sha256 for batch in batches), self._number)
        )

    def get(self, fingerprint: str) -> BatchRecord | None:
        """Return the record of a batch, or None."""
        if fingerprint not in self._known:
            kept = self._store.get(self._key(fingerprint), None)
            if isinstance(kept, dict) and any(kept.get(name, ours) != ours for name, ours in self._through.items()):
                # The same content went to another AchieveIt: that record stays, ours has a key beside it.
                self._keys[fingerprint] = f"{self._prefix}{fingerprint}@{'@'.join(self._through.values())}"
                kept = self._store.get(self._key(fingerprint), None)
            ours = isinstance(kept, dict)
            self._known[fingerprint] = _record(kept) if ours else None
            # Written by hand, or by an earlier release: as if sent under the last plan that had it.
            under = kept.get("plan") if ours else 0
            self._sent_under[fingerprint] = self._plans().get(fingerprint, 0) if under is None else under
        return self._known[fingerprint]

    def claim(self, fingerprint: str, record: BatchRecord) -> None:
        """Write down that a batch is about to be sent; Airflow runs one try of a task at a time."""
        try:
            self._write(fingerprint, record, self._number)
        except Exception:
            # It may be written and only the answer be lost. Nothing was sent, so no later try needs to ask anybody.
            with suppress(Exception):
                self._write(fingerprint, replace(record, state=BatchState.PLANNED), self._number)
            raise

    def put(self, fingerprint: str, record: BatchRecord) -> None:
        """Write the record of a batch."""
        self.get(fingerprint)
        self._write(fingerprint, record, self._sent_under[fingerprint])

    def _write(self, fingerprint: str, record: BatchRecord, plan: int) -> None:
        kept = asdict(record) | {"state": record.state.value, "plan": plan} | self._through
        del kept["elsewhere"]
        self._store.set(self._key(fingerprint), kept)
        self._known[fingerprint] = record
        self._sent_under[fingerprint] = plan

    def place(self, fingerprint: str) -> str:
        """Say where a person finds the record."""
        return f"the task's state store in Airflow, key {self._key(fingerprint)}"

    def write_rejects(self, rejects: Iterable[Reject]) -> None:
        """Keep none: the store is for small values. The log and ``rejects_path`` tell them."""

    def _key(self, fingerprint: str) -> str:
        return self._keys.get(fingerprint, f"{self._prefix}{fingerprint}")

    def _plans(self) -> dict[str, int]:
        kept = self._store.get(f"{self._prefix}plans", None)
        return dict(kept) if isinstance(kept, dict) else {}

    def _is_replaced(self, fingerprint: str, plans: Mapping[str, int]) -> bool:
        """Tell whether something was sent under a plan that this batch was no part of any more."""
        sent = (other for other in plans if (record := self.get(other)) and record.state in MAY_BE_APPLIED)
        return any(self._sent_under[other] > plans.get(fingerprint, 0) for other in sent)


def _record(kept: Mapping[str, Any]) -> BatchRecord:
    known = {name: kept[name] for name in BatchRecord.__slots__ if name in kept}
    return BatchRecord(**{**known, "state": BatchState(kept["state"])})
