"""How far long work has come, for whoever shows it while it goes on: the command line does, a task has its log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int | None], None]
"""Is told what is counted, how many there are by now, and how many there will be, where that is known."""

_listener: ContextVar[Listener | None] = ContextVar("achieveit_progress", default=None)


def report(what: str, done: int, total: int | None = None) -> None:
    """Tell how far the work has come; costs next to nothing where nobody listens.

    :param what: what is counted, such as ``batches sent``.
    :param done: how many by now.
    :param total: how many there will be, default: nobody knows.
    """
    if listener := _listener.get():
        listener(what, done, total)


@contextmanager
def told_to(listener: Listener | None) -> Iterator[None]:
    """Let a listener be told of all work of the block; None: nobody."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
