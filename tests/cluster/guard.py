"""Ends the sessions of a cluster when the test process has ended, in whatever way.

A program of its own, in a session of its own: it reads ``session <id>``, ``forget <id>`` and ``drop <database>`` from
its input until that ends, which it does when the test process closes it, is interrupted or is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import psutil
import psycopg2

_PATIENCE = 5.0


def members(sessions: set[int]) -> list[int]:
    """Return the processes of the sessions, as far as they live."""
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) in sessions and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except (OSError, psutil.Error):
            continue
    return found


def signal_all(sessions: set[int], number: int) -> None:
    """Send a signal to every process of the sessions; stopped ones go on, so that they hear it."""
    for pid in members(sessions):
        for one in (number, signal.SIGCONT):
            try:
                os.kill(pid, one)
            except OSError:
                break


def end(sessions: set[int], patience: float = _PATIENCE) -> None:
    """Ask the processes of the sessions to end, and kill what has not ended in time."""
    signal_all(sessions, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while members(sessions):
        if time.monotonic() > deadline:
            signal_all(sessions, signal.SIGKILL)
        time.sleep(0.1)


def drop(server: str, databases: list[str]) -> None:
    """Drop databases, and whoever still uses them."""
    if databases:
        connection = psycopg2.connect(server, connect_timeout=10)
        connection.autocommit = True
        for name in databases:
            connection.cursor().execute(f'drop database if exists "{name}" with (force)')
        connection.close()


def main() -> None:
    """Wait for the end of the test process, then clear up after it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions: set[int] = set()
    databases: list[str] = []
    for line in sys.stdin:
        what, _, value = line.strip().partition(" ")
        if what == "session":
            sessions.add(int(value))
        elif what == "forget":
            sessions.discard(int(value))
        elif what == "drop":
            databases.append(value)
    end(sessions)
    drop(os.environ["TEST_POSTGRES_URL"], databases)


if __name__ == "__main__":
    main()
