"""Updates of one item and one day: which of them are sent, and what is told about the others."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Literal

from airflow_provider_achieveit.updates.rejects import Reject

OnDuplicate = Literal["fail", "last", "first"]

_TOLD_ROWS = 6
"""Of the rows that are duplicates of each other, this many are named."""
_SORT_OUT = f"""
    CREATE TABLE leaving AS
    SELECT "row", id, day, total, kept,
           group_concat("row", ', ') FILTER (WHERE place <= {_TOLD_ROWS}) OVER (PARTITION BY id, day) AS told
    FROM (
        SELECT "row", id, day,
               row_number() OVER (PARTITION BY id, day ORDER BY "row") AS place,
               count(*) OVER (PARTITION BY id, day) AS total,
               {{kept}} AS kept
        FROM twins
    )
"""
_KEPT_ROW = {
    "fail": "NULL",
    "last": 'max("row") OVER (PARTITION BY id, day)',
    "first": 'min("row") OVER (PARTITION BY id, day)',
}


def sort_out(
    database: sqlite3.Connection, twins: Iterable[tuple[int, str, str]], on_duplicate: OnDuplicate, column: str
) -> Iterator[Reject]:
    """Find out which rows must leave, and tell why, in the order of the rows.

    :param database: where to do so; it grows two tables.
    :param twins: number, external id and day of each row whose id and day another one has; some perhaps twice.
    :param on_duplicate: which row stays: none, the last or the first.
    :param column: the source's column of external ids.
    """
    database.execute('CREATE TABLE twins ("row" INTEGER PRIMARY KEY, id, day)')
    database.execute("BEGIN")
    database.executemany("INSERT OR IGNORE INTO twins VALUES (?, ?, ?)", twins)
    database.execute("COMMIT")
    database.execute(_SORT_OUT.format(kept=_KEPT_ROW[on_duplicate]))
    database.execute('DELETE FROM leaving WHERE "row" IS kept')
    return (
        Reject(row, column, external_id, _reason(row, day, total, told, kept))
        for row, external_id, day, total, kept, told in database.execute('SELECT * FROM leaving ORDER BY "row"')
    )


def leaving(database: sqlite3.Connection, ordered: bool) -> Iterator[int]:
    """Give the rows that must leave, after :func:`sort_out`.

    :param database: the same.
    :param ordered: in the order of the rows; else in that of external id and day.
    """
    for (row,) in database.execute(f'SELECT "row" FROM leaving ORDER BY {"" if ordered else "id, day, "}"row"'):
        yield row


def _reason(row: int, day: str, total: int, told: str, kept: int | None) -> str:
    if kept is not None:
        return f"superseded by row {kept}, which has the same external id and as-of date {day}"
    others = [other for other in told.split(", ") if other != str(row)]
    more = total - 1 - len(others)
    return (
        f"the same external id and as-of date {day} as row{'s' if total > 2 else ''} {', '.join(others)}"
        f"{f' and {more} more' if more else ''}; an item takes one update a day: "
        "mend the source, or set on_duplicate to 'last' or 'first'"
    )
