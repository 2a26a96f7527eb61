"""The code of docs/assets.md, taken from it: it runs, and what it makes does what the page says."""

from __future__ import annotations

from typing import Any

from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.airflow_versions import for_this_airflow, needs_asset_watchers
from tests.assets.test_asset_events import events, plan_uri
from tests.dag_runs import run_dag
from tests.docs.blocks import blocks
from tests.going_run import register

ADDRESS, PUSH, WATCHER = blocks("docs/assets.md", "python")


def made_by(source: str) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(compile(for_this_airflow(source), "docs/assets.md", "exec"), space)
    return space


@needs_asset_watchers
def test_the_blocks_of_the_page_run(airflow_db: None) -> None:
    assert made_by(ADDRESS)["plan"].uri == "achieveit://api.achieveit.com/plans/42"
    dag = made_by(WATCHER)["dag"]
    [watched] = made_by(WATCHER)["plan"].watchers
    assert watched.trigger.serialize()[1] == {
        "plan_id": "42",
        "achieveit_conn_id": "achieveit_default",
        "poll_interval": 120.0,
    }
    register(dag)
    assert "emit_asset=True" in PUSH


def test_the_push_starts_the_other_dag(simulator: RunningSimulator, airflow_db: None, warehouse: Any) -> None:
    warehouse.run("create table kpi_values (external_id text, status text, metric_value text, as_of_date text)")
    warehouse.run("insert into kpi_values values ('pat-nps', 'On Track', '41', '2026-01-05')")
    here = PUSH.replace("achieveit://api.achieveit.com/plans/42", plan_uri(simulator))
    space = made_by(here.replace("schedule=[plan]", "is_paused_upon_creation=False, schedule=[plan]"))
    register(space["after"])
    [event] = events(run_dag(space["push"]))
    assert event.queued == ["after_the_push"]
