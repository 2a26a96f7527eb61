"""The operator against a running server and real databases: what the server has is what the tables hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_achieveit.exceptions import AchieveItInconsistentExportError
from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator
from airflow_provider_achieveit.simulator.seed_data import generated_plan
from airflow_provider_achieveit.simulator.server import RunningSimulator, running
from airflow_provider_achieveit.simulator.world import Plan, World
from tests.warehouse.real_databases import Warehouse

PLAN = "5d9f0c3a-0000-4000-8000-000000003210"
LISTS = {
    "members": "_members",
    "admins": "_admins",
    "tags": "_tags",
    "advancedMetricGoals": "_metric_goals",
    "checklists": "_checklists",
}
DECIMALS = {"baseline", "target", "currentValue", "metricBucketValue"}
MOMENTS = {"start", "due", "created", "lastUpdated", "doneOn"}


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running(world=World()) as started:
        yield started


@pytest.fixture
def connections(simulator: RunningSimulator, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", simulator.connection())
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", warehouse.airflow_connection)
    simulator.faults.clear()
    # What one test changed must not reach the next.
    simulator.world.plans[PLAN] = generated_plan(3210, seed=7, plan_id=PLAN)


def export(warehouse: Warehouse, **options: Any) -> dict[str, Any]:
    arguments = {"task_id": "export", "plan_id": PLAN, "conn_id": "warehouse", "schema": warehouse.schema} | options
    return AchieveItExportPlanOperator(**arguments).execute({})


def expected(value: dict[str, Any]) -> dict[str, Any]:
    """Return the server's object as the tables should tell it: lists apart, text that means more as what it means."""
    fields: dict[str, Any] = {}
    for name, entry in value.items():
        if isinstance(entry, list):
            continue
        if entry is None or (name in DECIMALS and entry == ""):
            fields[name] = None
        elif name in DECIMALS:
            fields[name] = Decimal(str(entry))
        elif name in MOMENTS:
            moment = datetime.fromisoformat(entry)
            fields[name] = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        else:
            fields[name] = entry
    return fields


def stored(row: dict[str, Any], *own: str) -> dict[str, Any]:
    """Return a row under the API's names, without the columns of our ``own``."""
    fields: dict[str, Any] = {}
    for column, entry in row.items():
        name = re.sub("_([a-z])", lambda match: match[1].upper(), column)
        if column in own or column in ("extra", "_extracted_at"):
            continue
        if name in DECIMALS and entry is not None:
            assert isinstance(entry, Decimal | str)
            fields[name] = Decimal(entry)
        elif name in MOMENTS and isinstance(entry, str):
            fields[name] = datetime.fromisoformat(entry)
        elif name.startswith(("is", "has")) and entry in (0, 1):
            fields[name] = bool(entry)
        else:
            fields[name] = entry
    assert row["extra"] is None
    return fields


