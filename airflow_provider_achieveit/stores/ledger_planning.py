"""What a plan changes in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Table, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from airflow_provider_achieveit.stores.ledger_rows import (
    TaskKey,
    Values,
    chunks,
    latest_rows,
    moment,
    new_row,
    state_of,
)
from airflow_provider_achieveit.stores.records import (
    MAY_BE_APPLIED,
    REPLACEABLE,
    BatchRecord,
    BatchState,
    SubmittedBatch,
)


def write_plan(
    connection: Connection,
    table: Table,
    key: TaskKey,
    wanted: Mapping[str, SubmittedBatch],
    *,
    generation: int,
    known_before: Mapping[str, BatchRecord],
) -> None:
    """Write down what a task is going to send; to be called in one transaction.

    ``planned_at`` is the moment of the plan a row was sent under, ``last_planned_at`` that of the last plan that had
    its content. So what a task applied is superseded where it sent something else under a later plan.

    :param wanted: all batches of the task as it is now, by fingerprint.
    :param generation: the present round of tries.
    :param known_before: what the store of before the ledger knows of them; copied where the ledger knows nothing.
    """
    latest = latest_rows(connection, table, key, wanted)
    now, last_sent = _moments(connection, table, key)
    new: list[Values] = []
    planned_again: list[int] = []
    kept: list[int] = []
    # In this order everywhere: siblings that plan the same content would else wait for each other.
    for fingerprint in sorted(wanted):
        batch, row = wanted[fingerprint], latest.get(fingerprint)
        planned = BatchRecord(BatchState.PLANNED, generation=generation, filename=batch.filename, rows=batch.rows)
        if row is not None:
            if state_of(row) is BatchState.PLANNED:
                planned_again.append(row.id)
            elif _superseded(state_of(row), row.last_planned_at, row.last_planned_by, key, last_sent):
                new.append(new_row(key, fingerprint, planned, send_number=row.send_number + 1, planned_at=now))
            else:
                kept.append(row.id)
        elif fingerprint in known_before:
            record = known_before[fingerprint]
            at = moment(record.at)
            copied = new_row(key, fingerprint, record, planned_at=at)
            new.append(copied)
            if _superseded(record.state, at, key.map_index, key, last_sent):
                new.append(new_row(key, fingerprint, planned, send_number=1, planned_at=now))
            else:
                copied["last_planned_at"] = now
        else:
            new.append(new_row(key, fingerprint, planned, planned_at=now))
    for some in chunks(new):
        connection.execute(insert(table), some)
    mine: Values = {"last_planned_at": now, "last_planned_by": key.map_index}
    for some in chunks(kept):
        connection.execute(update(table).where(table.c.id.in_(some)).values(mine))
    # Nobody has sent these yet, so they belong to whoever plans them.
    taken: Values = {**mine, "map_index": key.map_index}
    is_planned = table.c.state == BatchState.PLANNED.value
    for some in chunks(planned_again):
        connection.execute(update(table).where(table.c.id.in_(some), is_planned).values(taken))
    _forget_others(connection, table, key, wanted)


def _moments(connection: Connection, table: Table, key: TaskKey) -> tuple[datetime, datetime | None]:
    """Return the moment of this plan, after all others of the slot whatever the workers' clocks say, and that of the
    last plan under which this task has sent something.
    """
    in_slot = table.c.slot == key.slot
    newest = connection.execute(select(func.max(table.c.last_planned_at)).where(in_slot)).scalar()
    there = table.c.state.in_([state.value for state in MAY_BE_APPLIED])
    sent = in_slot, table.c.map_index == key.map_index, there
    last_sent = connection.execute(select(func.max(table.c.planned_at)).where(*sent)).scalar()
    now = datetime.now(UTC)
    return now if newest is None else max(now, newest + timedelta(microseconds=1)), last_sent


def _superseded(
    state: BatchState, planned_at: datetime, planned_by: int, key: TaskKey, last_sent: datetime | None
) -> bool:
    """Tell whether this task has sent something else since content was applied and last planned.

    Content that a sibling planned last may only have moved to another index: it is taken as it is.
    """
    mine = planned_by == key.map_index
    return state in REPLACEABLE and mine and last_sent is not None and last_sent > planned_at


def _forget_others(connection: Connection, table: Table, key: TaskKey, wanted: Mapping[str, Any]) -> None:
    """Delete what this task planned, never sent, and has no more."""
    planned = table.c.state == BatchState.PLANNED.value, table.c.sent_at.is_(None)
    mine = table.c.slot == key.slot, table.c.map_index == key.map_index
    rows = connection.execute(select(table.c.id, table.c.fingerprint).where(*mine, *planned)).fetchall()
    for some in chunks(row.id for row in rows if row.fingerprint not in wanted):
        connection.execute(delete(table).where(table.c.id.in_(some), *planned))
