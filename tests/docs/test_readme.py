"""The README's DAGs, taken from it and run by Airflow against the simulator; its commands exist."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.hooks.connection import EXTRA_FIELDS
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.dag_runs import run_dag
from tests.docs.blocks import ROOT, blocks
from tests.docs.dags import dag_of
from tests.docs.terminal import Terminal, needs_program, steps

README = (ROOT / "README.md").read_text(encoding="utf-8")
DAGS = blocks("README.md", "python")


@pytest.mark.parametrize("source", DAGS, ids=["push", "export"])
def test_a_dag_of_the_readme_runs(
    source: str, simulator: RunningSimulator, airflow_db: None, tmp_path: Path, warehouse: Any
) -> None:
    warehouse.run("create table kpi_values (kpi_id text, rag text, value text, day text, note text)")
    warehouse.run("insert into kpi_values values ('pat-nps', 'G', '47.5', '2026-01-05', null)")
    assert run_dag(dag_of(source, tmp_path)).state == "success"
    if "Submit" in source:
        assert simulator.world.item("pat-nps").fields["currentValue"] == "47.5"
    else:
        [plan] = simulator.world.plans.values()
        assert warehouse.get_first("select count(*) from plan_items")[0] == len(plan.items)


def test_a_road_takes_about_twenty_lines() -> None:
    assert len(DAGS) == 2
    assert all(len(source.strip().splitlines()) <= 23 for source in DAGS)


def test_every_field_of_the_connection_is_told() -> None:
    assert set(re.findall(r"^\| extra `(\w+)`", README, re.MULTILINE)) == set(EXTRA_FIELDS)


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    typed = "".join(blocks("README.md", "console", "Two commands"))
    for target in re.findall(r"make ([a-z-]+)`", README) + re.findall(r"^\$ make ([a-z-]+)$", typed, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_what_is_installed_exists() -> None:
    [block] = blocks("README.md", "console", "Install")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line, _ in steps(block):
        pip, verb, option, constraints, package = shlex.split(line)
        assert (pip, verb, option) == ("pip", "install", "--constraint")
        assert (ROOT / constraints).exists()
        name, extras = re.findall(r"^(.+?)\[(\w+)\]", package)[0]
        assert name in (".", project["name"])
        assert extras in project["optional-dependencies"]
    [told] = re.findall(r"^Extras: (.+?)\. ", README, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", told)) == set(project["optional-dependencies"])


def test_the_environment_variable_is_a_connection(terminal: Terminal) -> None:
    [block] = blocks("README.md", "console", "The connection")
    terminal.type(block)
    with AchieveItHook().get_conn() as client:
        assert (client.config.base_url, client.config.api_key) == ("https://api.achieveit.com", "YOUR-API-KEY")


@needs_program("curl")
def test_the_simulator_starts_and_misbehaves_on_request(terminal: Terminal) -> None:
    start, fault = blocks("README.md", "console", "Without an API key: the simulator")
    (install, _), (run, _) = steps(start)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert install == "pip install '.[simulator]'"
    assert "simulator" in project["optional-dependencies"]
    terminal.instead["$PWD"] = str(terminal.directory)
    terminal.type(f"$ {run}\n")
    [(line, _)] = steps(fault)
    terminal.type(f"$ {line.replace('curl', 'curl --silent --fail --output answer.json')}\n")
    assert terminal.done.code == 0
    [rule] = json.loads((terminal.directory / "answer.json").read_text(encoding="utf-8"))
    assert rule["kind"] == "reset"


def test_the_commands_of_compose_name_its_services() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))["services"]
    for line, _ in [step for block in blocks("README.md", "console", "A whole Airflow") for step in steps(block)]:
        program, sub, verb, *options = shlex.split(line)
        assert (program, sub) == ("docker", "compose")
        assert verb in ("up", "exec")
        named = options[:1] if verb == "exec" else [word.partition("=")[0] for word in options if "=" in word]
        assert set(named) <= set(services)
