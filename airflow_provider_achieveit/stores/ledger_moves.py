"""How one batch moves on in the ledger: somebody takes it to send it, and what became of it is written down."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, insert, select, update
from sqlalchemy.engine import Connection

from airflow_provider_achieveit.stores.ledger_rows import (
    TaskKey,
    Values,
    clean,
    latest_rows,
    moment,
    new_row,
    state_of,
)
from airflow_provider_achieveit.stores.records import BatchRecord, BatchState

_ENDED = (BatchState.APPLIED, BatchState.REFUSED, BatchState.FAILED, BatchState.UNKNOWN)


def take(
    connection: Connection, table: Table, key: TaskKey, fingerprint: str, record: BatchRecord, *, seen: Any
) -> int | None:
    """Take a batch, so that nobody else can; to be called in one transaction.

    :param record: with state SENDING.
    :param seen: the last row of the content, as the one who decided to send it saw it; None: there was none.
    :return: the id of the row that is ours now; None, and nothing is written, where that row has changed since.
    :raises IntegrityError: somebody else has made the row.
    """
    if seen is None:
        return _inserted(connection, table, new_row(key, fingerprint, record, planned_at=moment(record.at)))
    as_seen = table.c.id == seen.id, table.c.state == seen.state
    if state_of(seen) is BatchState.PLANNED:
        number = seen.send_number
        row = new_row(key, fingerprint, record, send_number=number, planned_at=seen.last_planned_at)
        if not record.filename:
            row.update(filename=seen.filename, row_count=seen.row_count)
        return seen.id if connection.execute(update(table).where(*as_seen).values(row)).rowcount == 1 else None
    if state_of(seen) is BatchState.SENDING:
        # Its owner may be alive after all, and have written down more.
        given_up: Values = {
            "state": BatchState.UNKNOWN.value,
            "reason": f"sent again by try {key.try_number}",
            "ended_at": datetime.now(UTC),
        }
        if connection.execute(update(table).where(*as_seen).values(given_up)).rowcount != 1:
            return None
    # Of the same plan as its neighbours, whenever it is sent.
    number, planned_at = seen.send_number + 1, seen.last_planned_at
    row = new_row(key, fingerprint, record, send_number=number, planned_at=planned_at)
    return _inserted(connection, table, row)


def note(
    connection: Connection, table: Table, key: TaskKey, fingerprint: str, record: BatchRecord, *, claimed: int | None
) -> None:
    """Write down what became of a batch; to be called in one transaction, and as often as one wants.

    :param record: with any state but SENDING. PLANNED: it is certainly not in AchieveIt's queue.
    :param claimed: id of the row this process took; None: the last one of the content is meant.
    """
    ended_at = datetime.now(UTC) if record.state in _ENDED else None
    row = connection.execute(select(table).where(table.c.id == claimed)).first() if claimed is not None else None
    row = row or latest_rows(connection, table, key, [fingerprint]).get(fingerprint)
    if row is None:
        # It was sent before the ledger was switched on.
        made = new_row(key, fingerprint, record, planned_at=moment(record.at))
        connection.execute(insert(table).values({**made, "ended_at": ended_at}))
        return
    planned = record.state is BatchState.PLANNED
    values: Values = {
        "state": record.state.value,
        "job_id": None if planned else record.job_id or row.job_id,
        "reason": clean(record.reason) or None,
        "max_tries": record.generation,
        "sent_at": None if planned else row.sent_at or moment(record.at),
        "ended_at": ended_at,
    }
    connection.execute(update(table).where(table.c.id == row.id).values(values))


def _inserted(connection: Connection, table: Table, row: Values) -> int:
    key: Any = connection.execute(insert(table).values(row)).inserted_primary_key
    return int(key[0])
