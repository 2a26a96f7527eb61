"""docs/operations.md: its DAG runs, its command exists, and its lines and metrics are those that the package has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from airflow.cli.cli_parser import get_parser

from airflow_provider_achieveit.api.jobs import JobEnd
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.dag_runs import run_dag
from tests.docs.blocks import ROOT, blocks
from tests.docs.dags import dag_of
from tests.docs.terminal import steps

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SOURCES = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "airflow_provider_achieveit").rglob("*.py"))


def column(heading: str) -> list[str]:
    """Return the first column of the table below a heading, without its head."""
    rows = PAGE.partition(f"{heading}\n")[2].partition("\n|")[2].partition("\n\n")[0].splitlines()
    return [row.removeprefix("|").partition(" | ")[0] for row in rows[2:]]


def test_its_dag_runs(simulator: RunningSimulator, airflow_db: None, tmp_path: Path, warehouse: Any) -> None:
    for number, name in enumerate(("finance", "quality", "people")):
        warehouse.run(f"create table kpi_updates_{name} (external_id, status, metric_value, as_of_date)")
        warehouse.run(f"insert into kpi_updates_{name} values ('pat-nps', 'On Track', 47, '2026-01-0{number + 1}')")
    [source] = blocks("docs/operations.md", "python")
    assert run_dag(dag_of(source, tmp_path)).state == "success"
    assert len(simulator.world.jobs) == 3


def test_its_command_exists() -> None:
    [block] = blocks("docs/operations.md", "console")
    [(line, _)] = steps(block)
    told = get_parser().parse_args(shlex.split(line.removeprefix("airflow ")))
    assert (told.pool, int(told.slots), told.include_deferred) == ("achieveit", 3, True)


def test_it_tells_every_metric() -> None:
    told = set()
    for cell in column("## Metrics"):
        first, *more = re.findall(r"`([^`]+)`", cell)
        told |= {first, *(first.rpartition(".")[0] + name for name in more)}
    names = re.findall(r'_(?:count|duration)\(f?"([^"]+)"', SOURCES)
    ends = {f"jobs.{end.value}" for end in JobEnd}
    sent = {*names, *ends} - {"jobs.{result.end.value}"}
    assert {name.removeprefix("achieveit.") for name in told} == sent


@pytest.mark.parametrize("line", column("### Lines worth an alert"))
def test_the_lines_worth_an_alert_are_those_of_the_package(line: str) -> None:
    text = re.sub(r"\d+", "%d", line.strip(" `"))
    assert text in SOURCES.replace('"\n                "', "")
