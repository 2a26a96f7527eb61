"""Texts in their binary order, however many: an external merge sort in temporary files without a name."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from tempfile import TemporaryFile

_RUN_BYTES = 5 << 19
"""So much memory is filled before it is sorted and written as a run."""
_TEXT_BYTES = 64
"""What a text takes beside its characters."""
_RUNS = 128
"""So many runs are merged into one longer run, and so on: a piece of each of them is in memory then."""
_BLOCK_BYTES = 1 << 13
_BLOCK_TEXTS = 500


class SortedTexts:
    """Takes texts in any order and gives them back in the order of their characters, which is that of their UTF-8.

    None of the texts holds a newline.
    """

    def __init__(self) -> None:
        self._waiting: list[str] = []
        self._bytes = 0
        self._levels: list[_Runs] = []

    def add(self, texts: list[str]) -> None:
        """Take some texts."""
        self._waiting += texts
        self._bytes += sum(map(len, texts)) + _TEXT_BYTES * len(texts)
        if self._bytes > _RUN_BYTES:
            self._put(0, self._sorted())
            self._waiting, self._bytes = [], 0

    def blocks(self) -> Iterator[list[str]]:
        """Give all texts in order, some at a time."""
        return _merged([*(run for level in self._levels for run in level.runs()), self._sorted()])

    def close(self) -> None:
        """Drop the files."""
        for level in self._levels:
            level.close()

    def _sorted(self) -> Iterator[list[str]]:
        self._waiting.sort()
        return (self._waiting[at : at + _BLOCK_TEXTS] for at in range(0, len(self._waiting), _BLOCK_TEXTS))

    def _put(self, at: int, blocks: Iterator[list[str]]) -> None:
        if at == len(self._levels):
            self._levels.append(_Runs())
        level = self._levels[at]
        level.write(blocks)
        if len(level) == _RUNS:
            self._put(at + 1, _merged(level.runs()))
            level.clear()


class _Runs:
    """Sorted runs of about the same length, one after the other in a file."""

    def __init__(self) -> None:
        self._file = TemporaryFile(buffering=0)  # noqa: SIM115  closed by close
        self._ends = [0]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def write(self, blocks: Iterator[list[str]]) -> None:
        self._file.seek(self._ends[-1])
        for texts in blocks:
            if texts:
                self._file.write("\n".join([*texts, ""]).encode())
        self._ends.append(self._file.tell())

    def runs(self) -> list[Iterator[list[str]]]:
        return [self._read(start, end) for start, end in zip(self._ends, self._ends[1:], strict=False)]

    def _read(self, start: int, end: int) -> Iterator[list[str]]:
        size = _BLOCK_BYTES
        while start < end:
            self._file.seek(start)
            block = self._file.read(min(size, end - start))
            whole = block.rfind(b"\n")
            if whole < 0:  # a text longer than a block
                size *= 2
                continue
            yield block[:whole].decode().split("\n")
            start, size = start + whole + 1, _BLOCK_BYTES

    def clear(self) -> None:
        self._ends = [0]
        self._file.truncate(0)

    def close(self) -> None:
        self._file.close()


def _merged(runs: list[Iterator[list[str]]]) -> Iterator[list[str]]:
    """Merge sorted runs piece by piece: what is not after the last text in memory of any run can be given."""
    heads = [_Head(run) for run in runs]
    while heads := [head for head in heads if head.filled()]:
        limit = min(head.texts[-1] for head in heads)
        merged: list[str] = []
        for head in heads:
            taken = bisect_right(head.texts, limit)
            merged += head.texts[:taken]
            head.texts = head.texts[taken:]
        # Sorted pieces, one behind the other: to sort them is to merge them.
        merged.sort()
        yield merged


class _Head:
    """What of a run is in memory: about a block of it, lest the pieces that are merged become short."""

    def __init__(self, run: Iterator[list[str]]) -> None:
        self._run = run
        self._full = 0
        self.texts: list[str] = []

    def filled(self) -> bool:
        """Read on if half of it is taken; tell whether there is anything."""
        if 2 * len(self.texts) <= self._full:
            self.texts += next(self._run, [])
            self._full = len(self.texts)
        return bool(self.texts)
