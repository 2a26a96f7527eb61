"""All rows checked before the first batch is handed out, with memory that does not grow with their number.

What may be sent goes to :class:`~.valid_rows.ValidRows`, rejects to a private temporary SQLite database, which sorts
out duplicates too. All these files have no name: they vanish with the process, however that ends.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from hashlib import sha256
from types import TracebackType
from typing import Any, Self, get_args

from airflow_provider_achieveit.api.contract import BodyFormat, UpdateField, UpdateKind
from airflow_provider_achieveit.api.pace import Pace
from airflow_provider_achieveit.api.progress import report
from airflow_provider_achieveit.updates.columnwise import Columns, Columnwise
from airflow_provider_achieveit.updates.duplicates import OnDuplicate, leaving, sort_out
from airflow_provider_achieveit.updates.encode import encode_body, encode_lines, written
from airflow_provider_achieveit.updates.record import Checker, Record
from airflow_provider_achieveit.updates.rejects import Reject, reject_value
from airflow_provider_achieveit.updates.sources import MalformedRow, Source
from airflow_provider_achieveit.updates.valid_rows import ValidRows

log = logging.getLogger(__name__)

_CHUNK_ROWS = 2000
_SCHEMA = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    CREATE TABLE rejects ("row" INTEGER, "column" TEXT, value TEXT, reason TEXT);
"""
_INSERT_REJECT = "INSERT INTO rejects VALUES (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Batch:
    """One body to send.

    :param number: from 1.
    :param body: the exact bytes.
    :param rows: how many updates it holds.
    :param sha256: hexadecimal digest of the body.
    :param first_row: lowest number in the source of its rows.
    :param last_row: highest number in the source of its rows.
    """

    number: int
    body: bytes
    rows: int
    sha256: str
    first_row: int
    last_row: int


class Prepared:
    """All rows of a source, checked and waiting to be sent; a context manager that drops them at its end.

    ``rows_read == rows_valid + rows_rejected`` and ``rows_rejected == rows_invalid + rows_superseded``, always; rows
    are counted, not reasons.

    :ivar rows_read: rows of the source.
    :ivar rows_valid: rows that the batches hold.
    :ivar rows_invalid: rows with a bad value, and duplicates where ``on_duplicate`` is "fail".
    :ivar rows_duplicate: those among ``rows_invalid`` that are duplicates; not to be sent around by skipping.
    :ivar rows_superseded: rows that gave way to another one of the same item and day.
    """

    def __init__(
        self,
        database: sqlite3.Connection,
        valid: ValidRows,
        kind: UpdateKind,
        body_format: BodyFormat,
        header: bool,
        batch_size: int,
    ) -> None:
        self._database = database
        self._valid = valid
        self._kind = kind
        self._body_format = body_format
        self._header = header
        self._batch_size = batch_size
        self.rows_read = 0
        self.rows_invalid = 0
        self.rows_duplicate = 0
        self.rows_superseded = 0

    @property
    def rows_valid(self) -> int:
        """Rows that the batches hold."""
        return self.rows_read - self.rows_rejected

    @property
    def rows_rejected(self) -> int:
        """Rows that no batch holds."""
        return self.rows_invalid + self.rows_superseded

    def rejects(self) -> Iterator[Reject]:
        """Yield every reason why a row is not in a batch, in the order of the rows."""
        for told in self._database.execute('SELECT * FROM rejects ORDER BY "row", rowid'):
            yield Reject(*told)

    def batches(self) -> Iterator[Batch]:
        """Yield the batches; each call begins anew and gives the same bytes.

        They hold the rows in the order of the source. Where it has none, they are ordered by external id and as-of
        date, which no two of them share: the same rows in another order must give the same batches, or a retry would
        apply them twice.
        """
        for number, (lines, rows, first, last) in enumerate(self._valid.batches(self._batch_size), start=1):
            body = encode_body(lines, rows, self._kind, self._body_format, self._header)
            yield Batch(number, body, rows, sha256(body).hexdigest(), first, last)

    def close(self) -> None:
        """Drop everything; the object is of no use then but for its counts."""
        self._database.close()
        self._valid.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def prepare(
    source: Source,
    checker: Checker,
    *,
    kind: UpdateKind,
    body_format: BodyFormat = BodyFormat.CSV,
    header: bool = True,
    batch_size: int = 5000,
    on_duplicate: OnDuplicate = "fail",
) -> Prepared:
    """Read and check all rows of a source.

    :param source: where the rows come from; it is read to its end.
    :param checker: what makes a row a record.
    :param kind: the kind of updates, the checker's.
    :param body_format: how batches are written.
    :param header: whether a CSV begins with labels.
    :param batch_size: rows in a batch at most.
    :param on_duplicate: for rows of one item and one day: "fail" makes each of them invalid, "last" and "first" keep
        that one and reject the others.
    :return: the batches and rejects; close it, or use it as a context manager.
    :raises ValueError: an argument or the source's columns are wrong, or the source itself cannot be read.
    :raises TypeError: a row of the source is no mapping.
    """
    check_batch_options(batch_size, on_duplicate)
    if kind is not checker.kind:
        raise ValueError(f"the checker checks {checker.kind.value} updates, not {kind.value} updates")
    # An empty name is SQLite's way to ask for a temporary file that is deleted when it is closed.
    database = sqlite3.connect("", isolation_level=None)
    valid = ValidRows(source.ordered)
    prepared = Prepared(database, valid, kind, body_format, header, batch_size)
    try:
        if source.columns is not None:
            checker.check_columns(source.columns, source.name)
        database.executescript(_SCHEMA)
        _Reading(checker, database, valid, prepared, body_format).read(source)
        _settle_duplicates(checker, database, valid, prepared, on_duplicate)
    except BaseException:
        prepared.close()
        raise
    finally:
        source.close()
    return prepared


