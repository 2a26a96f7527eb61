"""The code of docs/assets.md, taken from it: it runs, and what it makes does what the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.airflow_versions import for_this_airflow, needs_asset_watchers
from tests.assets.test_asset_events import events, plan_uri
from tests.dag_runs import run_dag
from tests.going_run import register

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "assets.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def made_by(source: str) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(compile(for_this_airflow(source), str(ROOT / "docs" / "assets.md"), "exec"), space)
    return space


@needs_asset_watchers
def test_the_blocks_of_the_page_run(airflow_db: None) -> None:
    address, push, watcher = BLOCKS
    assert made_by(address)["plan"].uri == "achieveit://api.achieveit.com/plans/42"
    dag = made_by(watcher)["dag"]
    [watched] = made_by(watcher)["plan"].watchers
    assert watched.trigger.serialize()[1] == {
        "plan_id": "42",
        "achieveit_conn_id": "achieveit_default",
        "poll_interval": 120.0,
    }
    register(dag)
    assert "emit_asset=True" in push


def test_the_push_starts_the_other_dag(
    simulator: RunningSimulator, airflow_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "warehouse.db")}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))
    hook = BaseHook.get_connection("warehouse").get_hook()
    hook.run("create table kpi_values (external_id text, status text, metric_value text, as_of_date text)")
    hook.run("insert into kpi_values values ('pat-nps', 'On Track', '41', '2026-01-05')")
    here = BLOCKS[1].replace("achieveit://api.achieveit.com/plans/42", plan_uri(simulator))
    space = made_by(here.replace("schedule=[plan]", "is_paused_upon_creation=False, schedule=[plan]"))
    register(space["after"])
    [event] = events(run_dag(space["push"]))
    assert event.queued == ["after_the_push"]


def test_every_link_exists() -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / link).exists(), link
