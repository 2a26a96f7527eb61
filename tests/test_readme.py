"""The README's DAGs, taken from it and run by Airflow against the simulator; its commands and errors exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseHook

from airflow_provider_achieveit import exceptions
from airflow_provider_achieveit.hooks.connection import EXTRA_FIELDS
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.airflow_versions import for_this_airflow
from tests.dag_runs import run_dag

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DAGS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("source", DAGS, ids=["push", "export"])
def test_a_dag_of_the_readme_runs(
    source: str, simulator: RunningSimulator, airflow_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "warehouse.db")}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))
    hook = BaseHook.get_connection("warehouse").get_hook()
    hook.run("create table kpi_values (kpi_id text, rag text, value text, day text, note text)")
    hook.run("insert into kpi_values values ('pat-nps', 'G', '47.5', '2026-01-05', null)")
    space: dict[str, Any] = {}
    exec(
        compile(for_this_airflow(source).replace("with DAG(", "with DAG_(", 1), "README.md", "exec"),
        {**space, "DAG_": _remembering(space)},
    )
    run = run_dag(space["dag"])
    assert run.state == "success"
    if "Submit" in source:
        assert simulator.world.item("pat-nps").fields["currentValue"] == "47.5"
    else:
        [plan] = simulator.world.plans.values()
        assert hook.get_first("select count(*) from plan_items")[0] == len(plan.items)


def _remembering(space: dict[str, Any]) -> Any:
    def make(*args: Any, **options: Any) -> DAG:
        space["dag"] = DAG(*args, **options)
        return space["dag"]

    return make


def test_a_road_takes_about_twenty_lines() -> None:
    assert len(DAGS) == 2
    assert all(len(source.strip().splitlines()) <= 23 for source in DAGS)


def test_every_error_is_told() -> None:
    told = set(re.findall(r"`(AchieveIt\w+Error)`", README))
    known = {name for name in vars(exceptions) if re.fullmatch(r"AchieveIt\w+Error", name)}
    assert told == known - {"AchieveItError"}


def test_every_field_of_the_connection_is_told() -> None:
    assert set(re.findall(r"^\| extra `(\w+)`", README, re.MULTILINE)) == set(EXTRA_FIELDS)


def test_every_make_target_and_link_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z-]+)`|^\$ make ([a-z-]+)$", README, re.MULTILINE):
        assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE), target
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
