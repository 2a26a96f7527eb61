"""What a program shows to a person in front of a terminal."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Give both ends of a new terminal: ours, and that of the program."""
    own, others = pty.openpty()
    try:
        yield own, others
    finally:
        os.close(own)


def read_all(own: int, others: int) -> str:
    """Return all that is written to a terminal until the program, which has been started, lets go of it."""
    os.close(others)
    shown = b""
    # The end of a terminal that nobody writes to any more is an error on Linux.
    with suppress(OSError):
        while some := os.read(own, 65536):
            shown += some
    return shown.decode()
