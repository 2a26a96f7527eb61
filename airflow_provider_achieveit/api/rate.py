"""No more requests a minute than the connection allows, on one machine: across processes, threads and event loops.

Airflow 3 runs each task in a process of its own, and thousands of triggers in one: so the count is in a file. Neither
pyrate-limiter nor limits does this: the SQLite bucket of the first shares a connection between forked processes and a
lock between threads and waits with blocking calls, the second counts across processes only by Redis and its like.

The file holds the time of each request of the last minute, as plain numbers. It is locked for the microseconds of one
look, by a lock that the kernel takes away from a process that dies; nobody waits with the lock, so nobody who is
killed while waiting holds anything. Times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import random
import stat
import tempfile
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind

log = logging.getLogger(__name__)

_MINUTE = 60.0
_LOCKED = 0.005
"""Seconds: another process is looking into the file just now."""
_JITTER = 0.02
"""So that those who wait for the same moment do not come as one."""
_SIZE = array("d").itemsize
_held_until: dict[str, float] = {}
"""By file: until when requests of this process were held back last; a task makes many clients."""


class HeldBackError(ApiError):
    """A request was not sent, as its turn did not come before its patience ended; worth repeating."""


class RateLimit:
    """How many requests may go out in any stretch of time, for all that use the same server and key.

    :param config: whose ``max_requests_per_minute`` counts; None there: no limit.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.limit = config.max_requests_per_minute
        self.window = _MINUTE
        # The same host may be written in several ways. Only a hash: the key must be in no file name.
        host = urlsplit(config.base_url)
        whose = f"{host.hostname}:{host.port or 443}\n{config.api_key}"
        self._name = hashlib.sha256(whose.encode()).hexdigest()[:32]

    def turn(self, patience: float | None = None) -> Turn:
        """Return what one request has to wait for.

        :param patience: seconds after which the request is of no use any more (default: it waits).
        """
        return Turn(self, patience)

    def take(self) -> tuple[float, int]:
        """Look whether a request may go now, and write it down if so.

        :return: the seconds to wait before the next look, 0 if the request may go, and then its place in the file.
        """
        try:
            path = self._path()
            path.touch(mode=0o600)
            with path.open("r+b", buffering=0) as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return random.uniform(_LOCKED / 5, _LOCKED), -1  # noqa: S311 - no secret
                try:
                    content = file.read()
                    now = time.monotonic()
                    pause, place = self._room(array("d", content[: len(content) // _SIZE * _SIZE]), now)
                    if not pause:
                        _write(file.fileno(), place, now)
                    return pause, place
                finally:
                    # Not left to the closing: a child that was forked just now has the file open too.
                    fcntl.flock(file, fcntl.LOCK_UN)
        except OSError as error:
            raise _unusable(error) from None

    def _room(self, times: array[float], now: float) -> tuple[float, int]:
        # One from the future was written before the machine's last start.
        counts = [now - self.window < at < now + self.window for at in times]
        if self.limit is not None and sum(counts) >= self.limit:
            recent = sorted(at for at, counted in zip(times, counts, strict=True) if counted)
            return max(recent[-self.limit] + self.window - now, _LOCKED), -1
        return 0.0, counts.index(False) if False in counts else len(times)

    def answered(self, place: int) -> None:
        """Count a request from its answer on: when it arrived at the server is not known, but it was before that.

        :param place: its place in the file.
        """
        try:
            with self._path().open("r+b", buffering=0) as file:
                _write(file.fileno(), place, time.monotonic())
        except OSError as error:
            # It counts from its start on, then; no reason to lose the answer.
            log.debug("The end of a request could not be written down: %s", error)

    def tell(self, pause: float) -> None:
        """Log that requests are held back, when that begins."""
        now = time.monotonic()
        if now - _held_until.get(self._name, float("-inf")) > self.window:
            log.info(
                "Holding requests back: the connection allows %s a minute (max_requests_per_minute), for all tasks on "
                "this machine together; the next may go in %.1f s",
                self.limit,
                pause,
            )
        _held_until[self._name] = now + pause

    def _path(self) -> Path:
        return _private_directory() / self._name


class Turn:
    """One request's turn: make the pauses of :meth:`pauses`, send it, and say :meth:`answered` in any case.

    The same for threads and event loops, which pause each in their way.

    :param rate: the limit.
    :param patience: seconds after which the request is of no use any more; None: it waits.
    """

    def __init__(self, rate: RateLimit, patience: float | None) -> None:
        self._rate = rate
        self._until = float("inf") if patience is None else time.monotonic() + patience
        self._place = -1

    def pauses(self) -> Iterator[float]:
        """Give the seconds to wait, again and again, until the request may go.

        :raises HeldBackError: it may not go before its patience ends.
        :raises ApiError: the count cannot be kept.
        """
        while self._rate.limit is not None:
            pause, self._place = self._rate.take()
            if not pause:
                return
            if time.monotonic() + pause > self._until:
                raise self.too_late()
            if pause > _LOCKED:
                self._rate.tell(pause)
                pause += random.uniform(0, _JITTER)  # noqa: S311 - no secret
            yield pause

    def patience(self) -> float | None:
        """Return the seconds of patience that are left, None where there is no end of it."""
        return None if self._until == float("inf") else max(self._until - time.monotonic(), _LOCKED)

    def answered(self) -> None:
        """Say that the answer is there, or that none will come."""
        if self._place >= 0:
            self._rate.answered(self._place)

    def too_late(self) -> HeldBackError:
        """Return the error of a request whose turn does not come in time."""
        return HeldBackError(
            Failure(
                FailureKind.UNAVAILABLE,
                f"not asked: the connection's max_requests_per_minute ({self._rate.limit}) leaves no room for this "
                "request before its time is up",
                retryable=True,
            )
        )


def _write(descriptor: int, place: int, moment: float) -> None:
    os.pwrite(descriptor, array("d", [moment]).tobytes(), place * _SIZE)


def _private_directory() -> Path:
    directory = Path(tempfile.gettempdir()) / f"achieveit-rate-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    # The temporary directory is open to all: somebody else may have put something in this place.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(f"{directory} is not a private directory of this user")
    return directory


def _unusable(error: OSError) -> ApiError:
    return ApiError(
        Failure(
            FailureKind.REQUEST,
            f"the connection's max_requests_per_minute needs a file in the temporary directory to count in ({error}); "
            "mend that, set TMPDIR, or leave the field empty",
        )
    )
