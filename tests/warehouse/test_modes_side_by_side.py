"""Loads while others look, and loads beside loads."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from sqlalchemy import event

from airflow_provider_achieveit.warehouse.databases.postgres import PostgresDatabase
from airflow_provider_achieveit.warehouse.model import Mode, Nested
from tests.depth import depth
from tests.warehouse.killed import Loads, loads_in_processes, request
from tests.warehouse.loading import NOW, Item, load
from tests.warehouse.models import MODELS, rows_of, told_by
from tests.warehouse.real_databases import Warehouse

DATABASES = ["sqlite", "postgresql+psycopg2", "mariadb", "duckdb"]
LOADS = depth(30, short=20)
every_mode_of_some = pytest.mark.parametrize(
    ("warehouse", "mode"),
    # The longest tests of all: of the other two databases, the modes that are least alike.
    [
        *product(["sqlite", "postgresql+psycopg2"], Mode),
        *product(["mariadb", "duckdb"], [Mode.REPLACE, Mode.SCD2]),
    ],
    indirect=["warehouse"],
)


@pytest.fixture(scope="module")
def loads() -> Iterator[Loads]:
    with loads_in_processes() as started:
        yield started


def items(version: int, count: int = 5) -> list[Item]:
    """Return a state of which each version has items that the one before has not, and the other way round."""
    return [
        {
            "id": f"i{number}",
            "name": f"version {version}",
            "rowNumber": number,
            "lastUpdated": "2026-01-01T00:00:00",
            "tags": [{"name": f"version {version}"}, {"name": "the same"}],
            "checklists": [{"name": "c", "items": [{"name": f"version {version // 2}"}]}],
        }
        for number in range(version % 3, count)
    ]


class Reader:
    """Looks at all tables over and over, in a thread and on a connection of its own."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.seen: list[frozenset[Any]] = []
        self.stop = threading.Event()
        self.looked = threading.Condition()

    def run(self) -> None:
        connection = self.warehouse.connect()
        try:
            # In between the others of this process have their turn.
            while not self.stop.wait(0.005):
                found = frozenset(Counter(told_by(self.warehouse, "t", connection=connection)).items())
                with self.looked:
                    self.seen.append(found)
                    self.looked.notify_all()
        finally:
            connection.close()

    def wait(self) -> frozenset[Any]:
        """Return what a look finds that began after this call."""
        with self.looked:
            enough = len(self.seen) + 2
            assert self.looked.wait_for(lambda: len(self.seen) >= enough, 60)
            return self.seen[-1]


