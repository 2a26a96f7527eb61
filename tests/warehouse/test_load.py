"""Loads into real databases: atomic, repeatable, side by side, and refused before harm is done."""

from __future__ import annotations

import itertools
import json
import random
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Context, Decimal
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Column, MetaData, Table, Text, create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from airflow_provider_achieveit.warehouse.compare import Changes
from airflow_provider_achieveit.warehouse.databases import database_of
from airflow_provider_achieveit.warehouse.errors import (
    NewerStateError,
    TableMismatchError,
    TooManyDeletesError,
    WarehouseError,
)
from airflow_provider_achieveit.warehouse.load import plan_load
from airflow_provider_achieveit.warehouse.model import ColumnType, Nested, plan_tables
from airflow_provider_achieveit.warehouse.rows import RowMaker
from tests.depth import depth
from tests.warehouse.loading import NOW, SUFFIXES, Item, load, made, plan_items, state
from tests.warehouse.real_databases import Warehouse

EXACT = Context(prec=99)
CATALOGUES = re.compile(r"pg_catalog|information_schema|sqlite_master|table_x?info|duckdb_(schemas|tables|columns)\(")


def test_the_first_load_makes_the_tables_and_nothing_else(warehouse: Warehouse) -> None:
    assert load(warehouse, plan_items(250)) == Changes(before=0, inserted=250, updated=0, deleted=0)
    assert warehouse.tables() == made("plan_items")
    assert {suffix: len(rows) for suffix, rows in state(warehouse).items()} == {
        suffix: 250 if not suffix else 500 for suffix in SUFFIXES
    }


def test_the_same_load_twice_changes_nothing_but_the_moment(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(120))
    before = state(warehouse)
    later = NOW + timedelta(days=1)
    assert load(warehouse, plan_items(120), extracted_at=later) == Changes(before=120, inserted=0, updated=0, deleted=0)
    assert state(warehouse) == before
    moments = {row["_extracted_at"] for suffix in SUFFIXES for row in warehouse.read(f"plan_items{suffix}")}
    assert [moment if isinstance(moment, datetime) else datetime.fromisoformat(moment) for moment in moments] == [later]


