"""What each mode promises beyond the states that :mod:`test_modes_by_model` checks."""

from __future__ import annotations

import itertools
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import inspect

from airflow_provider_achieveit.warehouse.compare import Changes
from airflow_provider_achieveit.warehouse.errors import (
    NewerStateError,
    TableMismatchError,
    TooManyDeletesError,
    WarehouseError,
)
from airflow_provider_achieveit.warehouse.load import PlanLoad, plan_load
from airflow_provider_achieveit.warehouse.loads import LastLoad
from airflow_provider_achieveit.warehouse.model import Mode, Nested
from tests.warehouse.loading import NOW, SUFFIXES, Item, load, made, plan_items, state
from tests.warehouse.real_databases import Warehouse

LATER = NOW + timedelta(hours=1)
TOMORROW = NOW + timedelta(days=1)


def last(warehouse: Warehouse, mode: Mode, plan_id: str = "plan", day: date | None = None) -> LastLoad | None:
    with plan_load(
        warehouse.engine(), table="plan_items", schema=warehouse.schema, nested=Nested.TABLES, mode=mode
    ) as loading:
        return loading.last(plan_id, day or NOW.date())


def moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def present(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that are part of the plan as it was read last."""
    return [row for row in rows if row.get("_deleted_at") is None and row.get("_valid_to") is None]


@pytest.mark.parametrize(("made_by", "mode"), list(itertools.permutations(Mode, 2)))
@pytest.mark.parametrize("warehouse", ["sqlite"], indirect=True)
def test_tables_of_another_mode_are_refused(warehouse: Warehouse, made_by: Mode, mode: Mode) -> None:
    load(warehouse, plan_items(3), mode=made_by)
    with pytest.raises(TableMismatchError) as caught:
        load(warehouse, plan_items(2), mode=mode, extracted_at=LATER)
    assert f"plan_items is one of mode '{made_by}', which a load of mode '{mode}' would spoil" in str(caught.value)
    assert len(warehouse.read("plan_items")) == 3
    assert load(warehouse, plan_items(3), mode=made_by, extracted_at=LATER).deleted == 0


@pytest.mark.parametrize("mode", Mode)
def test_every_mode_makes_its_tables(warehouse: Warehouse, mode: Mode) -> None:
    assert load(warehouse, plan_items(3), mode=mode) == Changes(before=0, inserted=3, updated=0, deleted=0)
    assert warehouse.tables() == made("plan_items")
    if warehouse.kind == "duckdb":
        # Its dialect does not tell keys.
        return
    inspector = inspect(warehouse.engine())
    for suffix in SUFFIXES:
        key = inspector.get_pk_constraint(f"plan_items{suffix}", schema=warehouse.schema)["constrained_columns"]
        places = {"": ["id"], "_checklist_items": ["item_id", "checklist_position", "position"]}
        own = places.get(suffix, ["item_id", "position"])
        day, since = ["_snapshot_date"] * (mode is Mode.SNAPSHOT), ["_valid_from"] * (mode is Mode.SCD2)
        assert key == ["plan_id", *day, *own, *since]
        indexes = inspector.get_indexes(f"plan_items{suffix}", schema=warehouse.schema)
        assert [index["column_names"] for index in indexes] == [["plan_id", "_valid_to", *own]] * (mode is Mode.SCD2)
    inspector.bind.dispose()


@pytest.mark.parametrize("mode", Mode)
def test_the_loads_table_tells_each_plan(warehouse: Warehouse, mode: Mode) -> None:
    items = [
        {"id": "a", "lastUpdated": "2026-01-01T10:00:00.1234567Z"},
        {"id": "b", "lastUpdated": "2026-01-01T10:00:00.1234568Z"},
        {"id": "c", "lastUpdated": "2026-01-01T09:00:00"},
        {"id": "d"},
        {"id": "e", "lastUpdated": "soon"},
        {"id": "f", "lastUpdated": 2030},
    ]
    assert last(warehouse, mode) is None
    load(warehouse, items, mode=mode, settings="shape 1")
    load(warehouse, [], "empty plan", mode=mode, extracted_at=LATER)
    rows = warehouse.read("plan_items_loads", order="plan_id")
    assert [(row["plan_id"], row["mode"], row["settings"], row["items"], row["newest_change"]) for row in rows] == [
        ("empty plan", mode, "", 0, None),
        ("plan", mode, "shape 1", 6, "2026-01-01T10:00:00.1234568Z"),
    ]
    assert [moment(row["_extracted_at"]) for row in rows] == [LATER, NOW]
    assert last(warehouse, mode) == LastLoad(NOW, 6, "2026-01-01T10:00:00.1234568Z", "shape 1")
    assert last(warehouse, mode, "empty plan") == LastLoad(LATER, 0, None, "")
    assert last(warehouse, mode, "no plan") is None
    warehouse.execute(f"DELETE FROM {warehouse.name('plan_items')} WHERE id = 'a'")
    assert last(warehouse, mode) is None, "somebody else has been at the table"
    warehouse.execute(f"DROP TABLE {warehouse.name('plan_items_loads')}")
    assert last(warehouse, mode, "empty plan") is None


@pytest.mark.parametrize(
    ("texts", "newest"),
    [
        (["2026-01-01T10:00:00+02:00", "2026-01-01T09:00:00Z"], "2026-01-01T09:00:00Z"),
        (["2026-01-01T09:00:00", "2026-01-01T10:00:00.1"], "2026-01-01T10:00:00.1"),
        (["soon", "2025-01-01"], "2025-01-01"),
        (["soon", ""], None),
    ],
)
def test_the_newest_change_is_the_latest_moment_in_the_words_of_the_api(
    sqlite: Warehouse, texts: list[str], newest: str | None
) -> None:
    for order in (texts, texts[::-1]):
        load(sqlite, [{"id": text, "lastUpdated": text} for text in order], "plan")
        assert sqlite.read("plan_items_loads", order="1")[0]["newest_change"] == newest


@pytest.mark.parametrize("mode", Mode)
def test_too_many_items_that_are_gone_are_refused(warehouse: Warehouse, mode: Mode) -> None:
    load(warehouse, plan_items(10), mode=mode)
    load(warehouse, plan_items(10), "other plan", mode=mode)
    before = {suffix: warehouse.read(f"plan_items{suffix}") for suffix in [*SUFFIXES, "_loads"]}
    # On the same day, and on the next, which has no snapshot yet.
    for at in (LATER, TOMORROW):
        for left in (0, 4):
            with pytest.raises(
                TooManyDeletesError, match=rf"{10 - left} of its 10 items in .*plan_items \({10 - left}0%\) are no"
            ):
                load(warehouse, plan_items(left), mode=mode, extracted_at=at, max_delete_ratio=0.5)
        assert {suffix: warehouse.read(f"plan_items{suffix}") for suffix in [*SUFFIXES, "_loads"]} == before
    load(warehouse, plan_items(6), mode=mode, extracted_at=TOMORROW, max_delete_ratio=0.5)
    # Those that were gone before do not count again.
    load(warehouse, plan_items(3), mode=mode, extracted_at=TOMORROW + timedelta(hours=1), max_delete_ratio=0.5)
    load(warehouse, [], mode=mode, extracted_at=TOMORROW + timedelta(hours=2), max_delete_ratio=1)
    load(warehouse, [], mode=mode, extracted_at=TOMORROW + timedelta(hours=30), max_delete_ratio=0)


def test_a_snapshot_is_judged_by_the_newest_of_its_plan_up_to_its_day(warehouse: Warehouse) -> None:
    def snapshot(count: int, day: int, ratio: float, hour: int = 0) -> Changes:
        return load(
            warehouse,
            plan_items(count),
            mode=Mode.SNAPSHOT,
            extracted_at=NOW + timedelta(hours=hour),
            snapshot_date=date(2026, 1, day),
            max_delete_ratio=ratio,
        )

    snapshot(4, 10, 0)
    snapshot(8, 20, 0)
    with pytest.raises(TooManyDeletesError, match="4 of its 8"):
        snapshot(4, 25, 0)
    assert snapshot(4, 15, 0).inserted == 4
    with pytest.raises(TooManyDeletesError, match="2 of its 4"):
        snapshot(2, 15, 0.1, hour=1)
    assert snapshot(3, 9, 0) == Changes(before=0, inserted=3, updated=0, deleted=0)
    assert len(warehouse.read("plan_items")) == 19


def test_a_snapshot_needs_its_day(sqlite: Warehouse) -> None:
    with plan_load(sqlite.engine(), table="t", schema=None, nested=Nested.DROP, mode=Mode.SNAPSHOT) as loading:
        with pytest.raises(ValueError, match="snapshot_date"):
            loading.apply("plan", extracted_at=NOW, max_delete_ratio=1)
        with pytest.raises(ValueError, match="snapshot_date"):
            loading.last("plan")


@pytest.mark.parametrize("warehouse", ["postgresql+psycopg2", "mariadb"], indirect=True)
def test_a_first_load_that_the_loads_table_refuses_says_why(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(1), "other plan")
    warehouse.execute(f"ALTER TABLE {warehouse.name('plan_items_loads')} ADD CONSTRAINT only_one CHECK (items < 2)")
    with pytest.raises(WarehouseError, match=r"refused the load into .*plan_items.* Nothing was written.*only_one"):
        load(warehouse, plan_items(2))
    assert len(warehouse.read("plan_items")) == 1


@pytest.mark.parametrize("mode", Mode)
def test_an_emptied_plan_is_not_filled_again_by_an_older_read(warehouse: Warehouse, mode: Mode) -> None:
    load(warehouse, plan_items(2), mode=mode, extracted_at=NOW - timedelta(hours=1))
    load(warehouse, [], mode=mode, extracted_at=LATER)
    with pytest.raises(NewerStateError, match=r"correct _extracted_at of the plan in .*plan_items_loads"):
        load(warehouse, plan_items(2), mode=mode)
    assert present(warehouse.read("plan_items")) == []
    moved = {"sqlite": NOW.isoformat()}.get("sqlite" if warehouse.sqlite else "", str(NOW.replace(tzinfo=None)))
    warehouse.execute(f"UPDATE {warehouse.name('plan_items_loads')} SET _extracted_at = '{moved}'")
    assert load(warehouse, plan_items(2), mode=mode).inserted == 2


@pytest.mark.parametrize("mode", Mode)
def test_rows_that_nothing_is_told_of_are_not_overwritten_by_an_older_read(warehouse: Warehouse, mode: Mode) -> None:
    """Older releases made no table of loads."""
    load(warehouse, plan_items(2), mode=mode, extracted_at=LATER)
    warehouse.execute(f"DROP TABLE {warehouse.name('plan_items_loads')}")
    before = state(warehouse)
    with pytest.raises(NewerStateError, match=r"correct _extracted_at of the plan in .*plan_items and run"):
        load(warehouse, plan_items(1), mode=mode)
    assert state(warehouse) == before
    changed = load(warehouse, plan_items(1), mode=mode, extracted_at=LATER + timedelta(minutes=1))
    assert (changed.inserted, changed.updated, changed.deleted) == (0, 0, 1)


def test_an_older_snapshot_of_another_day_is_as_good_as_any(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(2), mode=Mode.SNAPSHOT, extracted_at=TOMORROW)
    assert load(warehouse, plan_items(3), mode=Mode.SNAPSHOT, extracted_at=NOW).inserted == 3
    assert len(warehouse.read("plan_items")) == 5


def test_merge_leaves_columns_of_the_users_own_and_rows_that_are_the_same(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(4), mode=Mode.MERGE)
    for table in ("plan_items", "plan_items_tags"):
        warehouse.execute(f"ALTER TABLE {warehouse.name(table)} ADD COLUMN note VARCHAR(10)")
        warehouse.execute(f"UPDATE {warehouse.name(table)} SET note = 'ours'")
    changed = plan_items(5)
    changed[1]["name"] = "new name"
    changed[2]["tags"] = [changed[2]["tags"][0], {"name": "new tag"}, {"name": "one more"}]
    assert load(warehouse, changed, mode=Mode.MERGE, extracted_at=LATER) == Changes(4, 1, 2, 0)
    items = warehouse.read("plan_items")
    assert [row["note"] for row in items] == ["ours"] * 4 + [None]
    assert [moment(row["_extracted_at"]) for row in items] == [NOW, LATER, NOW, NOW, LATER]
    tags = [row for row in warehouse.read("plan_items_tags") if row["item_id"] == "i2"]
    assert [(row["note"], row["name"]) for row in tags] == [("ours", "n0"), ("ours", "new tag"), (None, "one more")]
    assert [moment(row["_extracted_at"]) for row in tags] == [NOW, LATER, LATER]


def test_an_item_that_comes_back_is_itself_again(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(2), mode=Mode.MERGE)
    load(warehouse, plan_items(1), mode=Mode.MERGE, extracted_at=LATER)
    load(warehouse, plan_items(1), mode=Mode.MERGE, extracted_at=LATER + timedelta(hours=1))
    gone = warehouse.read("plan_items")[1]
    assert (moment(gone["_deleted_at"]), moment(gone["_extracted_at"])) == (LATER, NOW)
    assert len(warehouse.read("plan_items_tags")) == 4
    assert load(warehouse, plan_items(2), mode=Mode.MERGE, extracted_at=TOMORROW) == Changes(1, 1, 0, 0)
    back = warehouse.read("plan_items")[1]
    assert (back["_deleted_at"], moment(back["_extracted_at"])) == (None, TOMORROW)
    assert {moment(row["_extracted_at"]) for row in warehouse.read("plan_items_tags")} == {NOW}


def test_another_state_of_the_same_moment_leaves_no_version_of_no_time(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(3), mode=Mode.SCD2)
    for name, count in (("wrong", 4), ("right", 2)):
        load(warehouse, plan_items(count, name), mode=Mode.SCD2, extracted_at=LATER)
    rows = warehouse.read("plan_items")
    closed = [
        (row["id"], row["name"], moment(row["_valid_from"]), moment(row["_valid_to"]))
        for row in rows
        if row["_valid_to"] is not None
    ]
    assert sorted(closed) == [(f"i{number}", "n", NOW, LATER) for number in range(3)]
    current = [(row["id"], row["name"], moment(row["_valid_from"])) for row in present(rows)]
    assert sorted(current) == [(f"i{number}", "right", LATER) for number in range(2)]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("nested", [Nested.JSON, Nested.DROP])
def test_child_rows_do_not_outlive_a_change_of_nested(warehouse: Warehouse, mode: Mode, nested: Nested) -> None:
    if nested is Nested.JSON:
        # Their columns must be there from the start.
        load(warehouse, [], "no plan", mode=mode, nested=nested)
    load(warehouse, plan_items(3), mode=mode)
    load(warehouse, plan_items(3), "other plan", mode=mode)
    load(warehouse, plan_items(2), mode=mode, nested=nested, extracted_at=LATER)
    for suffix in SUFFIXES:
        rows = present(warehouse.read(f"plan_items{suffix}", order="1, 2, 3, 4"))
        kept = 1 if mode is Mode.MERGE else 0
        per_item = 2 if suffix else 1
        assert len([row for row in rows if row["plan_id"] == "other plan"]) == 3 * per_item
        left = [row for row in rows if row["plan_id"] == "plan"]
        if suffix:
            assert len(left) == kept * per_item, "of the item that is gone"
        else:
            assert len(left) == 2
    if mode is not Mode.MERGE:
        load(warehouse, plan_items(3), mode=mode, extracted_at=LATER + timedelta(hours=1))
        rows = present(warehouse.read("plan_items_tags"))
        assert len([row for row in rows if row["plan_id"] == "plan"]) == 6


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("nested", [Nested.TABLES, Nested.DROP])
def test_lists_in_columns_do_not_outlive_a_change_of_nested(warehouse: Warehouse, mode: Mode, nested: Nested) -> None:
    load(warehouse, plan_items(3), mode=mode, nested=Nested.JSON)
    load(warehouse, plan_items(1), "other plan", mode=mode, nested=Nested.JSON)
    changed = load(warehouse, plan_items(2), mode=mode, nested=nested, extracted_at=LATER)
    assert (changed.inserted, changed.updated, changed.deleted) == (0, 2, 1)
    rows = warehouse.read("plan_items")
    [other] = [row for row in rows if row["plan_id"] == "other plan"]
    current = [row for row in rows if row["plan_id"] == "plan" and not (row.get("_deleted_at") or row.get("_valid_to"))]
    for name in ("members", "admins", "tags", "advanced_metric_goals", "checklists"):
        assert other[name]
        assert [row[name] for row in current] == [None, None]
    again = load(warehouse, plan_items(2), mode=mode, nested=nested, extracted_at=LATER + timedelta(minutes=1))
    assert (again.inserted, again.updated, again.deleted) == (0, 0, 0)


@pytest.mark.parametrize("warehouse", ["sqlite"], indirect=True)
def test_a_column_of_the_users_own_with_the_name_of_a_list_is_left_alone(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(1), mode=Mode.MERGE)
    warehouse.execute("ALTER TABLE plan_items ADD COLUMN tags TEXT")
    warehouse.execute("UPDATE plan_items SET tags = 'mine'")
    load(warehouse, plan_items(1, "new"), mode=Mode.MERGE, extracted_at=LATER)
    assert [(row["name"], row["tags"]) for row in warehouse.read("plan_items")] == [("new", "mine")]


@pytest.mark.parametrize("mode", Mode)
def test_ids_that_become_one_in_the_database_are_refused(warehouse: Warehouse, mode: Mode) -> None:
    """UTF-8 has no bytes for half of a pair."""
    load(warehouse, [{"id": "i\ufffd"}], mode=mode)
    before = state(warehouse)
    with pytest.raises(WarehouseError, match="Nothing was written"):
        load(warehouse, [{"id": "i\ud83d", "name": "one"}, {"id": "i\ud83e", "name": "two"}], mode=mode)
    assert state(warehouse) == before


@pytest.mark.parametrize("mode", Mode)
def test_a_load_may_be_applied_again(warehouse: Warehouse, mode: Mode) -> None:
    """The staged rows stay as they are: the same once more changes nothing."""
    counted: list[Changes] = []

    def apply(loading: PlanLoad) -> None:
        counted.append(
            loading.apply("plan", extracted_at=LATER, max_delete_ratio=1, snapshot_date=NOW.date(), settings="s")
        )

    items: list[Item] = plan_items(4, "new")
    load(warehouse, plan_items(5), mode=mode)
    counted.append(load(warehouse, items, mode=mode, extracted_at=LATER, snapshot_date=NOW.date(), before_apply=apply))
    assert counted == [Changes(5, 0, 4, 1), Changes(4, 0, 0, 0)]