@every_mode_of_some
def test_a_reader_sees_only_whole_states(warehouse: Warehouse, mode: Mode, compiled_once: None) -> None:
    model, reader, engine = MODELS[mode](), Reader(warehouse), warehouse.engine()
    count = LOADS if warehouse.kind in ("sqlite", "postgresql") else LOADS // 4
    states: list[frozenset[Any]] = []
    within: list[frozenset[Any]] = []

    def load_one(number: int) -> None:
        at = NOW + timedelta(hours=number)

        def look_before_it_counts(connection: Any) -> None:
            if connection.info.pop("loading", None):
                within.append(reader.wait())

        def note(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("UPDATE") and "_loads" in statement:
                connection.info["loading"] = True

        listeners = (
            {"after_cursor_execute": note, "commit": look_before_it_counts} if number and number % 10 == 0 else {}
        )
        for name, listener in listeners.items():
            event.listen(engine, name, listener)
        load(warehouse, items(number), "plan", table="t", mode=mode, extracted_at=at, engine=engine)
        for name, listener in listeners.items():
            event.remove(engine, name, listener)
        model.load("plan", at, rows_of(items(number), Nested.TABLES))
        states.append(frozenset(Counter(model.told()).items()))

    load_one(0)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(reader.run)
        try:
            for number in range(1, count + 1):
                load_one(number)
                if number % 10 == 5:
                    assert reader.wait() == states[-1]
        finally:
            reader.stop.set()
        reading.result()
    assert len(set(states)) == count + 1
    order = [states.index(found) for found in reader.seen]
    assert order == sorted(order)
    assert within == [states[number - 1] for number in range(10, count + 1, 10)]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("warehouse", DATABASES, indirect=True)
def test_plans_side_by_side_in_threads(warehouse: Warehouse, mode: Mode) -> None:
    """From the first loads, which make the tables, on; two threads load the same plan."""
    together = threading.Barrier(5, timeout=60)

    def loads_of(thread: int) -> None:
        together.wait()
        for number in range(4):
            at = NOW + timedelta(hours=number)
            load(warehouse, items(number), f"plan {thread % 4}", table="t", mode=mode, extracted_at=at)

    def loads_again() -> None:
        together.wait()
        # Read at the end of all: whenever it comes, nothing comes after it.
        at = NOW + timedelta(hours=3)
        load(warehouse, items(3), "plan 4", table="t", mode=mode, extracted_at=at)

    with ThreadPoolExecutor(5) as pool:
        for done in [*(pool.submit(loads_of, thread) for thread in range(4)), pool.submit(loads_again)]:
            done.result()
    model = MODELS[mode]()
    for number in range(4):
        for plan in range(4):
            model.load(f"plan {plan}", NOW + timedelta(hours=number), rows_of(items(number), Nested.TABLES))
    model.load("plan 4", NOW + timedelta(hours=3), rows_of(items(3), Nested.TABLES))
    assert Counter(told_by(warehouse, "t")) == Counter(model.told())


@every_mode_of_some
def test_plans_side_by_side_in_processes(warehouse: Warehouse, loads: Loads, mode: Mode) -> None:
    model = MODELS[mode]()
    for number in range(3):
        at = NOW + timedelta(hours=number)
        # Every process loads its state twice, and two processes have the same plan.
        plans = ["plan 0", "plan 0", "plan 1", "plan 2"]
        asked = [request(warehouse, items(number), plan, "t", mode, at, times=2) for plan in plans]
        assert loads.together(*asked) == [0] * len(plans)
        for plan in plans:
            model.load(plan, at, rows_of(items(number), Nested.TABLES))
        assert Counter(told_by(warehouse, "t")) == Counter(model.told())


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("warehouse", ["postgresql+psycopg2", "mariadb"], indirect=True)
def test_a_load_that_is_not_done_lets_other_plans_pass(warehouse: Warehouse, mode: Mode) -> None:
    for number, plan in enumerate(["plan a", "plan b"]):
        load(warehouse, items(number), plan, table="t", mode=mode)
    engine, done, go_on = warehouse.engine(), threading.Event(), threading.Event()

    def hold(connection: Any) -> None:
        if connection.in_transaction() and connection.info.get("put"):
            done.set()
            assert go_on.wait(60)

    def note(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO") and "t_checklist_items" in statement:
            connection.info["put"] = True

    event.listen(engine, "after_cursor_execute", note)
    event.listen(engine, "commit", hold)
    with ThreadPoolExecutor(1) as pool:
        later = NOW + timedelta(hours=1)
        slow = pool.submit(load, warehouse, items(2), "plan a", table="t", mode=mode, extracted_at=later, engine=engine)
        try:
            assert done.wait(60)
            for plan in ("plan b", "plan c"):
                load(warehouse, items(3), plan, table="t", mode=mode, extracted_at=later)
            assert not slow.done()
        finally:
            go_on.set()
        assert slow.result().updated > 0


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("warehouse", ["postgresql+psycopg2"], indirect=True)
def test_two_loads_of_a_plan_wait_at_its_row_where_a_database_has_no_locks(
    warehouse: Warehouse, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(warehouse, items(0), "another plan", table="t", mode=mode)
    monkeypatch.setattr(PostgresDatabase, "lock", lambda *_: None)
    model = MODELS[mode]()
    model.load("another plan", NOW, rows_of(items(0), Nested.TABLES))
    for number in range(1, 4):
        at = NOW + timedelta(hours=number)
        together = threading.Barrier(3, timeout=60)
        with ThreadPoolExecutor(3) as pool:
            found = [
                pool.submit(
                    load,
                    warehouse,
                    items(number),
                    "plan",
                    table="t",
                    mode=mode,
                    extracted_at=at,
                    before_apply=lambda _, together=together: together.wait(),
                )
                for _ in range(3)
            ]
        model.load("plan", at, rows_of(items(number), Nested.TABLES))
        assert sorted(done.result().inserted + done.result().updated > 0 for done in found) == [False, False, True]
        assert Counter(told_by(warehouse, "t")) == Counter(model.told())
