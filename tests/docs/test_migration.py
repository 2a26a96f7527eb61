"""docs/migration.md: the script and the DAG that replaces it send the same, and a file is looked at as shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.dag_runs import run_dag
from tests.docs.blocks import blocks
from tests.docs.dags import dag_of
from tests.docs.terminal import Terminal

SCRIPT, PUSH = blocks("docs/migration.md", "python")


@pytest.fixture
def kpi_values(warehouse: Any) -> None:
    warehouse.run("create table kpi_values (kpi_id text, rag text, value text, day text)")
    warehouse.run("insert into kpi_values values ('pat-nps', 'G', '47.5', '2026-01-05')")
    warehouse.run("insert into kpi_values values ('fin-margin', 'A', '0.021', '2026-01-05')")


def test_the_dag_sends_what_the_script_sent(
    simulator: RunningSimulator,
    airflow_db: None,
    tmp_path: Path,
    kpi_values: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACHIEVEIT_KEY", simulator.api_key)
    monkeypatch.chdir(tmp_path)
    exec(compile(SCRIPT.replace("https://api.achieveit.com", simulator.url), "script.py", "exec"), {})

    # The first step of the switch: look at what would be sent.
    looking = PUSH.replace(
        'task_id="push",', f'task_id="push", dry_run=True, artifact_path={str(tmp_path / "batches")!r},'
    )
    assert run_dag(dag_of(looking, tmp_path)).state == "success"
    [sent] = simulator.world.batches
    [kept] = (tmp_path / "batches").iterdir()
    # In another order: by id and date, so that a retry finds the same batches.
    assert sorted(kept.read_text(encoding="utf-8").splitlines()) == sorted(sent.body.decode().splitlines())

    # The last step: a dry run wrote nothing down, so this one sends.
    assert run_dag(dag_of(PUSH, tmp_path)).xcom("push")["rows_submitted"] == 2


def test_a_file_is_looked_at(terminal: Terminal) -> None:
    [block] = blocks("docs/migration.md", "console")
    terminal.type(block)
