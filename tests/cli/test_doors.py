"""Real processes: both doors, terminals, pipes and Ctrl-C."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.airflow_versions import needs_provider_commands
from tests.cli.conftest import Ended, own
from tests.terminals import read_all, terminal

AIRFLOW = str(Path(sys.executable).parent / "airflow")
MODULE = (sys.executable, "-m", "airflow_provider_achieveit")
KPIS = "external_id,status,metric_value,as_of_date\npat-nps,On Track,47.5,2026-01-05\npat-nps,At Risk,41,2026-01-12\n"
SECONDS = 60


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    Path("kpis.csv").write_text(KPIS)


@contextmanager
def started(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a process that Ctrl-C reaches, as from a shell; none outlives the test."""
    # What runs in the background of a script is started with SIGINT ignored, and would hand that down.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, text=True, **options) as process:
        signal.signal(signal.SIGINT, before)
        try:
            yield process
        finally:
            process.kill()


PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@needs_provider_commands
def test_airflow_has_the_commands(simulator: RunningSimulator) -> None:
    command = [AIRFLOW, "achieveit", "submit", "kpis.csv", "-v", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert json.loads(done.stdout)["rows_submitted"] == 2
    assert "/kpis.csv: 2 to send, 0 rejected" in done.stderr
    assert simulator.world.item("pat-nps").fields["currentValue"] == "41"


def shown_on_a_terminal(*command: str) -> str:
    """Return what a command writes to a terminal."""
    surroundings = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    with (
        terminal() as (own, others),
        started(*command, stdin=others, stdout=others, stderr=others, env=surroundings) as process,
    ):
        shown = read_all(own, others)
        assert process.wait(SECONDS) == 0
    return shown


def test_on_a_terminal_there_are_tables_and_progress(simulator: RunningSimulator) -> None:
    simulator.world.settings.job_seconds = 1.0
    text = shown_on_a_terminal(*MODULE, "submit", "kpis.csv", "--batch-size", "1", "--poll-interval", "0.3")
    for bar in (r"rows read .*2/\?", "batches sent .*2/2", "jobs ended .*2/2"):
        assert re.search(bar, text), bar
    assert re.search(r"│ rows_submitted +│ 2 +│", text)
    assert all(job_id in text for job_id in simulator.world.jobs)


def test_on_a_terminal_without_rich_there_is_plain_text() -> None:
    without = "import sys; sys.modules['rich'] = None\nfrom airflow_provider_achieveit.__main__ import main; main()"
    text = shown_on_a_terminal(sys.executable, "-c", without, "validate", "kpis.csv")
    assert text.count("install airflow-provider-achieveit[cli]") == 1
    assert re.search(r"^rows_read +2\r$", text, re.MULTILINE)


def test_ctrl_c_tells_what_was_sent_and_a_repeat_goes_on(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Ended], tmp_path: Path
) -> None:
    ledger = {"conn_type": "sqlite", "host": str(tmp_path / "ledger.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(ledger))
    simulator.faults.add("status", path="/status/", status=202, times=None)
    command = ["submit", "kpis.csv", "--ledger-conn-id", "ledger", "--poll-interval"]
    with started(*MODULE, *command, "600", **PIPES) as process:
        wait_until(lambda: any("/status/" in request.path for request in simulator.world.requests))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    [job_id] = simulator.world.jobs
    assert (process.returncode, out) == (130, "")
    assert own(err) == (
        f"Killed; AchieveIt will still apply the jobs {job_id}\n"
        "error: Interrupted; 1 batches were sent. The same command goes on from here.\n"
    )
    simulator.faults.clear()
    done = run(*command, "0.1", "-o", "json")
    assert (done.code, done.document["rows_unchanged"], len(simulator.world.batches)) == (0, 2, 1)
    assert [batch["job_id"] for batch in done.document["batches"]] == [job_id]


def test_a_reader_that_stops_reading_is_not_bothered() -> None:
    line = f"{shlex.join([*MODULE, 'validate', 'kpis.csv'])} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, own(done.stderr)) == (0, "")


@needs_provider_commands
def test_airflow_simulates() -> None:
    command = [AIRFLOW, "achieveit", "simulate", "--port", "0", "--api-key", "of-the-cli"]
    with started(*command, **PIPES) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(4)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
    assert told[0].startswith("AchieveIt simulator at http://127.0.0.1:")
    assert told[1] == "API key:  of-the-cli\n"
    assert (process.returncode, err) == (0, "")


def test_every_start_of_airflow_pays_next_to_nothing() -> None:
    own = "airflow_provider_achieveit"
    light = {"argparse", "re", "collections.abc", "pathlib", "typing", "airflow.cli.cli_config"}
    package = Path(__file__).parents[2] / own
    for name in ("cli/__init__", "cli/definition", "simulator/__init__", "simulator/options"):
        tree = ast.parse((package / f"{name}.py").read_text(encoding="utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert imported <= light | {"__future__", f"{own}.simulator.options"}, name
