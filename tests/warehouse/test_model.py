"""The tables and columns that dashboards are built on: their names must not change by accident."""

from __future__ import annotations

import pytest

from airflow_provider_achieveit.api import contract
from airflow_provider_achieveit.warehouse.model import ColumnType, Nested, plan_tables, snake_case


def columns(nested: Nested, suffix: str) -> dict[str, ColumnType]:
    table = next(table for table in plan_tables(nested) if table.suffix == suffix)
    return {column.name: column.type for column in table.columns}


def test_tables_and_their_keys() -> None:
    child_key = ("plan_id", "item_id", "position")
    assert {table.suffix: table.key for table in plan_tables(Nested.TABLES)} == {
        "": ("plan_id", "id"),
        "_members": child_key,
        "_admins": child_key,
        "_tags": child_key,
        "_metric_goals": child_key,
        "_checklists": child_key,
        "_checklist_items": ("plan_id", "item_id", "checklist_position", "position"),
    }


@pytest.mark.parametrize("nested", [Nested.JSON, Nested.DROP])
def test_other_ways_for_lists_need_one_table(nested: Nested) -> None:
    assert [table.suffix for table in plan_tables(nested)] == [""]


def test_every_field_of_the_contract_has_a_column_of_its_type() -> None:
    items = columns(Nested.TABLES, "")
    assert items == {snake_case(name): ColumnType(kind.value) for name, kind in contract.ITEM_FIELDS.items()} | {
        "extra": ColumnType.JSON,
        "_extracted_at": ColumnType.MOMENT,
    }
    assert columns(Nested.DROP, "") == items
    assert columns(Nested.JSON, "") == items | dict.fromkeys(
        ["members", "admins", "tags", "advanced_metric_goals", "checklists"], ColumnType.JSON
    )


def test_child_tables() -> None:
    text, integer, moment, decimal = (ColumnType(kind) for kind in ("text", "integer", "moment", "decimal"))
    owner = {"plan_id": text, "item_id": text, "position": integer}
    own = {"extra": ColumnType.JSON, "_extracted_at": moment}
    person = {"id": text, "name": text, "type": text}
    goal = {
        "goal_id": text,
        "goal_name": text,
        "goal_color": text,
        "metric_bucket_value": decimal,
        "sort_order": integer,
    }
    point = {"id": text, "name": text, "sort_index": integer, "done_on": moment}
    assert columns(Nested.TABLES, "_members") == owner | person | own
    assert columns(Nested.TABLES, "_admins") == owner | person | own
    assert columns(Nested.TABLES, "_tags") == owner | {"id": text, "organization_id": text, "name": text} | own
    assert columns(Nested.TABLES, "_metric_goals") == owner | goal | own
    assert columns(Nested.TABLES, "_checklists") == owner | {"id": text, "name": text, "sort_index": integer} | own
    place = {"checklist_id": text, "checklist_position": integer}
    assert columns(Nested.TABLES, "_checklist_items") == owner | place | point | own


@pytest.mark.parametrize(
    ("api", "column"),
    [("currentValue", "current_value"), ("id", "id"), ("assignedToFullName", "assigned_to_full_name")],
)
def test_snake_case(api: str, column: str) -> None:
    assert snake_case(api) == column
