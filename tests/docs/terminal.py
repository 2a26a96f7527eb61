"""A person's terminal: what a page says to type is typed, and what it shows below must be what is printed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cli.conftest import Ended
from tests.sockets import free_port

DIFFERS = {
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}": "<uuid>",
    r"-[0-9a-f]{12}\.b(\d{4})\.[0-9a-f]{8}\.": r"-<run>.b\1.<sha>.",
    r"\b[0-9a-f]{64}\b": "<sha256>",
    r"^bytes  +\d+$": "bytes  <size>",
    r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00": "<moment>",
}
"""What is another one each time."""
HOME = "/home/ann"
"""Where the person of the pages works."""
PORT = "8400"
"""Where the simulator of the pages listens."""
COMMANDS = (["airflow", "achieveit"], ["python", "-m", "airflow_provider_achieveit"])
SIMULATORS = (["airflow", "achieveit", "simulate"], ["python", "-m", "airflow_provider_achieveit.simulator"])


def needs_program(name: str) -> pytest.MarkDecorator:
    """Mark a test that types a program which a machine may not have; in CI it must."""
    missing = not shutil.which(name) and not os.environ.get("CI")
    return pytest.mark.skipif(missing, reason=f"there is no {name} on this machine")


def steps(console: str) -> Iterator[tuple[str, str]]:
    """Each command of a block, and what is shown below it."""
    for step in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        # A line that ends in a backslash, or within quotes, goes on in the next.
        line, shown = step, ""
        for end in [at.start() for at in re.finditer(r"\n", step)]:
            if _whole(step[:end]):
                line, shown = step[:end], step[end + 1 :]
                break
        yield line.replace("\\\n", " ").rstrip("\n"), shown


def _whole(line: str) -> bool:
    try:
        shlex.split(line)
    except ValueError:
        return False
    return not line.endswith("\\")


def same(text: str) -> str:
    """Return a text with names for what is another one each time."""
    for pattern, name in DIFFERS.items():
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return text.rstrip()


@dataclass
class Terminal:
    """Types the blocks of a page, one after the other, in one directory.

    :param directory: where; the pages call it ``/home/ann``.
    :param run: runs a command of the provider in this process.
    :param setenv: sets a variable of this process until the test ends.
    :param instead: what the page says, and what it is here: addresses, ports, keys.
    """

    directory: Path
    run: Callable[..., Ended]
    setenv: Callable[[str, str], None]
    instead: dict[str, str] = field(default_factory=dict)
    done: Ended = field(default_factory=lambda: Ended(0, "", ""))
    programs: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.instead[HOME] = str(self.directory)
        self.instead[PORT] = str(free_port())
        self.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

    def type(self, console: str) -> list[str]:
        """Type a block, and compare what is printed with what is shown.

        ``cat`` of a file that is not there makes it, as an editor would; ``export`` lasts; ``echo $?`` is the exit code
        of the command before; a simulator runs on until the test ends; anything else is a program, run to its end.

        :return: the lines that were typed.
        """
        typed = []
        for line, shown in steps(console):
            told = same(self._as_shown(self._typed(line, shown)))
            assert told == same(shown), f"{line}\n{told}"
            typed.append(line)
        return typed

    def stop(self) -> None:
        """End what still runs."""
        for program in self.programs:
            program.send_signal(signal.SIGINT)
            program.communicate()

    def _typed(self, line: str, shown: str) -> str:
        line = self._as_here(line)
        words = shlex.split(line)
        if line == "echo $?":
            return str(self.done.code)
        if words[0] == "cat" and not (file := self.directory / words[1]).exists():
            file.write_text(self._as_here(shown), encoding="utf-8")
            return shown
        if words[0] == "export":
            self.setenv(*words[1].split("=", 1))
            return ""
        if _starts(words, SIMULATORS):
            return self._started(words, shown)
        if (start := _starts(words, COMMANDS)) and not {"|", ">", "&&"} & set(words):
            self.done = self.run(*words[start:])
        else:
            self.done = self._program(line)
        return self.done.err + self.done.out

    def _program(self, line: str) -> Ended:
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return Ended(done.returncode, done.stdout, "")

    def _started(self, words: list[str], shown: str) -> str:
        program = subprocess.Popen(
            ["/usr/bin/env", *words], cwd=self.directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.programs.append(program)
        assert program.stdout is not None
        told = ""
        while "Stop it with" not in told:
            line = program.stdout.readline()
            assert line, f"it has not started: {told}"
            told += line
        # Where the page shows nothing of it, nothing is compared.
        return told if shown.strip() else ""

    def _as_here(self, text: str) -> str:
        for told, here in self.instead.items():
            text = text.replace(told, here)
        return text

    def _as_shown(self, text: str) -> str:
        for told, here in self.instead.items():
            text = text.replace(here, told)
        return text


def _starts(words: list[str], programs: tuple[list[str], ...]) -> int:
    """How many words name the program, if it is one of these."""
    return next((len(program) for program in programs if words[: len(program)] == program), 0)
