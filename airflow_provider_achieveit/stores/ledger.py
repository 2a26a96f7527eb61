"""A ledger of what was sent, in any SQL database: it outlives workers, retries and Airflow's own database.

Every time a batch is planned and sent has a row of its own, numbered for its content (``send_number``), and a row is
taken with one statement that only one process can succeed with. The rows can be read, and mended, with plain SQL: what
was set to ``applied`` is not sent again, what was set to ``planned`` is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sqlalchemy import and_, delete, event, exists, select
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import QueuePool
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_random,
    wait_random_exponential,
)

from airflow_provider_achieveit.stores.ledger_moves import note, take
from airflow_provider_achieveit.stores.ledger_planning import write_plan
from airflow_provider_achieveit.stores.ledger_rows import (
    TaskKey,
    Values,
    clean,
    conflict,
    latest_rows,
    may_pass,
    record_of,
    state_of,
)
from airflow_provider_achieveit.stores.ledger_tables import LedgerError, ledger_tables, make_missing
from airflow_provider_achieveit.stores.records import (
    OPEN_STATES,
    BatchRecord,
    BatchState,
    ClaimLost,
    SubmissionStore,
    SubmittedBatch,
)
from airflow_provider_achieveit.updates.rejects import Reject
from airflow_provider_achieveit.warehouse.databases import database_of

__all__ = ["Ledger", "LedgerError", "TaskKey", "ledger_engine", "limit_waits"]

_LOCK_SECONDS = 10
_MYSQL_LIMITS = {"connect_timeout": 5, "read_timeout": 60, "write_timeout": 60}
_LIMITS: Mapping[str, Mapping[str, int]] = {
    "psycopg2": {"connect_timeout": 5},
    "psycopg": {"connect_timeout": 5},
    # PyMySQL's limit for connecting does not hold for the server's greeting.
    "pymysql": _MYSQL_LIMITS,
    "mysqldb": _MYSQL_LIMITS,
    "mysqlconnector": {"connection_timeout": 5},
}
"""Seconds until a server that does not answer is given up, by driver; without them some wait for ever."""
_OUTAGE_SECONDS = 45.0
"""How long it is tried to write down what already is so; the last repeat may take :data:`_LOCK_SECONDS` more."""
_CONFLICTS = 10
_LOOKS = 3
_REJECTS_AT_ONCE = 2000


def ledger_engine(hook: Any) -> Engine:
    """Return an engine for a ledger from a ``DbApiHook``: one connection, made anew where it has died.

    To be closed before a long wait, through which no connection should be held.
    """
    engine: Engine = hook.get_sqlalchemy_engine(
        engine_kwargs={"poolclass": QueuePool, "pool_size": 1, "pool_pre_ping": True}
    )
    return engine


class Ledger:
    """The account of one task, as rows of a table: a store as :class:`~..submission.SubmissionStore` wants it.

    Before anything is sent it fails within seconds where the database does not answer; what was sent is written down
    through an outage of up to a minute.

    :param engine: an engine nobody has connected with yet; disposed of by :meth:`close`.
    :param table: name of the table, or ``schema.table``; ``<table>_rejects`` takes the rejected rows.
    :param key: whose batches they are.
    :param earlier: the store of tries from before the ledger was switched on; asked where the ledger knows nothing.
    :raises LedgerError: the table's name is none. All methods raise it where the tables cannot be used.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        table: str = "achieveit_submissions",
        key: TaskKey,
        earlier: SubmissionStore | None = None,
    ) -> None:
        self._engine = engine
        self._tables = ledger_tables(table)
        self._table = self._tables.submissions
        self._key = key
        self._earlier = earlier
        self._database = database_of(engine, lock_seconds=_LOCK_SECONDS)
        self._tables_made = False
        # What get() told last: the caller's decision to send rests on it, and so does the claim.
        self._seen: dict[str, Any] = {}
        self._claimed: dict[str, int] = {}
        self._planned = False
        self._given_up = False
        limit_waits(engine)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; they are made anew where it is used again."""
        self._engine.dispose()

    def open_batches(self) -> Mapping[str, BatchRecord]:
        """By fingerprint: what this task has begun to send and whose end nobody has written down (sending, queued)."""
        before = self._earlier.open_batches() if self._earlier is not None else {}
        table, later = self._table, self._table.alias("later")
        newer = and_(
            later.c.slot == table.c.slot,
            later.c.fingerprint == table.c.fingerprint,
            later.c.send_number > table.c.send_number,
        )
        mine = table.c.slot == self._key.slot, table.c.map_index == self._key.map_index
        still_open = table.c.state.in_([state.value for state in OPEN_STATES])
        with self._transaction() as connection:
            rows = connection.execute(select(table).where(*mine, still_open, ~exists().where(newer))).fetchall()
            known = self._latest(connection, before)
        copied = {fingerprint: record for fingerprint, record in before.items() if fingerprint not in known}
        return copied | {row.fingerprint: self._record(row) for row in rows}

    def get(self, fingerprint: str) -> BatchRecord | None:
        """Return the record of a batch, whichever mapped task of the run wrote it, or None."""
        with self._transaction() as connection:
            row = self._seen[fingerprint] = self._latest(connection, [fingerprint]).get(fingerprint)
        if row is None:
            return self._earlier.get(fingerprint) if self._earlier is not None else None
        return self._record(row)

    def plan(self, batches: Sequence[SubmittedBatch], generation: int) -> None:
        """Write down what is going to be sent now; batches that have a record keep it.

        But content that was applied, and after which this task sent something else under a plan without it, is planned
        anew: after A, then B, AchieveIt shows B, and A has to be sent again. Killed anywhere and called again, it comes
        to the same.

        :param batches: all that the task has to send, as it is now.
        :param generation: the present round of tries of the task.
        """
        wanted = {batch.sha256: batch for batch in batches}
        before: dict[str, BatchRecord] = {}
        if self._earlier is not None:
            with self._transaction() as connection:
                known = self._latest(connection, wanted)
            if unknown := wanted.keys() - known.keys():
                # Only it can tell what had been replaced before the ledger was switched on; it plans that again.
                self._earlier.plan(batches, generation)
                records = ((fingerprint, self._earlier.get(fingerprint)) for fingerprint in unknown)
                before = {f: record for f, record in records if record and record.state is not BatchState.PLANNED}

        def once() -> None:
            with self._transaction() as connection:
                write_plan(connection, self._table, self._key, wanted, generation=generation, known_before=before)

        # A sibling may write down the same content at the same time: another look sees it.
        Retrying(
            retry=retry_if_exception(conflict),
            stop=stop_after_attempt(_CONFLICTS),
            wait=wait_random(0, 0.2),
            reraise=True,
        )(once)
        self._planned = True

    def claim(self, fingerprint: str, record: BatchRecord) -> None:
        """Write down that a batch is about to be sent, on the ground of what :meth:`get` told last.

        :raises ClaimLost: another process has begun to send it; nothing was written.
        """
        seen = self._seen.pop(fingerprint) if fingerprint in self._seen else self._looked(fingerprint)
        if seen is None and self._planned:
            raise ClaimLost(f"A later try has planned other content than batch {record.filename or fingerprint}")
        for _ in range(_LOOKS):
            error: DBAPIError | None = None
            try:
                with self._transaction() as connection:
                    taken = take(connection, self._table, self._key, fingerprint, record, seen=seen)
            except DBAPIError as raised:
                if not conflict(raised):
                    raise
                error, taken = raised, None
            if taken is not None:
                self._claimed[fingerprint] = taken
                return
            with self._transaction() as connection:
                found = self._latest(connection, [fingerprint]).get(fingerprint)
            if _same(seen, found):
                if isinstance(error, IntegrityError):
                    # Nobody was faster: a rule of the user's own table forbids the row.
                    raise error
            elif found is not None and state_of(found) is not BatchState.PLANNED:
                break
            seen = found
        raise ClaimLost(f"Another process has begun to send batch {record.filename or fingerprint}")

    def put(self, fingerprint: str, record: BatchRecord) -> None:
        """Write down how far a batch has come, through a short outage of the database: it already is so."""

        def once() -> None:
            with self._transaction() as connection:
                claimed = self._claimed.get(fingerprint)
                note(connection, self._table, self._key, fingerprint, record, claimed=claimed)

        repeating = Retrying(
            retry=retry_if_exception(may_pass),
            # One outage is waited for once, not for every batch again.
            stop=stop_after_attempt(1) if self._given_up else stop_after_delay(_OUTAGE_SECONDS),
            wait=wait_random_exponential(multiplier=0.5, max=10),
            before_sleep=lambda _: self._engine.dispose(),
            reraise=True,
        )
        try:
            repeating(once)
        except SQLAlchemyError as error:
            self._given_up = may_pass(error)
            raise

    def place(self, fingerprint: str) -> str:
        """Say where a person finds the record: an id, as the same content may have been sent by other runs too."""
        with suppress(SQLAlchemyError), self._transaction() as connection:
            if row := self._latest(connection, [fingerprint]).get(fingerprint):
                return f"the ledger, table {self._table.fullname}, id {row.id}"
            if self._earlier is not None and self._earlier.get(fingerprint):
                return self._earlier.place(fingerprint)
        return f"the ledger, table {self._table.fullname}, fingerprint {fingerprint}"

    def write_rejects(self, rejects: Iterable[Reject]) -> None:
        """Write all reasons of all rejected rows of this try, in one transaction; in the place of what it wrote before.

        :param rejects: the reasons; read one after the other, never held together.
        """
        table = self._tables.rejects
        rest = iter(self._reject_rows(rejects))
        with self._transaction() as connection:
            of_try = [table.c[name] == self._key.values()[name] for name in ("slot", "map_index", "try_number")]
            connection.execute(delete(table).where(*of_try))
            while page := list(islice(rest, _REJECTS_AT_ONCE)):
                self._database.write(connection, table, page)

    def _reject_rows(self, rejects: Iterable[Reject]) -> Iterator[tuple[Any, ...]]:
        names = self._tables.rejects.columns.keys()
        values: Values = {**self._key.values(), "written_at": datetime.now(UTC)}
        for position, reject in enumerate(rejects):
            values["position"] = position
            values["source_row"] = reject.row
            values["source_column"] = clean(reject.column)
            values["value"] = clean(reject.value)
            values["reason"] = clean(reject.reason)
            yield tuple([values[name] for name in names])

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        if not self._tables_made:
            make_missing(self._database, self._tables)
            self._tables_made = True
        with self._engine.begin() as connection:
            yield connection

    def _record(self, row: Any) -> BatchRecord:
        return record_of(row, self._key, claimed=self._claimed.get(row.fingerprint))

    def _latest(self, connection: Connection, fingerprints: Iterable[str]) -> dict[str, Any]:
        return latest_rows(connection, self._table, self._key, fingerprints)

    def _looked(self, fingerprint: str) -> Any:
        """Return the last row of content that the caller did not ask for."""
        with self._transaction() as connection:
            row = self._latest(connection, [fingerprint]).get(fingerprint)
        if row is not None and state_of(row) in OPEN_STATES and row.id != self._claimed.get(fingerprint):
            raise ClaimLost(f"Another process has begun to send batch {row.filename}")
        return row


def _same(seen: Any, found: Any) -> bool:
    if seen is None or found is None:
        return seen is found
    return bool((seen.id, seen.state) == (found.id, found.state))


def limit_waits(engine: Engine, **shorter: int) -> None:
    """Let connections of an engine give up on a server that does not answer; limits in the connection's extra stay.

    :param engine: an engine nobody has connected with yet.
    :param shorter: seconds in the place of the usual ones, for drivers that know these options.
    """

    def limit(dialect: Any, _record: Any, _args: Any, options: dict[str, Any]) -> None:
        for name, seconds in _LIMITS.get(dialect.driver, {}).items():
            options.setdefault(name, shorter.get(name, seconds))

    event.listen(engine, "do_connect", limit)
