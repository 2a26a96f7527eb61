"""What Linux tells of a process from outside, and programs that answer lines of JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return the processor time a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def own_memory(pid: int) -> float:
    """Return the bytes of memory that a process shares with no other."""
    rows = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return sum(int(row[1]) * 1024.0 for row in rows if row[0] in ("Private_Clean:", "Private_Dirty:"))


def sockets_to(pid: int, port: int) -> int:
    """Return how many TCP sockets a process has open to a port of this machine, connecting or connected."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    remote = f":{port:04X}"
    rows = (line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:])
    return sum(row[2].endswith(remote) and row[9] in inodes for row in rows)


def open_files(pid: int) -> int:
    """Return how many file descriptors a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def children(pid: int) -> list[int]:
    """Return the processes that a process started and that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Helper:
    """A program that answers each line of JSON by one.

    :param process: the program; its first line is awaited.
    :raises RuntimeError: it ended before it was ready.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.ready = self._read()

    def ask(self, question: Any) -> Any:
        """Send a question and return the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        # What libraries print about themselves is passed by.
        while (line := self.process.stdout.readline()) and line[0] not in "{[n":
            pass
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended")
        return json.loads(line)


@contextmanager
def helper(command: Sequence[str], environment: dict[str, str]) -> Iterator[Helper]:
    """Run a :class:`Helper` while the block lasts; the end of its input lets it go."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            yield Helper(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


@contextmanager
def background(command: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[int]:
    """Run a program in a session of its own while the block lasts, and give its pid; all it started ends with it."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
        ) as process,
    ):
        try:
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)
