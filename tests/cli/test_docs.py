"""What docs/cli.md shows is what the commands print; its scripts do what they say."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_provider_achieveit.cli.definition import COMMANDS
from airflow_provider_achieveit.cli.failures import ExitCode
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.cli.conftest import Ended

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
CONSOLES = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
DIFFERS = {
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}": "<uuid>",
    r"-[0-9a-f]{12}\.b(\d{4})\.[0-9a-f]{8}\.": r"-<run>.b\1.<sha>.",
    r"\b[0-9a-f]{64}\b": "<sha256>",
    r"^bytes  +\d+$": "bytes  <size>",
    r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00": "<moment>",
}
"""What is another one each time."""


def steps() -> Iterator[tuple[str, str]]:
    """Each command of the page, and what is shown below it."""
    for console in CONSOLES:
        for step in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
            # A line that ends in a backslash goes on in the next.
            line, shown = re.split(r"(?<!\\)\n", step, maxsplit=1)
            yield line.replace("\\\n", " "), shown


def same(text: str) -> str:
    for pattern, name in DIFFERS.items():
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return text


def test_the_commands_print_what_is_shown(
    run: Callable[..., Ended], simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = {"conn_type": "sqlite", "host": str(tmp_path / "ledger.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(ledger))
    seen = set()
    done = Ended(0, "", "")
    for line, shown in steps():
        program, *arguments = shlex.split(line)
        if program == "cat":
            Path(arguments[0]).write_text(shown, encoding="utf-8")
        elif program == "echo":
            assert int(shown) == done.code
        elif arguments[1:] != ["--help"]:
            assert (program, arguments[0]) == ("airflow", "achieveit")
            done = run(*arguments[1:])
            told = (done.err + done.out).replace(str(tmp_path), "/home/ann")
            assert same(told) == same(shown), line
            seen.add(arguments[1])
    assert seen == {command.name for command in COMMANDS} - {"simulate"}


def test_every_command_and_exit_code_is_told() -> None:
    assert re.findall(r"^## ([a-z]+)$", TEXT, re.MULTILINE) == [command.name for command in COMMANDS]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)} == set(ExitCode)


def headings(text: str) -> set[str]:
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]*)#?([^)]*)\)", TEXT)
    assert links
    for target, anchor in links:
        text = (ROOT / "docs" / target).read_text(encoding="utf-8") if target else TEXT
        assert not anchor or anchor in headings(text)
