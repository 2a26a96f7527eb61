"""Programs of a cluster, each in a session of its own, that end for sure when the test process does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil

from tests.cluster import guard
from tests.postgres import POSTGRES_URL

_T = TypeVar("_T")
ROOT = Path(__file__).parents[2]
_LINES_TOLD = 25


def until(look: Callable[[], _T], *, seconds: float, what: str, pause: float = 0.5) -> _T:
    """Look again and again until there is something, and return it; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(pause)
    return seen


class Program:
    """A running program and all that it starts.

    :param name: what it is called in messages; its output goes to ``<name>.log``.
    :param process: its first process, leader of its session.
    :param log_file: its output.
    :param forget: called as soon as nothing of it is left, before its id can be another's.
    """

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], log_file: Path, forget: Callable[[int], None]
    ) -> None:
        self.name = name
        self._log_file = log_file
        self._process = process
        self._forget = forget
        self._may_end = False

    def output(self) -> str:
        """Return all it has written."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    def ended(self) -> bool:
        """Tell whether it has ended well by itself, as it was to do; fail if it has ended otherwise."""
        self._may_end = self._may_end or self._process.poll() == 0
        self.check()
        return self._may_end

    def check(self) -> None:
        """Fail if it has ended by itself."""
        if self._process.poll() is not None and not self._may_end:
            told = "\n".join(self.output().splitlines()[-_LINES_TOLD:])
            raise AssertionError(f"{self.name} has ended with code {self._process.returncode}:\n{told}")

    def kill(self) -> None:
        """SIGKILL to all its processes at once, as when the machine is gone."""
        self._may_end = True
        while guard.members({self._process.pid}):
            guard.signal_all({self._process.pid}, signal.SIGKILL)
            time.sleep(0.05)
        self._forget(self._process.pid)
        self._process.wait()

    def taken_down(self) -> None:
        """Take note that somebody else has ended it."""
        self._may_end = True
        self._process.wait(timeout=60)

    def kill_children(self, title: str) -> int:
        """SIGKILL to those of its processes whose title begins so; return how many there were."""
        victims = [pid for pid in guard.members({self._process.pid}) if _title(pid).startswith(title)]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        return len(victims)


def _title(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


class Programs:
    """Starts programs, and ends them all with the block.

    :param directory: where their output goes.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: list[Program] = []

    def __enter__(self) -> Programs:
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.guard"],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TEST_POSTGRES_URL": POSTGRES_URL},
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: Any) -> None:
        assert self._guard.stdin
        self._guard.stdin.close()
        for program in self._running:
            # The guard ends them; only their parent can take note of it.
            program.taken_down()
        assert self._guard.wait(timeout=60) == 0

    def run(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Run a program to its end."""
        program = self.start(name, command, environment)
        until(program.ended, seconds=120, what=f"{name} has ended")

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Program:
        """Start a program."""
        log_file = self._directory / f"{name}.log"
        with log_file.open("ab") as output:
            process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._tell(f"session {process.pid}")
        program = Program(name, process, log_file, lambda session: self._tell(f"forget {session}"))
        self._running.append(program)
        return program

    def drop_at_end(self, database: str) -> None:
        """Have a database dropped when all programs have ended."""
        self._tell(f"drop {database}")

    def check(self) -> None:
        """Fail if a program has ended by itself."""
        for program in self._running:
            program.check()

    def _tell(self, line: str) -> None:
        assert self._guard.stdin
        self._guard.stdin.write(f"{line}\n".encode())
        self._guard.stdin.flush()
