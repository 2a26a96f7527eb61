"""Ledgers as submit tasks leave them behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import create_engine, update
from sqlalchemy.pool import QueuePool

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.stores.ledger import Ledger, TaskKey
from airflow_provider_achieveit.stores.ledger_tables import ledger_tables
from airflow_provider_achieveit.stores.records import BatchRecord, BatchState, SubmittedBatch
from airflow_provider_achieveit.updates.rejects import Reject


@dataclass
class Written:
    """Writes down what tasks do, by the ledger itself.

    :param url: the ledger's database.
    :param table: its table.
    """

    url: str
    table: str = "achieveit_submissions"
    number: int = field(default=0)

    def run(
        self,
        dag_id: str,
        states: Sequence[BatchState],
        *,
        task_id: str = "push",
        run_id: str = "run",
        kind: UpdateKind = UpdateKind.PROGRESS,
        map_index: int = -1,
        try_number: int = 1,
        rows: int = 100,
        reason: str = "",
        filename: str = "",
        rejects: Iterable[Reject] = (),
        contents: Sequence[str] = (),
        before: timedelta | None = None,
        at: datetime | None = None,
    ) -> None:
        """One try of a task that has one batch for each state, and so many rejected rows.

        :param contents: fingerprints of the batches; new content where there are none.
        :param before: how long ago it was, if not now.
        :param at: the moment of all that it wrote, if not now.
        """
        key = TaskKey(dag_id, task_id, run_id, map_index, try_number, kind, "achieveit_default")
        self.number += 1
        names = contents or [f"{self.number}-{at}" for at in range(len(states))]
        batches = [SubmittedBatch(filename or f"{dag_id}-{name}.csv", rows, name) for name in names]
        engine = create_engine(self.url, poolclass=QueuePool, pool_size=1)
        with Ledger(engine, table=self.table, key=key) as ledger:
            ledger.write_rejects(rejects)
            ledger.plan(batches, generation=0)
            for batch, state in zip(batches, states, strict=True):
                self._send(ledger, batch, state, reason)
        if before is not None:
            self._move(key, lambda written: written - before)
        if at is not None:
            self._move(key, lambda _: at)

    def _send(self, ledger: Ledger, batch: SubmittedBatch, state: BatchState, reason: str) -> None:
        if state is BatchState.PLANNED:
            return
        at = datetime.now(UTC).timestamp()
        ledger.get(batch.sha256)
        ledger.claim(batch.sha256, BatchRecord(BatchState.SENDING, at=at, filename=batch.filename, rows=batch.rows))
        if state is BatchState.SENDING:
            return
        job_id = f"job-{batch.sha256}"
        ledger.put(batch.sha256, BatchRecord(BatchState.QUEUED, job_id, at=at))
        if state is not BatchState.QUEUED:
            ledger.put(batch.sha256, BatchRecord(state, job_id, at=at, reason=reason))

    def _move(self, key: TaskKey, moved_to: Callable[[datetime], datetime]) -> None:
        tables, engine = ledger_tables(self.table), create_engine(self.url)
        with engine.begin() as connection:
            for table, names in (
                (tables.submissions, ("planned_at", "last_planned_at", "sent_at", "ended_at")),
                (tables.rejects, ("written_at",)),
            ):
                for row in connection.execute(table.select().where(table.c.slot == key.slot)).fetchall():
                    moved = {name: moved_to(at) for name in names if (at := getattr(row, name)) is not None}
                    same = [column == getattr(row, column.name) for column in table.primary_key.columns]
                    connection.execute(update(table).where(*same).values(moved))
        engine.dispose()


def reject(value: str = "x", reason: str = "is no number", row: int = 1) -> Reject:
    return Reject(row, "value", value, reason)