def test_the_catalogue_is_looked_at_before_the_plan_is_read_only(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(2))
    engine, statements, before = warehouse.engine(), list[str](), list[str]()
    event.listen(engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    load(warehouse, plan_items(2, "other"), engine=engine, before_apply=lambda _: before.extend(statements))
    looks = [bool(CATALOGUES.search(statement)) for statement in statements]
    assert any(looks[: len(before)])
    assert not any(looks[len(before) :])


def test_a_table_that_goes_away_while_the_plan_is_read_is_made_by_the_next_load(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(2))
    before = warehouse.read("plan_items")
    with pytest.raises((WarehouseError, OperationalError), match="plan_items_tags"):
        load(
            warehouse,
            plan_items(2, "other"),
            before_apply=lambda _: warehouse.execute(f"DROP TABLE {warehouse.name('plan_items_tags')}"),
        )
    assert warehouse.read("plan_items") == before
    load(warehouse, plan_items(2, "other"))
    assert [row["name"] for row in warehouse.read("plan_items")] == ["other"] * 2
    assert len(warehouse.read("plan_items_tags")) == 4


def test_the_tables_mirror_the_plan(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(50, "old"))
    assert load(warehouse, plan_items(20, "new")) == Changes(before=50, inserted=0, updated=20, deleted=30)
    mirrored = state(warehouse)
    load(warehouse, plan_items(20, "new"), table="fresh")
    assert mirrored == state(warehouse, table="fresh")


def test_plans_share_tables_and_do_not_touch_each_other(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(30, "a"), "plan a")
    load(warehouse, plan_items(40, "b"), "plan b")
    untouched = state(warehouse, "plan a")
    assert load(warehouse, plan_items(10, "c"), "plan b") == Changes(before=40, inserted=0, updated=10, deleted=30)
    assert state(warehouse, "plan a") == untouched
    assert len(warehouse.read("plan_items")) == 40


def test_an_emptied_plan_is_emptied_where_that_is_allowed(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(5))
    assert load(warehouse, [], max_delete_ratio=1) == Changes(before=5, inserted=0, updated=0, deleted=5)
    assert all(rows == [] for rows in state(warehouse).values())
    assert load(warehouse, [], max_delete_ratio=0) == Changes(before=0, inserted=0, updated=0, deleted=0)


def test_changes_are_counted_as_they_are(warehouse: Warehouse) -> None:
    """Compares the counts of random loads, one after the other, with a count in Python."""
    rng = random.Random(4)
    pool = plan_items(40)
    old: dict[str, Item] = {}
    for _ in range(12):
        new = {}
        for item in rng.sample(pool, rng.randint(0, 40)):
            edit = rng.choice(["none", "none", "field", "null", "tag", "fewer", "point", "own", "order"])
            edited = json.loads(json.dumps(item, default=str))
            if edit == "field":
                edited["name"] = rng.choice(["x", "y"])
            elif edit == "null":
                del edited["name"]
            elif edit == "tag":
                edited["tags"][1]["name"] = rng.choice(["x", "y"])
            elif edit == "fewer":
                edited["members"].pop()
            elif edit == "point":
                edited["checklists"][1]["items"][0]["name"] = rng.choice(["x", "y"])
            elif edit == "own":
                edited["own"]["field"] = rng.choice([1, 2])
            elif edit == "order":
                edited["admins"].reverse()
            new[item["id"]] = edited
        expected = Changes(
            before=len(old),
            inserted=len(new.keys() - old.keys()),
            updated=sum(old[item_id] != new[item_id] for item_id in old.keys() & new.keys()),
            deleted=len(old.keys() - new.keys()),
        )
        assert load(warehouse, list(new.values())) == expected
        old = new


def test_awkward_values_survive(warehouse: Warehouse) -> None:
    long_text = "Zeile äöü 😀\\N \\ \t \r\n 'q' \"d\" %s :x \x01\x1f\u2028 " * 16_000
    assert len(long_text.encode()) > 2**20 / 2
    items: list[Item] = [
        {"id": "decimals", "baseline": "123456789012345678.123456789012345678", "target": "9007199254740993"},
        {"id": "sign", "currentValue": "-0.10"},
        {"id": "text", "description": long_text + "x" * 2**20, "name": "\\N", "level": "", "planName": "NULL"},
        {"id": "null bytes", "name": "a\x00b", "description": "\x00", "unknown": "c\x00d", "tags": [{"name": "t\x00"}]},
        {"id": "numbers", "updates": 2**53 + 1, "rowNumber": -(2**63), "files": 2**63, "big": 10**40},
        {"id": "small", "x": Decimal("1E-30")},
        {"id": "not numeric", "currentValue": "n/a", "baseline": ""},
        {"id": "html", "name": "R&amp;D &lt;3", "description": "<p>&amp;</p>"},
        {"id": "missing"},
        {"id": "null", "name": None, "tags": None, "hasMetric": None},
    ]  # fmt: skip
    load(warehouse, items)
    rows = {row["id"]: row for row in warehouse.read("plan_items")}
    extra = {
        item_id: json.loads(row["extra"], parse_float=Decimal)
        for item_id, row in rows.items()
        if row["extra"] is not None
    }
    decimals = [rows["decimals"]["baseline"], rows["decimals"]["target"], rows["sign"]["current_value"]]
    # A column of a fixed scale fills up with zeros.
    if not warehouse.unlimited_decimals:
        decimals = [format(value.normalize(EXACT), "f") for value in decimals]
    assert [str(value) for value in decimals] == [
        "123456789012345678.123456789012345678",
        "9007199254740993",
        "-0.10" if warehouse.unlimited_decimals else "-0.1",
    ]
    assert rows["text"]["description"] == long_text + "x" * 2**20
    assert [rows["text"][name] for name in ("name", "level", "plan_name")] == ["\\N", "", "NULL"]
    assert (rows["numbers"]["updates"], rows["numbers"]["row_number"]) == (2**53 + 1, -(2**63))
    assert rows["numbers"]["files"] is None
    assert extra["numbers"] == {"big": 10**40, "files": 2**63}
    assert extra["small"] == {"x": Decimal("1E-30")}
    assert (rows["not numeric"]["current_value"], rows["not numeric"]["baseline"]) == (None, None)
    assert extra["not numeric"] == {"currentValue": "n/a"}
    assert (rows["html"]["name"], rows["html"]["description"]) == ("R&D <3", "<p>&amp;</p>")
    for nothing in ("missing", "null"):
        assert {name for name, value in rows[nothing].items() if value is not None} == {
            "plan_id",
            "id",
            "_extracted_at",
        }
    tag = warehouse.read("plan_items_tags")[0]
    if warehouse.kind != "postgresql":
        assert (rows["null bytes"]["name"], rows["null bytes"]["description"]) == ("a\x00b", "\x00")
        assert extra["null bytes"] == {"unknown": "c\x00d"}
        assert (tag["name"], tag["extra"]) == ("t\x00", None)
    else:
        assert (rows["null bytes"]["name"], rows["null bytes"]["description"]) == ("ab", "")
        assert extra["null bytes"] == {"description": "\x00", "name": "a\x00b", "unknown": "c\x00d"}
        assert (tag["name"], json.loads(tag["extra"])) == ("t", {"name": "t\x00"})


def test_any_text_passes_the_bulk_path(postgres: Warehouse) -> None:
    rng = random.Random(7)
    alphabet = "\\\t\n\r\x01\x07\x08\x0b\x0c\x1b\x1c\x1d\x1e\x1f.N nfr\"',;{}%\u0085\u2028\ufeff\uffff😀äz"
    texts = [
        "",
        "\\N",
        "\\.",
        "\\\\",
        None,
        *("".join(rng.choices(alphabet, k=rng.randrange(12))) for _ in range(3000)),
    ]
    for driver in ("psycopg2", "psycopg") if sqlalchemy.__version__ >= "2" else ("psycopg2",):
        engine = create_engine(postgres.url.replace("psycopg2", driver))
        table = Table("any_text", MetaData(), Column("n", Text), Column("value", Text), prefixes=["TEMPORARY"])
        with engine.connect() as connection, connection.begin():
            table.create(connection)
            database_of(engine).write(connection, table, [(str(n), text) for n, text in enumerate(texts)])
            stored = {row.n: row.value for row in connection.execute(table.select())}
        engine.dispose()
        assert [stored[str(n)] for n in range(len(texts))] == texts


def test_a_load_that_would_remove_too_much_is_refused(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(10))
    before = state(warehouse)
    for left in (0, 4):
        with pytest.raises(
            TooManyDeletesError, match=rf"{10 - left} of its 10 items in .*plan_items \({10 - left}0%\)"
        ):
            load(warehouse, plan_items(left, "new"), max_delete_ratio=0.5)
        assert state(warehouse) == before
    assert load(warehouse, plan_items(5, "new"), max_delete_ratio=0.5).deleted == 5


@pytest.mark.parametrize("suffix", ["", "_tags", "_checklist_items"])
def test_a_row_that_the_database_refuses_leaves_everything_as_it_was(warehouse: Warehouse, suffix: str) -> None:
    load(warehouse, plan_items(20, "old"))
    before = state(warehouse)
    table = warehouse.name(f"plan_items{suffix}")
    if warehouse.sqlite:
        warehouse.execute(
            f"CREATE TRIGGER no_boom BEFORE INSERT ON {table} WHEN NEW.name LIKE 'boom%' "
            "BEGIN SELECT RAISE(ABORT, 'boom is not allowed'); END"
        )
    elif warehouse.kind == "duckdb":
        # It cannot add a constraint to a table that is there.
        columns = warehouse.query(f"DESCRIBE {table}")
        warehouse.execute(
            f"CREATE TABLE other AS FROM {table}; DROP TABLE {table}; CREATE TABLE {table} ("
            + ", ".join(f"{column['column_name']} {column['column_type']}" for column in columns)
            + f", CONSTRAINT no_boom CHECK (name NOT LIKE 'boom%')); INSERT INTO {table} FROM other"
        )
    else:
        warehouse.execute(f"ALTER TABLE {table} ADD CONSTRAINT no_boom CHECK (name NOT LIKE 'boom%')")
    with pytest.raises(WarehouseError, match=r"refused the load into .*plan_items\. Nothing was written\. .*boom"):
        load(warehouse, plan_items(20, "boom"))
    assert state(warehouse) == before
    load(warehouse, plan_items(20, "fine"))
    assert {row["name"] for row in state(warehouse)[""]} == {"fine"}


def test_a_statement_that_the_database_does_not_allow_is_told(postgres: Warehouse) -> None:
    load(postgres, plan_items(3))
    items = postgres.name("plan_items")
    postgres.execute(f"ALTER TABLE {items} ALTER COLUMN row_number TYPE SMALLINT")
    with pytest.raises(WarehouseError, match="smallint out of range"):
        load(postgres, [{"id": "i", "rowNumber": 2**40}])
    postgres.execute(f"ALTER TABLE {items} DROP row_number")
    postgres.execute(f"ALTER TABLE {items} ADD row_number INT GENERATED ALWAYS AS (1) STORED")
    with pytest.raises(WarehouseError, match="row_number"):
        load(postgres, plan_items(3))
    assert len(postgres.read("plan_items")) == 3


def test_two_ids_that_are_one_key_are_told(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match=r"refused the load into .*plan_items.*(?i:unique|duplicate)"):
        load(warehouse, [{"id": 1}, {"id": "1"}])
    assert not warehouse.tables() or not any(state(warehouse).values())


def test_a_lock_that_does_not_come_free_stays_an_error_worth_a_retry(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(3))
    setting = {
        "sqlite": "PRAGMA busy_timeout = 20",
        "postgresql": "SET lock_timeout = 20",
        "mysql": "SET innodb_lock_wait_timeout = 1",
        # A conflict with another transaction of the process is told at once.
        "duckdb": "SELECT 1",
    }[warehouse.kind]
    holder = warehouse.connect()
    try:
        with plan_load(warehouse.engine(), table="plan_items", schema=warehouse.schema, nested=Nested.DROP) as loading:
            with loading.connection.begin():
                loading.connection.exec_driver_sql(setting)
            cursor = holder.cursor()
            cursor.execute("BEGIN")
            cursor.execute(f"DELETE FROM {warehouse.name('plan_items')}")
            with pytest.raises(sqlalchemy.exc.OperationalError):
                loading.apply("plan", extracted_at=NOW, max_delete_ratio=1)
    finally:
        holder.close()
    assert len(warehouse.read("plan_items")) == 3


def test_what_the_database_derives_from_a_moment_is_in_utc(postgres: Warehouse) -> None:
    load(postgres, plan_items(1), nested=Nested.DROP)
    items = postgres.name("plan_items")
    postgres.execute(
        f"ALTER TABLE {items} ADD day DATE; "
        f"CREATE FUNCTION {postgres.name('day')}() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN NEW.day := NEW.start::date; RETURN NEW; END'; "
        f"CREATE TRIGGER day BEFORE INSERT ON {items} FOR EACH ROW EXECUTE FUNCTION {postgres.name('day')}()"
    )
    engine = create_engine(postgres.url, connect_args={"options": "-c TimeZone=America/New_York"})
    load(postgres, [{"id": "i0", "start": "2026-06-01T00:00:00Z"}], nested=Nested.DROP, engine=engine)
    assert str(postgres.read("plan_items")[0]["day"]) == "2026-06-01"


def test_a_read_that_ends_after_a_newer_one_changes_nothing(warehouse: Warehouse) -> None:
    for newer in (NOW + timedelta(microseconds=1), NOW.replace(microsecond=0) + timedelta(seconds=1)):
        load(warehouse, plan_items(4, "newer"), extracted_at=newer)
        before = state(warehouse)
        with pytest.raises(
            NewerStateError, match=r"in .*plan_items was read at 2026-01-02.*, after this task read it at"
        ):
            load(warehouse, [], extracted_at=NOW, max_delete_ratio=0.5)
        assert state(warehouse) == before
    assert load(warehouse, plan_items(3), "other plan", extracted_at=NOW).inserted == 3
    assert load(warehouse, plan_items(3, "same time"), extracted_at=newer).updated == 3


def test_of_two_loads_at_the_same_time_the_one_that_read_later_stays(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(2, "first"), extracted_at=NOW - timedelta(hours=1))

    def overtake() -> None:
        load(warehouse, plan_items(2, "later"), extracted_at=NOW + timedelta(seconds=1))

    with pytest.raises(NewerStateError):
        load(warehouse, plan_items(2, "earlier"), extracted_at=NOW, before_apply=lambda _: overtake())
    assert {row["name"] for row in warehouse.read("plan_items")} == {"later"}


class PowerCut(BaseException):
    """Ends a load where it stands."""


def cut_at(engine: Engine, last: int) -> Engine:
    """Let an engine run so many statements and no more."""
    statements = itertools.count()

    def cut(*_: Any) -> None:
        if next(statements) == last:
            raise PowerCut

    event.listen(engine, "before_cursor_execute", cut)
    return engine


@pytest.mark.parametrize("warehouse", ["sqlite", "postgresql+psycopg2"], indirect=True)
@pytest.mark.parametrize("tables_exist", [True, False])
def test_an_end_at_any_statement_leaves_the_old_state_and_a_rerun_mends_it(
    warehouse: Warehouse, tables_exist: bool
) -> None:
    if tables_exist:
        load(warehouse, plan_items(3, "old"))
        before = state(warehouse)
    for cuts in range(0, 200, depth(1, short=7)):
        try:
            load(warehouse, plan_items(4, "new"), engine=cut_at(warehouse.engine(), cuts))
            break
        except PowerCut:
            pass
        if tables_exist:
            assert state(warehouse) == before, f"cut at statement {cuts}"
        elif warehouse.tables():
            assert warehouse.tables() == made("plan_items"), f"cut at statement {cuts}"
            assert not any(state(warehouse).values()), f"cut at statement {cuts}"
    assert cuts > 30
    assert {row["name"] for row in state(warehouse)[""]} == {"new"}


def test_a_reader_sees_the_old_state_or_the_new_one(warehouse: Warehouse) -> None:
    sizes = {"old": 150, "new": 220}
    load(warehouse, plan_items(150, "old"))
    items, tags = warehouse.name("plan_items"), warehouse.name("plan_items_tags")
    query = (
        f"SELECT (SELECT count(*) FROM {items}), (SELECT min(name) FROM {items}), (SELECT max(name) FROM {items}), "
        f"(SELECT count(*) FROM {tags}), (SELECT min(name) FROM {tags}), (SELECT max(name) FROM {tags})"
    )
    seen: list[tuple[Any, ...]] = []
    stop, looked = threading.Event(), threading.Semaphore(0)

    def look() -> None:
        connection = warehouse.connect()
        try:
            while not stop.is_set():
                cursor = connection.cursor()
                cursor.execute(query)
                seen.append(tuple(cursor.fetchone()))
                looked.release()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(look)
        try:
            for round_ in range(6):
                name = "new" if round_ % 2 == 0 else "old"
                load(warehouse, plan_items(sizes[name], name))
                while looked.acquire(blocking=False):
                    pass
                # The first look may have begun before the load ended, the second has not.
                assert looked.acquire(timeout=60)
                assert looked.acquire(timeout=60)
        finally:
            stop.set()
        reading.result()
    assert set(seen) == {(size, name, name, 2 * size, f"{name}0", f"{name}1") for name, size in sizes.items()}


def test_first_loads_side_by_side_make_the_tables_once(warehouse: Warehouse) -> None:
    together = threading.Barrier(6, timeout=60)
    with ThreadPoolExecutor(6) as pool:
        loads = [
            pool.submit(load, warehouse, plan_items(30), f"plan {number % 5}", before_apply=lambda _: together.wait())
            for number in range(6)  # the last one loads the same plan as the first
        ]
        found = [done.result() for done in loads]
    assert sorted(changes.inserted for changes in found) == [0, 30, 30, 30, 30, 30]
    assert len(warehouse.read("plan_items")) == 150
    assert len(warehouse.read("plan_items_tags")) == 300


def test_loads_of_different_plans_do_not_wait_for_each_other(postgres: Warehouse) -> None:
    load(postgres, plan_items(3), "plan a")
    engine = postgres.engine()
    loaded, go_on = threading.Event(), threading.Event()

    def hold(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        # The last statement of a load; its transaction stays open meanwhile.
        if statement.startswith("INSERT INTO") and "_checklist_items" in statement:
            loaded.set()
            assert go_on.wait(60)

    event.listen(engine, "after_cursor_execute", hold)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(load, postgres, plan_items(3, "slow"), "plan a", engine=engine)
        try:
            assert loaded.wait(60)
            load(postgres, plan_items(3), "plan b")
            assert not slow.done()
        finally:
            go_on.set()
        assert slow.result().updated == 3


def test_a_table_of_the_users_own_with_fewer_columns_is_told_before_anything_is_written(warehouse: Warehouse) -> None:
    warehouse.execute(f"CREATE TABLE {warehouse.name('plan_items_tags')} (plan_id TEXT, item_id TEXT, name TEXT)")
    with pytest.raises(TableMismatchError) as caught:
        load(warehouse, plan_items(3))
    assert "plan_items_tags exists but lacks the column(s) position, id, organization_id, extra, _extracted_at" in str(
        caught.value
    )
    assert warehouse.tables() == {"plan_items_tags"}


def test_a_table_of_the_users_own_with_more_columns_is_used(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(3), nested=Nested.DROP)
    warehouse.execute(f"ALTER TABLE {warehouse.name('plan_items')} ADD COLUMN loaded_by TEXT DEFAULT 'us'")
    load(warehouse, plan_items(4), nested=Nested.DROP)
    assert [row["loaded_by"] for row in warehouse.read("plan_items")] == ["us"] * 4


OWN_TYPES = {
    "sqlite": ["TEXT", "INTEGER", "INTEGER", "TEXT", "TEXT", "TEXT", "TEXT"],
    "postgresql": ["VARCHAR", "INT", "BOOL", "TIMESTAMPTZ(6)", "DATE", "NUMERIC", "JSON"],
    "mysql": ["MEDIUMTEXT", "INT", "BOOL", "DATETIME(6)", "DATE", "DECIMAL(65,30)", "LONGTEXT"],
    "duckdb": ["TEXT", "INT", "BOOL", "TIMESTAMPTZ", "DATE", "NUMERIC(38,18)", "JSON"],
}
"""Types that hold everything, by database, in the order of ColumnType."""
NUMBERED = {
    "sqlite": "INTEGER PRIMARY KEY NOT NULL",
    "postgresql": "INT GENERATED ALWAYS AS IDENTITY",
    "mysql": "INT PRIMARY KEY AUTO_INCREMENT",
    "duckdb": "INT DEFAULT nextval('plans.numbers')",
}


def own_table(warehouse: Warehouse, types: dict[str, str], *more: str) -> None:
    """Make the items' table as a user may have made it, some columns of other types."""
    usual = dict(zip(ColumnType, OWN_TYPES[warehouse.kind], strict=False))
    keys = types | dict.fromkeys(("plan_id", "id"), "VARCHAR(40) COLLATE utf8mb4_nopad_bin")
    types = keys if warehouse.kind == "mysql" else types
    quote = warehouse.engine().dialect.identifier_preparer.quote
    columns = [
        f"{quote(column.name)} {types.get(column.name, usual[column.type])}"
        for column in plan_tables(Nested.DROP)[0].columns
    ]
    warehouse.execute(f"CREATE TABLE {warehouse.name('plan_items')} ({', '.join([*columns, *more])})")


@pytest.mark.parametrize(
    ("database", "column", "kind", "told"),
    [
        ("sqlite", "current_value", "REAL", "REAL instead of TEXT"),
        ("sqlite", "current_value", "NUMERIC", "NUMERIC instead of TEXT"),
        ("sqlite", "current_value", "INTEGER", "INTEGER instead of TEXT"),
        ("sqlite", "sequence_id", "NUMERIC(10,2)", "NUMERIC(10, 2) instead of TEXT"),
        ("sqlite", "start", "DATETIME", "DATETIME instead of TEXT"),
        ("sqlite", "row_number", "TEXT", "TEXT instead of BIGINT"),
        ("sqlite", "has_metric", "TEXT", "TEXT instead of BOOLEAN"),
        ("sqlite", "extra", "JSON", "JSON instead of TEXT"),
        ("sqlite", "name", "", "of no type that is known instead of TEXT"),
        ("postgresql", "name", "VARCHAR(200)", "VARCHAR(200) instead of TEXT"),
        ("postgresql", "name", "CHAR(20)", "CHAR(20) instead of TEXT"),
        ("postgresql", "start", "DATE", "DATE instead of TIMESTAMP WITH TIME ZONE"),
        ("postgresql", "start", "TIMESTAMP", "TIMESTAMP WITHOUT TIME ZONE instead of TIMESTAMP WITH TIME ZONE"),
        ("postgresql", "_extracted_at", "TIMESTAMPTZ(0)", "TIMESTAMP(0) WITH TIME ZONE instead of"),
        ("postgresql", "current_value", "DOUBLE PRECISION", "DOUBLE PRECISION instead of NUMERIC"),
        ("postgresql", "current_value", "NUMERIC(10,2)", "NUMERIC(10, 2) instead of NUMERIC"),
        ("postgresql", "row_number", "NUMERIC", "NUMERIC instead of BIGINT"),
        ("postgresql", "has_metric", "INTEGER", "INTEGER instead of BOOLEAN"),
        ("postgresql", "extra", "JSONB", "JSONB instead of JSON"),
    ],
)
def test_a_column_that_would_change_values_is_told_before_anything_is_written(
    database: str, column: str, kind: str, told: str, request: pytest.FixtureRequest
) -> None:
    warehouse: Warehouse = request.getfixturevalue("sqlite" if database == "sqlite" else "postgres")
    own_table(warehouse, {column: kind})
    with pytest.raises(TableMismatchError) as caught:
        load(warehouse, plan_items(3))
    assert f"plan_items exists but its columns would change values: {column} is {told}" in str(caught.value)
    assert "Change their types. Or name another 'table'. Nothing was written." in str(caught.value)
    assert warehouse.tables() == {"plan_items"}


def test_a_table_of_the_users_own_with_types_that_hold_everything_is_used(warehouse: Warehouse) -> None:
    # SQLite takes no notice of a length.
    wide = {"name": "VARCHAR(3)", "start": "NCHAR(1)"} if warehouse.sqlite else {"updates": "SMALLINT"}
    if warehouse.kind == "duckdb":
        warehouse.execute("CREATE SEQUENCE plans.numbers")
    own_table(warehouse, wide, f"own_key {NUMBERED[warehouse.kind]}", "loaded_by VARCHAR(9) NOT NULL DEFAULT 'us'")
    item = {"id": "i", "name": "longer", "start": "2026-05-04", "currentValue": "1.10", "updates": 3, "own": 1}
    assert load(warehouse, [item], nested=Nested.DROP).inserted == 1
    assert load(warehouse, [item], nested=Nested.DROP).updated == 0
    row = warehouse.read("plan_items")[0]
    assert (row["name"], Decimal(row["current_value"]), row["updates"]) == ("longer", Decimal("1.10"), 3)
    assert row["own_key"] in (1, 2), "counted by the database"


def test_a_column_of_the_users_own_that_nobody_fills_is_told_before_anything_is_written(warehouse: Warehouse) -> None:
    own_table(warehouse, {}, "loaded_by VARCHAR(9) NOT NULL")
    with pytest.raises(TableMismatchError, match=r"without a default, which a load cannot fill: loaded_by\. Give them"):
        load(warehouse, plan_items(3), nested=Nested.DROP)
    assert warehouse.read("plan_items") == []


def test_a_view_is_not_written_through(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(3), table="there")
    for suffix in SUFFIXES:
        warehouse.execute(
            f"CREATE VIEW {warehouse.name(f'plan_items{suffix}')} AS SELECT * FROM {warehouse.name(f'there{suffix}')}"
        )
    before = state(warehouse, table="there")
    with pytest.raises(TableMismatchError, match=r"plan_items exists but is a view or something else that is no table"):
        load(warehouse, plan_items(4))
    assert state(warehouse, table="there") == before


@pytest.mark.parametrize("table", ["achieveit_stage", "Achieveit_Stage", "achieveit_stage_checklists", "plan_stage"])
def test_a_table_named_like_a_staging_table_is_a_table_like_any_other(sqlite: Warehouse, table: str) -> None:
    load(sqlite, plan_items(3), table=table)
    assert load(sqlite, plan_items(2), table=table) == Changes(before=3, inserted=0, updated=0, deleted=1)
    assert sqlite.tables() == made(table)


def test_in_the_default_schema_a_staging_table_hides_no_table(postgres: Warehouse) -> None:
    engine = create_engine(postgres.url, connect_args={"options": f"-c search_path={postgres.schema}"})
    with plan_load(engine, table="achieveit_stage", schema=None, nested=Nested.DROP) as loading:
        loading.apply("plan", extracted_at=NOW, max_delete_ratio=1)
    assert postgres.tables() == {"achieveit_stage", "achieveit_stage_loads"}


def test_identifiers_are_quoted(warehouse: Warehouse) -> None:
    name = 'Select "1" 100% x'
    load(warehouse, plan_items(3), table=name)
    load(warehouse, plan_items(2), table=name)
    assert warehouse.tables() == made(name)


def test_lists_in_json_columns(warehouse: Warehouse) -> None:
    load(warehouse, plan_items(3), nested=Nested.JSON)
    assert load(warehouse, plan_items(3), nested=Nested.JSON) == Changes(before=3, inserted=0, updated=0, deleted=0)
    assert warehouse.tables() == made("plan_items", [""])
    row = warehouse.read("plan_items")[0]
    assert json.loads(row["checklists"]) == plan_items(1)[0]["checklists"]
    assert row["extra"] == '{"own":{"field":1.10}}'


@pytest.mark.parametrize("nested", [Nested.JSON, Nested.DROP])
def test_another_way_for_lists_leaves_no_child_rows_behind(warehouse: Warehouse, nested: Nested) -> None:
    load(warehouse, plan_items(3), nested=nested)
    load(warehouse, plan_items(3))
    load(warehouse, plan_items(2), "other plan")
    untouched = state(warehouse, "other plan")
    warehouse.execute(f"DROP TABLE {warehouse.name('plan_items_admins')}")
    warehouse.execute(f"DROP TABLE {warehouse.name('plan_items_tags')}")
    warehouse.execute(f"CREATE TABLE {warehouse.name('plan_items_tags')} AS SELECT 'plan' AS plan_id, 1 AS own")
    load(warehouse, plan_items(3), nested=nested)
    left = [suffix for suffix in SUFFIXES if suffix not in ("_admins", "_tags")]
    for suffix in left:
        rows = warehouse.read(f"plan_items{suffix}", order="1, 2, 3, 4")
        assert len([row for row in rows if row["plan_id"] == "plan"]) == (0 if suffix else 3)
        assert len([row for row in rows if row["plan_id"] == "other plan"]) == len(untouched[suffix])
    assert len(warehouse.read("plan_items_tags", order="1")) == 1, "a table of somebody else's"
    assert warehouse.tables() == made("plan_items", [*left, "_tags"])


def test_a_load_that_began_anew_holds_only_the_second_read(warehouse: Warehouse) -> None:
    with plan_load(warehouse.engine(), table="t", schema=warehouse.schema, nested=Nested.TABLES) as loading:
        maker = RowMaker("plan", NOW, nested=Nested.TABLES, unescape_html=True, limits=loading.limits)
        loading.write(maker.rows(plan_items(9, "first")))
        loading.clear()
        loading.write(maker.rows(plan_items(4, "second")))
        assert loading.apply("plan", extracted_at=NOW, max_delete_ratio=0).inserted == 4
    assert {row["name"] for row in warehouse.read("t")} == {"second"}
    assert len(warehouse.read("t_tags")) == 8


def test_a_schema_that_does_not_exist_is_told(postgres: Warehouse) -> None:
    with (
        pytest.raises(TableMismatchError, match="schema 'nowhere' does not exist"),
        plan_load(postgres.engine(), table="t", schema="nowhere", nested=Nested.TABLES),
    ):
        pytest.fail("must not open")


def test_a_name_that_the_database_would_cut_short_is_refused(postgres: Warehouse) -> None:
    with pytest.raises(TableMismatchError, match="longer than the 63 bytes"):
        load(postgres, plan_items(1), table="ü" * 24)
    load(postgres, plan_items(1), table="ü" * 23)
    assert len(postgres.tables()) == len(SUFFIXES) + 1
