"""Where rows come from: SQL, files, or rows at hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
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
class Lines:
    """The rows of a source as text, as PostgreSQL's COPY writes it: a line a row, tabs between the fields.

    :param readers: for each column, what makes the value of its text; None for a type whose text is not understood.
    :param pour: hands all lines to a function, many whole lines at a time, a newline after each.
    """

    readers: tuple[Callable[[str], Any] | None, ...]
    pour: Callable[[Callable[[str], object]], None]


@dataclass(frozen=True, slots=True)
class Source:
    """Rows to be read once.

    :param name: what to call the source in a message.
    :param columns: its columns in their order, duplicates included; None where only the rows tell.
    :param rows: column name to value, row by row.
    :param ordered: whether the rows come in the same order whenever they are the same rows. A retry must make the same
        batches again, or it would apply their updates twice.
    :param lines: the same rows as text, where the source has them so; to be read instead of ``rows``.
    """

    name: str
    columns: tuple[str, ...] | None
    rows: Iterator[Mapping[str, Any] | MalformedRow]
    ordered: bool = True
    lines: Lines | None = None

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

    A stream that yields nothing at all has no rows, and columns that nobody knows.

    A stream that has begun holds its file or cursor in a ``finally``, which runs at its end or when it is dropped.
    """
    columns = tuple(next(stream, ())) or None
    return Source(name, columns, stream, ordered)


_ESCAPED = re.compile(r"\\(.)")
_CONTROL_CHARACTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def text_of_field(field: str) -> str | None:
    """Return the text that a field of :class:`Lines` stands for; None for NULL."""
    if "\\" not in field:
        return field
    if field == "\\N":
        return None
    return _ESCAPED.sub(lambda found: _CONTROL_CHARACTERS.get(found[1], found[1]), field)