def check_batch_options(batch_size: int, on_duplicate: str) -> None:
    """Check what a DAG says about batches, before there is any row.

    :raises ValueError: a batch size that is no positive whole number, or an unknown way with duplicates.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r}: it must be a whole number of rows, 1 or more")
    if on_duplicate not in get_args(OnDuplicate):
        raise ValueError(f"on_duplicate={on_duplicate!r}: it must be one of {', '.join(get_args(OnDuplicate))}")


class _Reading:
    """Reads a source to its end: records to the valid rows, what cannot be sent to the rejects."""

    def __init__(
        self,
        checker: Checker,
        database: sqlite3.Connection,
        valid: ValidRows,
        prepared: Prepared,
        body_format: BodyFormat,
    ) -> None:
        self._checker = checker
        self._database = database
        self._valid = valid
        self._prepared = prepared
        self._body_format = body_format
        self._pace = Pace()

    def read(self, source: Source) -> None:
        if source.lines is not None and (columnwise := Columnwise.of(self._checker, source)):
            source.lines.pour(lambda lines: self._read_lines(columnwise, lines))
            return
        # A source that cannot tell its columns beforehand tells them row by row; dict keeps their order.
        seen: dict[Any, None] | None = {} if source.columns is None else None
        self._read_rows(source.rows, seen)
        if seen is not None and self._prepared.rows_read:
            self._checker.check_columns(tuple(map(str, seen)), source.name)

    def _read_lines(self, columnwise: Columnwise, lines: str) -> None:
        for rows, columns, single in columnwise.pieces(lines):
            if columns is None:
                self._read_rows(single, None)
            else:
                first = self._prepared.rows_read + 1
                self._prepared.rows_read += rows
                self._take(columns, range(first, first + rows))
                self._tell()

    def _read_rows(self, rows: Iterable[Mapping[str, Any] | MalformedRow], seen: dict[Any, None] | None) -> None:
        records: dict[int, Record] = {}
        rejects: list[Reject] = []
        for number, row in enumerate(rows, start=self._prepared.rows_read + 1):
            self._prepared.rows_read = number
            checked: Record | list[Reject]
            if isinstance(row, MalformedRow):
                checked = [Reject(number, "", reject_value(row.text), row.reason)]
            else:
                checked = self._checker.check(number, row)
                if seen is not None and not seen.keys() >= row.keys():
                    seen.update(dict.fromkeys(row))
            if isinstance(checked, Record):
                records[number] = checked
            else:
                self._prepared.rows_invalid += 1
                rejects += checked
            if number % _CHUNK_ROWS == 0:
                self._flush(records, rejects)
        self._flush(records, rejects)

    def _flush(self, records: dict[int, Record], rejects: list[Reject]) -> None:
        if records:
            self._take([list(map(written, column)) for column in zip(*records.values(), strict=True)], list(records))
            records.clear()
        if rejects:
            _insert(self._database, rejects)
            rejects.clear()
        report("rows read", self._prepared.rows_read)
        self._tell()

    def _tell(self) -> None:
        if self._pace.due():
            log.info(
                "Read %d rows so far (%.0f s), %d of them cannot be sent",
                self._prepared.rows_read,
                self._pace.seconds,
                self._prepared.rows_invalid,
            )

    def _take(self, columns: Columns, numbers: Sequence[int]) -> None:
        ids, _, _, days, _ = columns
        self._valid.add(ids, days, encode_lines(columns, self._checker.kind, self._body_format), numbers)


def _settle_duplicates(
    checker: Checker, database: sqlite3.Connection, valid: ValidRows, prepared: Prepared, on_duplicate: OnDuplicate
) -> None:
    rejects = sort_out(database, valid.settle(), on_duplicate, checker.columns[UpdateField.EXTERNAL_ID])
    count = _insert(database, rejects)
    if count:
        valid.drop(leaving(database, valid.ordered))
    if on_duplicate == "fail":
        prepared.rows_invalid += count
        prepared.rows_duplicate = count
    else:
        prepared.rows_superseded = count


def _insert(database: sqlite3.Connection, rejects: Iterable[Reject]) -> int:
    database.execute("BEGIN")
    count = database.executemany(_INSERT_REJECT, map(astuple, rejects)).rowcount
    database.execute("COMMIT")
    return count
