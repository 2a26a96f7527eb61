"""Rows of the ledger's main table: whose they are, how they are read and made, and what a failure of one means."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError, SQLAlchemyError

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.stores.ledger_tables import LedgerError
from airflow_provider_achieveit.stores.records import BatchRecord, BatchState

_IN_ONE_STATEMENT = 500
_TEXT_CHARS = 4000
# PostgreSQL: serialization failure, deadlock. MySQL: deadlock. MariaDB: changed since the transaction's first look.
_CONFLICT_CODES = frozenset(["40001", "40P01", 1213, 1020])

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TaskKey:
    """Whose batches they are.

    :param dag_id: the DAG.
    :param task_id: the task, with its groups.
    :param run_id: the DAG run.
    :param map_index: the index of a mapped task; -1 where it is not mapped.
    :param try_number: the present try.
    :param kind: progress or metric updates.
    :param achieveit_conn_id: the connection they are sent through.
    :param server: host of the AchieveIt that it leads to, with its port if that is not 443. Empty: not told.
    """

    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    try_number: int
    kind: UpdateKind
    achieveit_conn_id: str
    server: str = ""

    @property
    def slot(self) -> str:
        """Within which the same content is the same batch; a hash, because MySQL cannot index the names themselves."""
        names = [self.dag_id, self.task_id, self.run_id, self.kind.value, self.achieveit_conn_id, self.server]
        # Rows are found by it: never change how it is made.
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()

    def values(self) -> Values:
        """Return the columns that both tables have."""
        return {
            "slot": self.slot,
            "dag_id": self.dag_id,
            "task_id": self.task_id,
            "run_id": self.run_id,
            "map_index": self.map_index,
            "try_number": self.try_number,
            "kind": self.kind.value,
            "achieveit_conn_id": self.achieveit_conn_id,
        }


def latest_rows(connection: Connection, table: Table, key: TaskKey, fingerprints: Iterable[str]) -> dict[str, Any]:
    """Return, by fingerprint, the row of the last time each content was planned, whichever mapped task wrote it."""
    found: dict[str, Any] = {}
    for some in chunks(fingerprints):
        of_content = select(table).where(table.c.slot == key.slot, table.c.fingerprint.in_(some))
        found.update({row.fingerprint: row for row in connection.execute(of_content.order_by(table.c.send_number))})
    return found


def new_row(
    key: TaskKey, fingerprint: str, record: BatchRecord, *, send_number: int = 0, planned_at: datetime
) -> Values:
    """Return a row for one more time that content is planned or sent."""
    sent = record.state is not BatchState.PLANNED
    return {
        **key.values(),
        "fingerprint": fingerprint,
        "send_number": send_number,
        "max_tries": record.generation,
        "filename": record.filename,
        "row_count": record.rows,
        "job_id": record.job_id,
        "state": record.state.value,
        "reason": clean(record.reason) or None,
        "planned_at": planned_at,
        "sent_at": moment(record.at) if sent else None,
        "ended_at": None,
        "last_planned_at": planned_at,
        "last_planned_by": key.map_index,
    }


def state_of(row: Any) -> BatchState:
    """Return the state in a row, which somebody may have written by hand.

    :raises LedgerError: it is none.
    """
    try:
        return BatchState(row.state.strip().lower())
    except ValueError:
        raise LedgerError(
            f"The ledger's row {row.id} (batch {row.filename}) has the state {row.state!r}, which is none of "
            f"{', '.join(BatchState)}. Correct it"
        ) from None


def record_of(row: Any, key: TaskKey, claimed: int | None = None) -> BatchRecord:
    """Return what a row says of its batch, as the task of ``key`` sees it.

    :param row: the row.
    :param key: whose process it is.
    :param claimed: id of the row that this very process has claimed.
    """
    state = state_of(row)
    # What this try is sending, and this process is not, a twin of it is: Airflow may deliver a task twice.
    twin = state is BatchState.SENDING and row.try_number == key.try_number and row.id != claimed
    return BatchRecord(
        state=state,
        job_id=row.job_id or None,
        generation=row.max_tries,
        at=(row.sent_at or row.planned_at).timestamp(),
        filename=row.filename,
        rows=row.row_count,
        reason=row.reason or "",
        elsewhere=twin or row.map_index != key.map_index,
    )


def moment(at: float) -> datetime:
    """Return seconds since the epoch as a moment; now, where they were not told."""
    return datetime.fromtimestamp(at, UTC) if at else datetime.now(UTC)


def clean(text: str) -> str:
    """Return text that every database takes: no U+0000, no half characters, no book."""
    text = text.replace("\x00", "\ufffd").encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= _TEXT_CHARS else text[: _TEXT_CHARS - 1] + "…"


def chunks(values: Iterable[Any]) -> Iterator[list[Any]]:
    """Return values in lists that fit into one statement on every database."""
    rest = iter(values)
    while some := list(islice(rest, _IN_ONE_STATEMENT)):
        yield some


def conflict(error: BaseException) -> bool:
    """Tell whether another transaction came in between: nothing was written, and a second look sees what it did."""
    if not isinstance(error, DBAPIError):
        return False
    # Each driver has a place of its own for the code: psycopg2, psycopg, those of MySQL.
    codes = (getattr(error.orig, "pgcode", None), getattr(error.orig, "sqlstate", None), *_first(error.orig))
    return isinstance(error, IntegrityError) or not _CONFLICT_CODES.isdisjoint(codes)


def _first(error: BaseException | None) -> tuple[Any, ...]:
    return error.args[:1] if error is not None else ()


def may_pass(error: BaseException) -> bool:
    """Tell whether the same statement may succeed later: the database is away, busy, or another was faster."""
    lasting = (ProgrammingError, DataError, NotSupportedError)
    return isinstance(error, SQLAlchemyError) and not isinstance(error, lasting)
