"""When long work says in the log how far it has come."""

from __future__ import annotations

import time

INTERVAL = 30.0
"""Seconds between two such lines: quick work says nothing but its end, long work is never silent for minutes."""


class Pace:
    """Tells when the next line is due, counted from its making."""

    def __init__(self) -> None:
        self.began = self._last = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self.began

    def due(self) -> bool:
        """Tell whether a line is due; if so, the next one is due :data:`INTERVAL` seconds later."""
        now = time.monotonic()
        if now - self._last < INTERVAL:
            return False
        self._last = now
        return True
