"""docs/rate.md: its DAG runs, its command exists, and its figures are those of the package."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from airflow.cli.cli_parser import get_parser

from airflow_provider_achieveit.api import http, retry, session
from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.dag_runs import run_dag
from tests.docs.blocks import ROOT, blocks
from tests.docs.dags import dag_of
from tests.docs.terminal import steps

PAGE = (ROOT / "docs" / "rate.md").read_text(encoding="utf-8")


def test_its_dag_runs(simulator: RunningSimulator, airflow_db: None, tmp_path: Path, warehouse: Any) -> None:
    for number, name in enumerate(("finance", "quality", "people")):
        warehouse.run(f"create table kpi_updates_{name} (external_id, status, metric_value, as_of_date)")
        warehouse.run(f"insert into kpi_updates_{name} values ('pat-nps', 'On Track', 47, '2026-01-0{number + 1}')")
    [source] = blocks("docs/rate.md", "python")
    assert run_dag(dag_of(source, tmp_path)).state == "success"
    assert len(simulator.world.jobs) == 3


def test_its_command_exists() -> None:
    [block] = blocks("docs/rate.md", "console")
    [(line, _)] = steps(block)
    told = get_parser().parse_args(shlex.split(line.removeprefix("airflow ")))
    assert (told.pool, int(told.slots), told.include_deferred) == ("achieveit", 3, True)


@pytest.mark.parametrize(
    "figure",
    [
        f"(default {ClientConfig('https://x', 'key').max_retries})",
        f"from\n  {retry._FIRST_WAIT:g} up to {retry._LONGEST_WAIT:g} s",
        f"up to {http.LONGEST_PAUSE:g} s within a task",
        f"at most {session._MAX_SOCKETS} connections",
        f"up to {session._LONGEST_QUEUE:g} s later",
    ],
)
def test_its_figures_are_those_of_the_package(figure: str) -> None:
    assert figure in PAGE


def test_an_hour_between_two_tries() -> None:
    assert "up to an hour between two tries" in PAGE
    assert http.MAX_RETRY_AFTER == 3600
