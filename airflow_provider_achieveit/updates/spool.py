"""All rows checked before the first batch is handed out, with memory that does not grow with their number.

Checked records and rejects go to a private temporary SQLite database, which finds duplicates too. The file has no name:
it vanishes with the process, however that ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from hashlib import sha256
from types import TracebackType
from typing import Any, Literal, Self, get_args

from airflow_provider_achieveit.api.contract import BodyFormat, UpdateField, UpdateKind
from airflow_provider_achieveit.updates.encode import Texts, encode_texts, record_texts
from airflow_provider_achieveit.updates.record import Checker, Record
from airflow_provider_achieveit.updates.rejects import Reject, reject_value
from airflow_provider_achieveit.updates.sources import MalformedRow, Source

OnDuplicate = Literal["fail", "last", "first"]

_CHUNK_ROWS = 2000
_TOLD_ROWS = 6
"""Of the rows that are duplicates of each other, this many are named."""

_FIELDS = ", ".join(UpdateField)
_KEY = f"{UpdateField.EXTERNAL_ID}, {UpdateField.AS_OF_DATE}"
_SCHEMA = f"""
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    CREATE TABLE records ("row" INTEGER PRIMARY KEY, {_FIELDS});
    CREATE TABLE rejects ("row" INTEGER, "column" TEXT, value TEXT, reason TEXT);
"""
_INSERT_RECORD = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_REJECT = "INSERT INTO rejects VALUES (?, ?, ?, ?)"
_FIND_TWINS = f"""
    CREATE TABLE twins AS
    SELECT "row", {_KEY}, total, first, last,
           group_concat("row", ', ') FILTER (WHERE place <= {_TOLD_ROWS}) OVER (PARTITION BY {_KEY}) AS told
    FROM (
        SELECT "row", {_KEY},
               row_number() OVER (PARTITION BY {_KEY} ORDER BY "row") AS place,
               count(*) OVER (PARTITION BY {_KEY}) AS total,
               min("row") OVER (PARTITION BY {_KEY}) AS first,
               max("row") OVER (PARTITION BY {_KEY}) AS last
        FROM records
        JOIN (SELECT {_KEY} FROM records GROUP BY {_KEY} HAVING count(*) > 1) USING ({_KEY})
    )
"""


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
        kind: UpdateKind,
        body_format: BodyFormat,
        header: bool,
        batch_size: int,
        ordered: bool,
    ) -> None:
        self._database = database
        self._order = '"row"' if ordered else _KEY
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
        cursor = self._database.execute(f"SELECT * FROM records ORDER BY {self._order}")
        number = 0
        while rows := cursor.fetchmany(self._batch_size):
            number += 1
            texts: list[Texts] = [row[1:] for row in rows]
            body = encode_texts(texts, self._kind, self._body_format, self._header)
            numbers = [row[0] for row in rows]
            yield Batch(number, body, len(rows), sha256(body).hexdigest(), min(numbers), max(numbers))

    def close(self) -> None:
        """Drop everything; the object is of no use then but for its counts."""
        self._database.close()

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
    try:
        if source.columns is not None:
            checker.check_columns(source.columns, source.name)
        database.executescript(_SCHEMA)
        prepared = Prepared(database, kind, body_format, header, batch_size, source.ordered)
        _read(source, checker, database, prepared)
        _settle_duplicates(checker, database, prepared, on_duplicate)
    except BaseException:
        database.close()
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


def _read(source: Source, checker: Checker, database: sqlite3.Connection, prepared: Prepared) -> None:
    records: list[tuple[int | str | None, ...]] = []
    rejects: list[tuple[int | str, ...]] = []
    # A source that cannot tell its columns beforehand tells them row by row; dict keeps their order.
    seen: dict[Any, None] | None = {} if source.columns is None else None
    number = 0

    def flush() -> None:
        database.execute("BEGIN")
        database.executemany(_INSERT_RECORD, records)
        database.executemany(_INSERT_REJECT, rejects)
        database.execute("COMMIT")
        records.clear()
        rejects.clear()

    for number, row in enumerate(source.rows, start=1):
        checked: Record | list[Reject]
        if isinstance(row, MalformedRow):
            checked = [Reject(number, "", reject_value(row.text), row.reason)]
        else:
            checked = checker.check(number, row)
            if seen is not None and not seen.keys() >= row.keys():
                seen.update(dict.fromkeys(row))
        if isinstance(checked, Record):
            records.append((number, *record_texts(checked)))
        else:
            prepared.rows_invalid += 1
            rejects.extend(map(astuple, checked))
        if number % _CHUNK_ROWS == 0:
            flush()
    flush()
    prepared.rows_read = number
    if seen is not None and number:
        checker.check_columns(tuple(map(str, seen)), source.name)


def _settle_duplicates(
    checker: Checker, database: sqlite3.Connection, prepared: Prepared, on_duplicate: OnDuplicate
) -> None:
    database.execute(_FIND_TWINS)
    kept = {"fail": "NULL", "last": "last", "first": "first"}[on_duplicate]
    leaving = f'SELECT "row", {_KEY}, total, told, {kept} AS kept FROM twins WHERE "row" IS NOT kept ORDER BY "row"'
    column = checker.columns[UpdateField.EXTERNAL_ID]
    rejects = (
        astuple(Reject(row, column, external_id, _duplicate_reason(row, day, total, told, kept)))
        for row, external_id, day, total, told, kept in database.execute(leaving)
    )
    database.execute("BEGIN")
    count = database.executemany(_INSERT_REJECT, rejects).rowcount
    database.execute(f'DELETE FROM records WHERE "row" IN (SELECT "row" FROM ({leaving}))')
    database.execute("COMMIT")
    if on_duplicate == "fail":
        prepared.rows_invalid += count
        prepared.rows_duplicate = count
    else:
        prepared.rows_superseded = count


def _duplicate_reason(row: int, day: str, total: int, told: str, kept: int | None) -> str:
    if kept is not None:
        return f"superseded by row {kept}, which has the same external id and as-of date {day}"
    others = [other for other in told.split(", ") if other != str(row)]
    more = total - 1 - len(others)
    return (
        f"the same external id and as-of date {day} as row{'s' if total > 2 else ''} {', '.join(others)}"
        f"{f' and {more} more' if more else ''}; an item takes one update a day: "
        "mend the source, or set on_duplicate to 'last' or 'first'"
    )
