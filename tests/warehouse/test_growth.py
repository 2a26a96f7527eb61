"""Tables that are there: made by an older model, or by somebody else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_achieveit.api import contract
from airflow_provider_achieveit.warehouse.databases.catalog import catalog_of
from airflow_provider_achieveit.warehouse.errors import TableMismatchError
from airflow_provider_achieveit.warehouse.model import Mode, Nested
from tests.depth import depth
from tests.warehouse.loading import NOW, SUFFIXES, load, plan_items, state
from tests.warehouse.real_databases import Warehouse

LATER = NOW + timedelta(hours=1)
NEWER = ("name", "baseline", "start", "hasMetric", "updates")
"""Fields of an item that the older model does not know; of tags it does not know the name."""


def load_with_an_older_model(warehouse: Warehouse, *plans: str, table: str = "plan_items", **options: Any) -> None:
    older = {name: kind for name, kind in contract.ITEM_FIELDS.items() if name not in NEWER}
    tags = {name: kind for name, kind in contract.CHILD_FIELDS["tags"].items() if name != "name"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contract, "ITEM_FIELDS", older)
        patch.setattr(contract, "CHILD_FIELDS", contract.CHILD_FIELDS | {"tags": tags})
        for plan in plans:
            load(warehouse, [item(0), item(1)], plan, table=table, **options)
    columns = warehouse.read(table)[0].keys()
    assert not columns & {"name", "baseline", "start", "has_metric", "updates"}


def item(number: int, name: str = "n") -> dict[str, Any]:
    return plan_items(number + 1, name)[number] | {
        "baseline": "1.10",
        "start": "2026-01-02T03:04:05.678901Z",
        "hasMetric": True,
        "updates": 7,
    }


@pytest.mark.parametrize("mode", Mode)
def test_columns_of_a_newer_model_are_added(warehouse: Warehouse, mode: Mode) -> None:
    load_with_an_older_model(warehouse, "old plan", "plan", mode=mode)
    before = [row for row in warehouse.read("plan_items") if row["plan_id"] == "old plan"]
    changed = load(warehouse, [item(0), item(1)], mode=mode, extracted_at=LATER, snapshot_date=NOW.date())
    assert (changed.inserted, changed.updated, changed.deleted) == (0, 2, 0)
    load(warehouse, [item(0), item(1)], table="new", mode=mode, extracted_at=LATER, snapshot_date=NOW.date())
    for suffix in SUFFIXES:
        grown, new = warehouse.read(f"plan_items{suffix}", order="1, 2, 3, 4"), warehouse.read(f"new{suffix}")
        assert grown[0].keys() == new[0].keys()
        assert suffix or [row["name"] for row in grown if row["plan_id"] == "old plan"] == [None, None]
    grown = warehouse.read("plan_items")
    kept = [{name: row[name] for name in before[0]} for row in grown if row["plan_id"] == "old plan"]
    assert kept == before, "another plan's rows are as they were"
    current = [row for row in grown if row["plan_id"] == "plan" and not row.get("_valid_to")]
    assert current == warehouse_rows(warehouse, "new", like=current)
    assert sorted(row["name"] for row in warehouse.read("plan_items_tags") if row["name"]) == ["n0", "n0", "n1", "n1"]


def warehouse_rows(warehouse: Warehouse, table: str, *, like: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a table with the columns in the order of others."""
    return [{name: row[name] for name in like[0]} for row in warehouse.read(table)]


def test_lists_get_their_json_columns_where_there_were_none(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(2), nested=Nested.DROP)
    load(warehouse, plan_items(2), nested=Nested.JSON)
    assert all(row["tags"] and row["members"] for row in warehouse.read("plan_items"))


def test_odd_names_grow_too(warehouse: Warehouse) -> None:
    name = 'Plan "1" 100% x'
    load_with_an_older_model(warehouse, "plan", table=name)
    assert load(warehouse, [item(0)], table=name).updated == 1
    assert warehouse.read(name)[0]["name"] == "n"


@pytest.mark.parametrize("column", ["_extracted_at", "extra", "position"])
def test_a_table_of_the_users_own_gets_no_columns(warehouse: Warehouse, column: str) -> None:
    load(warehouse, plan_items(2))
    tags = warehouse.name("plan_items_tags")
    quote = warehouse.engine().dialect.identifier_preparer.quote
    columns = [quote(name) for name in warehouse.read("plan_items_tags")[0] if name not in (column, "name")]
    warehouse.execute(f"CREATE TABLE {warehouse.name('kept')} AS SELECT {', '.join(columns)} FROM {tags}")
    warehouse.execute(f"DROP TABLE {tags}")
    warehouse.execute(f"CREATE TABLE {tags} AS SELECT * FROM {warehouse.name('kept')}")
    before = warehouse.read("plan_items_tags", order="1")
    with pytest.raises(TableMismatchError, match=rf"plan_items_tags exists but lacks the column\(s\) .*{column}"):
        load(warehouse, plan_items(3))
    assert warehouse.read("plan_items_tags", order="1") == before


@pytest.mark.parametrize("warehouse", ["postgresql+psycopg2"], indirect=True)
def test_a_table_that_another_load_makes_in_between_is_one(warehouse: Warehouse) -> None:
    warehouse.execute(f"CREATE TABLE {warehouse.name('earlier')} (id INTEGER)")
    with warehouse.engine().connect() as connection, connection.begin():
        catalog = catalog_of(connection)
        assert catalog.is_table("earlier", warehouse.schema)
        assert not catalog.is_table("later", warehouse.schema)
        warehouse.execute(f"CREATE TABLE {warehouse.name('later')} (id INTEGER)")
        assert catalog.columns("later", warehouse.schema)
        assert catalog.is_table("later", warehouse.schema)


def test_tables_grow_while_they_are_loaded_and_made(warehouse: Warehouse) -> None:
    """Loads of many plans begin together: the first makes the columns, and none waits for ever or fails."""
    plans = [f"plan {number}" for number in range(6)]
    for turn in range(depth(3, short=1)):
        table = f"t{turn}"
        load_with_an_older_model(warehouse, *plans, table=table)
        warehouse.execute(f"DROP TABLE {warehouse.name(f'{table}_admins')}")
        together = threading.Barrier(len(plans), timeout=60)

        def wait(_: object, together: threading.Barrier = together) -> None:
            together.wait()

        def load_one(plan: str, table: str = table, wait: Callable[[object], None] = wait) -> int:
            return load(warehouse, [item(0), item(1)], plan, table=table, extracted_at=LATER, before_apply=wait).updated

        with ThreadPoolExecutor(len(plans)) as pool:
            assert list(pool.map(load_one, plans)) == [2] * len(plans)
        for plan in plans:
            there = state(warehouse, plan, table)
            assert [(row["name"], str(row["start"])[:4], row["updates"]) for row in there[""]] == [("n", "2026", 7)] * 2
            assert len(there["_admins"]) == len(there["_tags"]) == 4