def plan_in_warehouse(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Put the items together from all tables, in the plan's order."""
    items = {row["id"]: stored(row) for row in warehouse.read("plan_items")}
    for item in items.values():
        item.update({name: [] for name in LISTS})
    for name, suffix in LISTS.items():
        for row in warehouse.read(f"plan_items{suffix}", order="plan_id, item_id, position"):
            entries = items[row["item_id"]][name]
            assert row["position"] == len(entries)
            entries.append(stored(row, "plan_id", "item_id", "position"))
    for item in items.values():
        for checklist in item["checklists"]:
            checklist["items"] = []
    order = "plan_id, item_id, checklist_position, position"
    for row in warehouse.read("plan_items_checklist_items", order=order):
        checklist = items[row["item_id"]]["checklists"][row["checklist_position"]]
        assert (row["checklist_id"], row["position"]) == (checklist["id"], len(checklist["items"]))
        places = ("plan_id", "item_id", "checklist_id", "checklist_position", "position")
        checklist["items"].append(stored(row, *places))
    return sorted(items.values(), key=lambda item: item["rowNumber"])


def plan_on_server(plan: Plan) -> list[dict[str, Any]]:
    items = []
    for item in plan.items:
        fields = expected(item.fields)
        for name in LISTS:
            fields[name] = [expected(entry) for entry in item.fields[name]]
        for checklist, original in zip(fields["checklists"], item.fields["checklists"], strict=True):
            checklist["items"] = [expected(point) for point in original["items"]]
        items.append(fields)
    return items


@pytest.mark.usefixtures("connections")
def test_3210_items_arrive_field_by_field(simulator: RunningSimulator, warehouse: Warehouse) -> None:
    result = export(warehouse)
    extracted_at = datetime.fromisoformat(result.pop("extracted_at"))
    assert result == {
        "plan_id": PLAN,
        "items": 3210,
        "pages": 3,
        "reads": 1,
        "table": f"{warehouse.schema}.plan_items" if warehouse.schema else "plan_items",
        "mode": "replace",
        "inserted": 3210,
        "updated": 0,
        "deleted": 0,
    }
    assert extracted_at.tzinfo == UTC
    server = plan_on_server(simulator.world.plans[PLAN])
    assert all(any(item[name] for item in server) for name in LISTS), "the plan must have entries in every list"
    assert any(checklist["items"] for item in server for checklist in item["checklists"])
    loaded = plan_in_warehouse(warehouse)
    assert len(loaded) == len(server) == 3210
    for found, wanted in zip(loaded, server, strict=True):
        assert found == wanted
    again = export(warehouse)
    assert (again["inserted"], again["updated"], again["deleted"]) == (0, 0, 0)
    assert plan_in_warehouse(warehouse) == server


@pytest.mark.usefixtures("connections")
@pytest.mark.parametrize("warehouse", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "changes", [["insert"], ["delete"], ["move"], ["delete", "insert"], ["move", "edit", "insert"]]
)
def test_a_plan_that_changes_between_pages_is_read_again(
    simulator: RunningSimulator, warehouse: Warehouse, changes: list[str]
) -> None:
    plan = simulator.world.plans[PLAN]
    simulator.faults.add("mutate", path=r"/exports/.*skip=[1-9]\d*&take=1500", changes=changes)
    result = export(warehouse)
    assert result["reads"] == 2
    assert plan_in_warehouse(warehouse) == plan_on_server(plan)
    assert result["items"] == len(plan.items)


@pytest.mark.usefixtures("connections")
@pytest.mark.parametrize("warehouse", ["sqlite", "postgresql+psycopg2"], indirect=True)
def test_a_plan_that_never_stands_still_leaves_the_warehouse_untouched(
    simulator: RunningSimulator, warehouse: Warehouse
) -> None:
    rule = simulator.faults.add("mutate", path=r"/exports/.*skip=[1-9]\d*&take=1500", times=None)
    with pytest.raises(AchieveItInconsistentExportError, match=r"2 time\(s\) in a row") as caught:
        export(warehouse, max_reads=2, parallel_pages=1)
    assert caught.value.retryable
    assert rule.seen >= 2
    assert warehouse.tables() == set()
    simulator.faults.clear()
    export(warehouse)
    before = plan_in_warehouse(warehouse)
    simulator.faults.add("mutate", path=r"/exports/.*skip=[1-9]\d*&take=1500", times=None)
    with pytest.raises(AchieveItInconsistentExportError):
        export(warehouse, max_reads=2)
    assert plan_in_warehouse(warehouse) == before


@pytest.mark.usefixtures("connections")
@pytest.mark.parametrize("warehouse", ["sqlite"], indirect=True)
def test_lists_in_json_columns_are_the_servers_lists(simulator: RunningSimulator, warehouse: Warehouse) -> None:
    export(warehouse, nested="json", table="wide", unescape_html=False)
    rows = {row["id"]: row for row in warehouse.read("wide")}
    assert warehouse.tables() == {"wide"}
    for item in simulator.world.plans[PLAN].items:
        row = rows[item.fields["id"]]
        goals = json.loads(row["advanced_metric_goals"])
        assert goals == item.fields["advancedMetricGoals"]
        points = [point["doneOn"] for entry in item.fields["checklists"] for point in entry["items"]]
        assert [point["doneOn"] for entry in json.loads(row["checklists"]) for point in entry["items"]] == points
