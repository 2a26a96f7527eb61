"""What docs/cli.md shows is what the commands print; its scripts do what they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_achieveit.cli.definition import COMMANDS
from airflow_provider_achieveit.cli.failures import ExitCode
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.docs.blocks import ROOT, blocks
from tests.docs.terminal import Terminal, needs_program, steps

TEXT = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LEDGER", "WAREHOUSE"):
        connection = {"conn_type": "sqlite", "host": str(tmp_path / "ledger.db")}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(connection))


def test_the_commands_print_what_is_shown(terminal: Terminal, simulator: RunningSimulator, ledger: None) -> None:
    first, *consoles = blocks("docs/cli.md", "console")
    [(line, _)] = steps(first)
    assert terminal.run(*shlex.split(line)[2:]).code == 0
    lines = [shlex.split(line) for console in consoles for line in terminal.type(console)]
    shown = {line[2] for line in lines if line[:2] == ["airflow", "achieveit"]}
    assert shown == {command.name for command in COMMANDS} - {"simulate"}


@needs_program("jq")
def test_the_scripts_do_what_they_say(
    simulator: RunningSimulator, ledger: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Before Airflow 3.2 the same commands are those of a module.
    program = tmp_path / "bin" / "airflow"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nshift\nexec "{sys.executable}" -m airflow_provider_achieveit "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    rows = "external_id,status,metric_value,as_of_date\npat-nps,On Track,47.5,2026-01-05\n"
    (tmp_path / "kpis.csv").write_text(rows, encoding="utf-8")
    for script in blocks("docs/cli.md", "sh"):
        here = script.replace("/data/", f"{tmp_path}/")
        subprocess.run(["sh", "-c", here], cwd=tmp_path, check=True)
    assert json.loads((tmp_path / "kpis.result.json").read_text())["rows_submitted"] == 1
    assert len(simulator.world.batches) == 3, "the probe's, one with a ledger, one without"


def test_every_command_and_exit_code_is_told() -> None:
    assert re.findall(r"^## ([a-z]+)$", TEXT, re.MULTILINE) == [command.name for command in COMMANDS]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)} == set(ExitCode)
