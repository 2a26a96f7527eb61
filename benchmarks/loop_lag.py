"""A trigger that tells how late it wakes, and so how long the event loop of its triggerer did not turn."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

STEP = 0.01


class LoopLagTrigger(BaseTrigger):
    """Sleep 10 ms again and again; append pairs of the time and the seconds it woke late to a file, as doubles.

    :param path: the file.
    :param max_sockets: try this limit of connections in the place of the provider's own.
    """

    def __init__(self, path: str, max_sockets: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path, self.max_sockets = path, max_sockets

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "loop_lag.LoopLagTrigger", {"path": self.path, "max_sockets": self.max_sockets}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        if self.max_sockets is not None:
            from airflow_provider_achieveit.api import session

            session._MAX_SOCKETS = self.max_sockets
        clock = asyncio.get_running_loop().time
        # Such a write takes microseconds.
        with Path(self.path).open("ab", buffering=0) as file:  # noqa: ASYNC230
            while self.path:
                due = clock() + STEP
                await asyncio.sleep(STEP)
                file.write(array("d", [time.time(), clock() - due]).tobytes())
        yield TriggerEvent(None)


def lags(path: Path, begin: float, end: float) -> list[float]:
    """Return how late wakings between two moments were, in order; those that a long one left out are counted too.

    :param path: what the trigger wrote.
    :param begin: seconds since the epoch.
    :param end: likewise; who should have woken before it counts whenever it woke.
    """
    told = array("d")
    content = path.read_bytes()
    told.frombytes(content[: len(content) // 16 * 16])
    found = []
    for moment, late in zip(told[::2], told[1::2], strict=True):
        if moment >= begin and moment - late < end:
            found += [late - STEP * missed for missed in range(1 + int(late / STEP))]
    return sorted(found)
