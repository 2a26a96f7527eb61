"""Loads for tests: items into tables, without a server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.engine import Engine

from airflow_provider_achieveit.warehouse.compare import Changes
from airflow_provider_achieveit.warehouse.load import PlanLoad, PlanStaging, plan_load
from airflow_provider_achieveit.warehouse.model import Mode, Nested
from tests.warehouse.real_databases import Warehouse

Item = dict[str, Any]
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
SUFFIXES = ["", "_members", "_admins", "_tags", "_metric_goals", "_checklists", "_checklist_items"]


def made(table: str, suffixes: list[str] = SUFFIXES) -> set[str]:
    """Return the names of the tables that a load makes."""
    return {f"{table}{suffix}" for suffix in [*suffixes, "_loads"]}


def load(
    warehouse: Warehouse,
    items: list[Item],
    plan_id: str = "plan",
    *,
    table: str = "plan_items",
    nested: Nested = Nested.TABLES,
    mode: Mode = Mode.REPLACE,
    max_delete_ratio: float = 1.0,
    extracted_at: datetime = NOW,
    snapshot_date: date | None = None,
    settings: str = "",
    engine: Engine | None = None,
    before_apply: Callable[[PlanLoad], object] = lambda _: None,
) -> Changes:
    """Load items in pages of 100; a snapshot is of the day of the read, if not told otherwise."""
    with plan_load(
        engine or warehouse.engine(), table=table, schema=warehouse.schema, nested=nested, mode=mode
    ) as loading:
        staging = PlanStaging(loading, plan_id, nested=nested, unescape_html=True)
        staging.begin(extracted_at)
        for start in range(0, len(items), 100):
            staging.add(items[start : start + 100])
        before_apply(loading)
        return loading.apply(
            plan_id,
            extracted_at=extracted_at,
            max_delete_ratio=max_delete_ratio,
            snapshot_date=snapshot_date or extracted_at.date(),
            newest_change=staging.newest_change,
            settings=settings,
        )


def plan_items(count: int, name: str = "n") -> list[Item]:
    """Return items with two rows in every child table."""
    entries = [{"id": f"e{n}", "name": f"{name}{n}"} for n in range(2)]
    return [
        {
            "id": f"i{n}",
            "name": name,
            "rowNumber": n,
            "members": entries,
            "admins": entries,
            "tags": entries,
            "advancedMetricGoals": [{"goalId": "g", "goalName": name, "metricBucketValue": Decimal("0.5")}] * 2,
            "checklists": [{**entry, "items": [entries[0]]} for entry in entries],
            "own": {"field": Decimal("1.10")},
        }
        for n in range(count)
    ]


def state(warehouse: Warehouse, plan_id: str = "plan", table: str = "plan_items") -> dict[str, list[dict[str, Any]]]:
    """Return all rows of a plan, without the moment of the export."""
    return {
        suffix: [
            {name: value for name, value in row.items() if name != "_extracted_at"}
            for row in warehouse.read(f"{table}{suffix}", order="1, 2, 3, 4")
            if row["plan_id"] == plan_id
        ]
        for suffix in SUFFIXES
    }
