"""docs/dates.md: its DAG sends the day's rows in runs of every kind, and days are what its table says."""

from __future__ import annotations

import shlex
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from airflow_provider_achieveit.simulator.server import RunningSimulator
from airflow_provider_achieveit.updates.dates import as_of_date_check
from tests.airflow_versions import AIRFLOW, needs_runs_without_dates
from tests.dag_runs import run_dag
from tests.docs.blocks import ROOT, blocks
from tests.docs.dags import dag_of
from tests.docs.terminal import steps

PAGE = (ROOT / "docs" / "dates.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("logical_date", "day"),
    [
        pytest.param(datetime(2026, 1, 6, 6, tzinfo=UTC), "2026-01-06", id="dated"),
        pytest.param(None, f"{datetime.now(UTC):%Y-%m-%d}", id="undated", marks=needs_runs_without_dates),
    ],
)
def test_its_dag_sends_the_rows_of_the_day(
    logical_date: datetime | None,
    day: str,
    simulator: RunningSimulator,
    airflow_db: None,
    tmp_path: Path,
    warehouse: Any,
) -> None:
    warehouse.run("create table kpi_values (kpi_id text, rag text, value text, day text)")
    for row_day in ("2026-01-05", "2026-01-06", day):
        warehouse.run(f"insert into kpi_values values ('{row_day}', 'On Track', '47.5', '{row_day}')")
    [source] = blocks("docs/dates.md", "python")
    warehouse.run("update kpi_values set kpi_id = 'pat-nps'")
    warehouse.run("delete from kpi_values where rowid not in (select min(rowid) from kpi_values group by day)")
    assert run_dag(dag_of(source, tmp_path), logical_date=logical_date).state == "success"
    [entry] = simulator.world.item("pat-nps").history
    assert entry.as_of_date == day


def test_the_backfills_are_commands_of_airflow() -> None:
    from airflow.cli.cli_parser import get_parser

    newer, older = blocks("docs/dates.md", "console", "A backfill of pushes")
    [(line, _)] = steps(newer if AIRFLOW >= (3,) else older)
    args = get_parser().parse_args(shlex.split(line)[1:])
    [source] = blocks("docs/dates.md", "python")
    assert f'DAG("{args.dag_id}"' in source


def test_days_are_what_the_table_says() -> None:
    check = as_of_date_check(ZoneInfo("Europe/Berlin"))
    for text in ("2026-01-31", "20260131", "2026-W05-6", "01/31/2026"):
        assert f"`{text}`" in PAGE
        assert check(text) == date(2026, 1, 31)
    moment = "2026-01-31T23:30:00+00:00"
    assert f"`{moment}`" in PAGE
    assert check(moment) == date(2026, 2, 1)
    assert check(moment.removesuffix("+00:00")) == date(2026, 1, 31)
