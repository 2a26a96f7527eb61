"""The rows that may be sent, on disk, in the order in which they are sent; and which of them are there twice."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, islice
from operator import add, eq
from tempfile import TemporaryFile
from typing import IO

from airflow_provider_achieveit.updates.sorting import SortedTexts

# Below every character of an id, so that texts are in the order of id, day and number; in no line either.
_SEPARATOR = "\x1e"
# Numbers from here on have the same number of digits: the order of their texts is that of the numbers.
_FIRST_NUMBER = 10**12
_NUMBER_BYTES = 8
_BUFFER = 1 << 18
_DROP_ROWS = 1000


class ValidRows:
    """Rows as the lines of a body, each with its number in the source.

    :param ordered: keep them in the order in which they come; else they are brought into the order of external id and
        as-of date.
    """

    def __init__(self, ordered: bool) -> None:
        self.ordered = ordered
        self._keys = SortedTexts()
        self._lines = _file()
        self._numbers = _file()

    def add(self, ids: Sequence[str], days: Sequence[str], lines: Sequence[str], numbers: Iterable[int]) -> None:
        """Take some rows, each column for all of them.

        :param ids: external ids.
        :param days: as-of dates as YYYY-MM-DD.
        :param lines: the rows as they are sent; none holds a newline.
        :param numbers: their numbers in the source, ascending.
        """
        if not ids:
            return
        shifted = [_FIRST_NUMBER + number for number in numbers]
        columns = [ids, days, map(str, shifted)]
        if self.ordered:
            self._write(lines, shifted)
        else:
            columns.append(lines)
        self._keys.add(list(map(_SEPARATOR.join, zip(*columns, strict=True))))

    def settle(self) -> Iterator[tuple[int, str, str]]:
        """Bring the rows into their order, and give number, id and day of each whose id and day another one has.

        To be read to its end, before anything else is asked for.
        """
        width = 3 if self.ordered else 4
        last = ("", "", "")
        for block in self._keys.blocks():
            fields = _SEPARATOR.join(block).split(_SEPARATOR)
            ids, days, numbers = ([first, *fields[at::width]] for at, first in enumerate(last))
            last = (ids[-1], days[-1], numbers[-1])
            if not self.ordered:
                self._write(fields[3::width], map(int, fields[2::width]))
            # All days are of the same length: no two pairs of id and day make the same text.
            keys = list(map(add, ids, days))
            if any(map(eq, keys, islice(keys, 1, None))):
                for at in range(1, len(keys)):
                    if keys[at] == keys[at - 1]:
                        for twin in (at - 1, at):
                            yield int(numbers[twin]) - _FIRST_NUMBER, ids[twin], days[twin]
        self._keys.close()

    def drop(self, numbers: Iterator[int]) -> None:
        """Drop rows.

        :param numbers: their numbers in the source, in the order of the rows.
        """
        old_lines, self._lines = self._lines, _file()
        old_numbers, self._numbers = self._numbers, _file()
        with old_lines, old_numbers:
            leaving = next(numbers, None)
            for lines, shifted in _read(old_lines, old_numbers, _DROP_ROWS):
                stays = []
                for number in shifted:
                    stays.append(number - _FIRST_NUMBER != leaving)
                    if not stays[-1]:
                        leaving = next(numbers, None)
                self._lines.writelines(compress(lines.splitlines(keepends=True), stays))
                self._numbers.write(array("q", compress(shifted, stays)).tobytes())

    def batches(self, size: int) -> Iterator[tuple[bytes, int, int, int]]:
        """Give the rows in their order, some at a time; each call begins anew.

        :param size: how many at a time.
        :return: the lines, a newline after each; how many there are; the lowest and the highest of their numbers.
        """
        for lines, shifted in _read(self._lines, self._numbers, size):
            yield lines, len(shifted), min(shifted) - _FIRST_NUMBER, max(shifted) - _FIRST_NUMBER

    def close(self) -> None:
        """Drop the files."""
        self._keys.close()
        self._lines.close()
        self._numbers.close()

    def _write(self, lines: Sequence[str], shifted: Iterable[int]) -> None:
        self._lines.write("\n".join([*lines, ""]).encode())
        self._numbers.write(array("q", shifted).tobytes())


def _file() -> IO[bytes]:
    return TemporaryFile(buffering=_BUFFER)


def _read(lines: IO[bytes], numbers: IO[bytes], size: int) -> Iterator[tuple[bytes, array[int]]]:
    at = row = 0
    while True:
        # Another reader may have moved on in the same files.
        lines.seek(at)
        numbers.seek(row * _NUMBER_BYTES)
        some = b"".join(islice(lines, size))
        if not some:
            return
        yield some, (shifted := array("q", numbers.read(size * _NUMBER_BYTES)))
        at, row = at + len(some), row + len(shifted)
