"""The operator against a running server and real databases: what the server has is what the tables hold."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from airflow.providers.common.sql.hooks.sql import DbApiHook

from airflow_provider_achieveit.exceptions import AchieveItInconsistentExportError
from airflow_provider_achieveit.operators import export as export_module
from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator
from airflow_provider_achieveit.simulator.export import escaped
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


class MariadbHook(DbApiHook):
    """Stands in for Airflow's MySqlHook, whose package needs a MySQL client to be built."""

    conn_name_attr = "mariadb_conn_id"

    def __init__(self, url: str) -> None:
        super().__init__(mariadb_conn_id="warehouse")
        self.url = url

    def get_uri(self) -> str:
        return self.url


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running(world=World()) as started:
        yield started


@pytest.fixture
def connections(simulator: RunningSimulator, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", simulator.connection())
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", warehouse.airflow_connection)
    if warehouse.kind == "mysql" and importlib.util.find_spec("airflow.providers.mysql") is None:
        monkeypatch.setattr(export_module, "database_hook", lambda _: MariadbHook(warehouse.url))
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
        elif name in DECIMALS and entry not in NO_DECIMALS:
            fields[name] = Decimal(str(entry))
        elif name in MOMENTS and entry not in NO_MOMENTS:
            moment = datetime.fromisoformat(entry)
            fields[name] = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        else:
            fields[name] = entry
    return fields


def stored(row: dict[str, Any], *own: str) -> dict[str, Any]:
    """Return a row under the API's names, without the columns of our ``own``; what is in ``extra`` came so."""
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
    extra = json.loads(row["extra"] or "{}", parse_float=Decimal)
    for name in extra.keys() & DECIMALS:
        # More digits than the column has.
        if extra[name] not in NO_DECIMALS:
            assert fields[name] is None
            extra[name] = Decimal(extra[name])
    return fields | extra


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
    assert warehouse.tables() == {"wide", "wide_loads"}
    for item in simulator.world.plans[PLAN].items:
        row = rows[item.fields["id"]]
        goals = json.loads(row["advanced_metric_goals"])
        assert goals == item.fields["advancedMetricGoals"]
        points = [point["doneOn"] for entry in item.fields["checklists"] for point in entry["items"]]
        assert [point["doneOn"] for entry in json.loads(row["checklists"]) for point in entry["items"]] == points


NO_DECIMALS = ("n/a", "1.2.3", "12 %")
NO_MOMENTS = ("soon", "2026-02-30", "2026-05-04T10:20:30.1234567+02:00")
LONG = "Zeile äöü 😀 \\N \\ \t \r\n 'q' \"d\" %s %(x)s :x $1 ? `b` \x01\x1f\u2028 " * 18_000
AWKWARD: list[dict[str, Any]] = [
    # Ids that some comparisons take for the same.
    *(
        {"id": same}
        for same in ("same", "SAME", "same ", " same", "säme", "sa\u0308me", "same\t", "\u017fame", "x" * 255)
    ),
    {"baseline": "123456789012345678.123456789012345678", "target": "9007199254740993", "currentValue": "-0.10"},
    {"baseline": "0.000000000000000001", "target": "99999999999999999999", "currentValue": "1e3"},
    {"baseline": "1E-30", "target": "1" * 60, "currentValue": "0." + "3" * 40},
    {"baseline": "", "target": "n/a", "currentValue": "1.2.3"},
    {"baseline": "12 %", "target": "+5", "currentValue": "-.5"},
    {"description": "x" * 2**20, "lastComment": LONG},
    {"description": "", "lastComment": " ", "statusName": "NULL", "updateFrequency": "None", "level": "\\N"},
    {"name": "a\x00b", "description": "\x00", "unknown": "c\x00d", "tags": [{"id": "t", "name": "\x00t"}]},
    {"name": "R&D <3 \"q\" 'a' &amp; &lt;", "description": "<p>&amp;&nbsp;</p>", "lastComment": "&#39;"},
    {"updates": 2**53 + 1, "files": 2**63 - 1, "units": -(2**63), "detail": 2**63, "status": "7"},
    {"hasMetric": None, "isOrphan": "yes", "isPastDue": 1},
    {"start": "2026-05-04T10:20:30.123456-05:00", "due": "2026-05-04", "created": "2026-05-04T10:20:30.1234567+02:00"},
    {"start": "0001-01-01T00:00:00Z", "due": "9999-12-31T23:59:59.999999Z", "created": "2026-05-04T10:20:30.5"},
    {"start": "soon", "due": "2026-02-30", "created": "20260504T102030Z"},
    {"own": {"list": [1, 1.5, None, "a\x00", {"deep": "😀"}]}, "Odd name!": True, "": "no name", "empty": None},
    {"planName": "\U0001d4ab 🇩🇪 👩‍👩‍👧 \ufeff \u202e \ufffd", "indentedName": "    indented", "alignsTo": "e\u0301"},
    {"members": None, "admins": [], "tags": "none", "checklists": [1], "advancedMetricGoals": [{}]},
    {"tags": [{"id": "t" * 300, "name": "same "}, {"id": "t", "name": "same"}, {"id": "t", "name": "SAME"}]},
    {"advancedMetricGoals": [{"goalName": "R&D", "metricBucketValue": "1E-30", "sortOrder": 2**70, "odd": 1}]},
    {
        "checklists": [
            {"id": None, "name": "x", "items": [{"doneOn": "soon", "name": "p"}, {"own": 1}]},
            {"items": "no"},
        ]
    },
]
"""What is put into items one after the other."""


def awkward_plan() -> Plan:
    plan = generated_plan(len(AWKWARD) + 2, seed=11, plan_id=PLAN)
    for item, edits in zip(plan.items, AWKWARD, strict=False):
        item.fields.update(edits)
    for name in [name for name in plan.items[-1].fields if name not in ("id", "sequenceId", "rowNumber")]:
        del plan.items[-1].fields[name]
    return plan


def entries(value: Any) -> list[dict[str, Any]]:
    """Return a list of objects as the tables tell it; anything else is kept whole, in ``extra``."""
    objects = isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
    return [expected(entry) for entry in value] if objects else []


@pytest.mark.usefixtures("connections")
@pytest.mark.parametrize("nested", ["tables", "json", "drop"])
def test_awkward_items_arrive_field_by_field(simulator: RunningSimulator, warehouse: Warehouse, nested: str) -> None:
    plan = simulator.world.plans[PLAN] = awkward_plan()
    assert export(warehouse, nested=nested)["items"] == len(plan.items)
    rows = {row["id"]: row for row in warehouse.read("plan_items")}
    assert len(rows) == len(plan.items)
    for item in plan.items:
        row = rows[item.fields["id"]]
        lists = {name: item.fields.get(name) for name in LISTS}
        extra = json.loads(row["extra"] or "{}")
        if nested == "json":
            for name, value in lists.items():
                column = row.pop(re.sub("([A-Z])", r"_\1", name).lower())
                assert (column and json.loads(column)) == escaped(value)
        found, wanted = stored(row), expected({"planId": PLAN} | item.fields)
        for name, value in lists.items():
            kept = nested == "tables" and value and not entries(value)
            assert extra.get(name) == (value if kept else None)
            found.pop(name, None), wanted.pop(name, None)
        assert {name: value for name, value in found.items() if value is not None} == {
            name: value for name, value in wanted.items() if value is not None
        }
    if nested == "tables":
        assert_lists(warehouse, plan)
    again = export(warehouse, nested=nested)
    assert (again["inserted"], again["updated"], again["deleted"]) == (0, 0, 0)


def assert_lists(warehouse: Warehouse, plan: Plan) -> None:
    for name, suffix in LISTS.items():
        found: dict[str, list[dict[str, Any]]] = {}
        for row in warehouse.read(f"plan_items{suffix}", order="item_id, position"):
            found.setdefault(row["item_id"], []).append(stored(row, "plan_id", "item_id", "position"))
        wanted = {item.fields["id"]: entries(item.fields.get(name)) for item in plan.items}
        assert {key: [told(entry) for entry in value] for key, value in found.items()} == {
            key: [told(entry) for entry in value] for key, value in wanted.items() if value
        }


def told(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what an entry tells, without what is NULL; the points of a checklist are another table's."""
    return {name: value for name, value in entry.items() if value is not None and name != "items"}


@pytest.mark.usefixtures("connections")
def test_a_change_that_some_comparisons_do_not_see_is_one(simulator: RunningSimulator, warehouse: Warehouse) -> None:
    plan = simulator.world.plans[PLAN] = generated_plan(12, seed=11, plan_id=PLAN)
    edits = [
        ("name", "case", "Case"),
        ("name", "blank", "blank "),
        ("name", "accent", "accént"),
        ("name", "composed \u00e9", "composed e\u0301"),
        ("description", "", None),
        ("description", "x" * 70_000 + "y", "x" * 70_000 + "z"),
        ("baseline", "1.000000000000000001", "1.000000000000000002"),
        ("start", "2026-05-04T10:20:30.123456Z", "2026-05-04T10:20:30.123457Z"),
        ("hasMetric", False, None),
        ("own", "a", "A"),
        ("own", 1, True),
    ]
    for item, (name, old, _) in zip(plan.items, edits, strict=False):
        item.fields[name] = old
    export(warehouse)
    for item, (name, _, new) in zip(plan.items, edits, strict=False):
        item.fields[name] = new
    changed = export(warehouse)
    assert (changed["inserted"], changed["updated"], changed["deleted"]) == (0, len(edits), 0)
