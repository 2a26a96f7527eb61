"""Rows as lines of text, checked column by column: what makes a million rows of a database quick.

There are no other rules here than the :class:`~.record.Checker`'s. A column of a piece of lines is handed to its check
as a whole where that proves the same, else each of its distinct values once. Where anything is refused, nothing is
decided: the piece is cut into smaller ones, and what is left goes the way of single rows, which tells why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_achieveit.api.contract import UpdateField
from airflow_provider_achieveit.updates.encode import written
from airflow_provider_achieveit.updates.record import Checker
from airflow_provider_achieveit.updates.sources import Lines, Source, text_of_field

Columns = list[Sequence[str]]
"""The fields of some records as they are written, in the order of :class:`~..api.contract.UpdateField`."""

_PARTS = 16
"""Into so many a piece is cut, and one of no more rows is not."""

# Numbers as they are written, a line break behind each: what a check would make of them is the same text. No field of a
# line has a line break in it. Zero has no sign.
_FRACTION = r"(?:\.[0-9]{1,90})?"
_PLAIN_NUMBERS = re.compile(
    rf"(?:-?[1-9][0-9]{{0,89}}{_FRACTION}\n|0{_FRACTION}\n|-0\.0{{0,79}}[1-9][0-9]{{0,9}}\n|\n)*+"
)


class Columnwise:
    """Checks the lines of a source.

    :param checker: what makes a row a record.
    :param names: the columns of the source.
    :param lines: its lines.
    """

    def __init__(self, checker: Checker, names: Sequence[str], lines: Lines) -> None:
        self._width = len(names)
        self._read: dict[str, tuple[int, Callable[[str], Any] | None]] = {}
        self._columns: list[tuple[int | None, _Column]] = []
        for field, (name, check) in zip(UpdateField, checker.fields, strict=True):
            at = names.index(name) if name in names else None
            read = None if at is None else lines.readers[at]
            if name is not None and at is not None:
                self._read[name] = (at, read)
            self._columns.append((at, _Column(field, check, read)))

    @classmethod
    def of(cls, checker: Checker, source: Source) -> Columnwise | None:
        """Return what checks a source's lines; None where it has none, or of a type that cannot be read from them."""
        if source.lines is None or source.columns is None:
            return None
        columnwise = cls(checker, source.columns, source.lines)
        return columnwise if all(read for _, read in columnwise._read.values()) else None

    def pieces(self, lines: str) -> Iterator[tuple[int, Columns | None, list[Mapping[str, Any]]]]:
        """Cut lines into pieces that are surely good, and rows that must be looked at one by one.

        :param lines: whole lines, a newline after each.
        :return: in their order: how many rows; the fields of their records as they are written; where these are None,
            the rows.
        """
        count = lines.count("\n")
        columns = self._checked(lines, count)
        if columns is not None:
            yield count, columns, []
            return
        single = lines.split("\n")[:-1]
        if count <= _PARTS:
            yield count, None, list(map(self._row, single))
            return
        size = -(-count // _PARTS)
        for start in range(0, count, size):
            yield from self.pieces("\n".join([*single[start : start + size], ""]))

    def _checked(self, lines: str, count: int) -> Columns | None:
        # Nothing is what NULL is, for every check.
        fields = f"\n{lines}".replace("\n\\N", "\n").replace("\t\\N", "\t")[1:-1].replace("\n", "\t").split("\t")
        if len(fields) != count * self._width:
            raise ValueError(f"the source gave {len(fields)} fields in {count} rows of {self._width}")
        try:
            return [
                column.written([""] * count if at is None else fields[at :: self._width])
                for at, column in self._columns
            ]
        except ValueError:  # InvalidValue, or an integer too long to become text
            return None

    def _row(self, line: str) -> Mapping[str, Any]:
        fields = line.split("\t")
        row = {}
        for name, (at, read) in self._read.items():
            text = text_of_field(fields[at])
            row[name] = text if text is None or read is None else read(text)
        return row


class _Column:
    def __init__(self, field: UpdateField, check: Callable[[Any], Any], read: Callable[[str], Any] | None) -> None:
        self._check = check
        self._read = read
        self._is_number = field is UpdateField.METRIC_VALUE and read is not float
        self._is_text = (field is UpdateField.COMMENT and read is str) or (
            field is UpdateField.EXTERNAL_ID and read in (str, int)
        )
        try:
            check(None)
            self._takes_null = True
        except ValueError:
            self._takes_null = False

    def written(self, column: list[str]) -> Sequence[str]:
        """Return the fields of a column as they are written.

        :raises ValueError: any of them is refused.
        """
        if self._is_written(column):
            return column
        of = {field: self._written(field) for field in set(column)}
        return list(map(of.__getitem__, column))

    def _written(self, field: str) -> str:
        text = text_of_field(field) or None
        return written(self._check(text if text is None or self._read is None else self._read(text)))

    def _is_written(self, column: list[str]) -> bool:
        """Tell whether all fields of a column are surely written as they are."""
        if not (self._takes_null or all(column)):
            return False
        if self._is_number:
            return _PLAIN_NUMBERS.fullmatch("\n".join([*column, ""])) is not None
        if not self._is_text or any(map(str.isspace, column)):
            return False
        # The checks of texts give them back as they are or refuse them; what they find nothing wrong with in texts that
        # are joined by blanks, is wrong with none of them.
        joined = " ".join(column)
        if "\\" in joined:
            return False
        try:
            self._check(joined)
        except ValueError:
            return False
        return True
