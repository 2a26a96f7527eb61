"""What the frames of an error show: some printers of tracebacks show the variables in them, too."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cleared_frames() -> Iterator[None]:
    """Let an error leave the block with its traceback, but without the variables of what was called in the block.

    For calls that see the key, or whose libraries do: theirs hold the headers. Airflow's log on a terminal, rich and
    Sentry print variables. Files, lines, messages and causes stay. The frame of the block itself is not cleared.
    """
    # What was being handled before is not ours to clear.
    before = sys.exception()
    try:
        yield
    except BaseException as error:
        for each in _chain(error, before):
            traceback.clear_frames(each.__traceback__)
        raise


def _chain(error: BaseException, before: BaseException | None) -> list[BaseException]:
    """Return an error, what it came of, and what was being handled when it came, but not what was handled before."""
    chain: list[BaseException] = []
    behind: list[BaseException | None] = [error]
    while behind:
        found = behind.pop()
        if found is None or found is before or any(found is known for known in chain):
            continue
        chain.append(found)
        behind += [found.__cause__, found.__context__]
        if isinstance(found, BaseExceptionGroup):
            behind += found.exceptions
    return chain
