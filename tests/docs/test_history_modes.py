"""docs/history-modes.md: what its tables show is what a load of each mode leaves, on the three days of the example."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator
from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID
from airflow_provider_achieveit.simulator.server import RunningSimulator
from airflow_provider_achieveit.warehouse.model import Mode
from tests.dag_runs import run_dag
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "history-modes.md").read_text(encoding="utf-8")
DAYS = {"Monday": "2026-01-05", "Tuesday": "2026-01-06", "Wednesday": "2026-01-07"}


def shown(mode: Mode) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of the table below a mode's heading; none where the page shows none."""
    below = re.split(rf"^## `{mode.value}`.*$", PAGE, flags=re.MULTILINE)[1].partition("\n## ")[0]
    lines = [[cell.strip(" `") for cell in line.strip("| ").split("|")] for line in below.splitlines() if "|" in line]
    return (lines[0], lines[2:]) if lines else (["id"], [])


def load(mode: Mode, day: str) -> str:
    """Export the plan as on a day, and return when it was read."""
    options = {"snapshot_date": day} if mode is Mode.SNAPSHOT else {}
    with DAG("of_the_page", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        AchieveItExportPlanOperator(
            task_id="export", plan_id=DEMO_PLAN_ID, conn_id="warehouse", mode=mode.value, **options
        )
    return str(run_dag(dag).xcom("export")["extracted_at"])


def loads(mode: Mode, simulator: RunningSimulator) -> Iterator[tuple[str, str]]:
    """Do what happens on the three days, and give each with the moment of its read, or its date for a snapshot."""
    items = simulator.world.plans[DEMO_PLAN_ID].items
    item = items[-1]
    item.fields["id"] = "a"
    for name, (day, date) in zip(("old", "new", None), DAYS.items(), strict=True):
        if name is None:
            items.remove(item)
        else:
            item.fields["name"] = name
        read = load(mode, date)
        yield day, date if mode is Mode.SNAPSHOT else read


def told(cell: object, days: dict[datetime, str]) -> str:
    """Return a value as the page writes it: a moment, or a date, by its day."""
    try:
        moment = datetime.fromisoformat(str(cell))
    except ValueError:
        return str(cell)
    return days[moment.replace(tzinfo=UTC)]


@pytest.mark.parametrize("mode", Mode)
def test_a_mode_leaves_what_is_shown(mode: Mode, simulator: RunningSimulator, airflow_db: None, warehouse: Any) -> None:
    days = {datetime.fromisoformat(moment).replace(tzinfo=UTC): day for day, moment in loads(mode, simulator)}
    columns, rows = shown(mode)
    found = warehouse.get_records(f"select {', '.join(columns)} from plan_items where id = 'a'")
    assert sorted([told(cell, days) for cell in row] for row in found) == sorted(rows)


def test_every_mode_is_told() -> None:
    table = PAGE.partition("| `mode` |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == [mode.value for mode in Mode]
