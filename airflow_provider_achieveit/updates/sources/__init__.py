"""Where rows come from: SQL, files, or rows at hand."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CHUNK_ROWS = 5000
"""Rows that a source holds in memory at once."""


@dataclass(frozen=True, slots=True)
class MalformedRow:
    """What stands where a row should be and cannot be told apart into columns: rejected, while other rows go on.

    :param text: what stands there.
    :param reason: what is wrong with it.
    """

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """Rows to be read once.

    :param name: what to call the source in a message.
    :param columns: its columns in their order, duplicates included; None where only the rows tell.
    :param rows: column name to value, row by row.
    :param ordered: whether the rows come in the same order whenever they are the same rows. A retry must make the same
        batches again, or it would apply their updates twice.
    """

    name: str
    columns: tuple[str, ...] | None
    rows: Iterator[Mapping[str, Any] | MalformedRow]
    ordered: bool = True

    def close(self) -> None:
        """Let go of the file or cursor behind the rows, read to the end or not."""
        if isinstance(self.rows, Generator):
            self.rows.close()


def columns_of(rows: Iterable[Mapping[Any, Any]]) -> tuple[str, ...] | None:
    """Return every column that any of some rows has, in the order of their first appearance; None without rows."""
    seen: dict[Any, None] = {}
    for row in rows:
        if not seen.keys() >= row.keys():
            seen.update(dict.fromkeys(row))
    return tuple(map(str, seen)) or None


def source_of_stream(name: str, stream: Iterator[Any], *, ordered: bool = True) -> Source:
    """Return the source whose columns are the first thing that a stream yields, and whose rows are the rest.

    A stream that has begun holds its file or cursor in a ``finally``, which runs at its end or when it is dropped.
    """
    columns = tuple(next(stream))
    return Source(name, columns, stream, ordered)
