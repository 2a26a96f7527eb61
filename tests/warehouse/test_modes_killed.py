"""Loads whose process is killed between any two statements: the old state is whole, and a re-run mends all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import pytest

from airflow_provider_achieveit.warehouse.model import Mode, Nested
from tests.depth import depth
from tests.warehouse.killed import KILLED, Loads, loads_in_processes
from tests.warehouse.loading import NOW, Item, made
from tests.warehouse.models import MODELS, rows_of, told_by
from tests.warehouse.real_databases import Warehouse

DATABASES = ["sqlite", "postgresql+psycopg2"]
STEP = depth(1, short=7)
"""Kills are at every boundary, or at every seventh."""


@pytest.fixture(scope="module")
def loads() -> Iterator[Loads]:
    with loads_in_processes() as started:
        yield started


def item(number: int, name: str, tags: list[str]) -> Item:
    return {
        "id": f"i{number}",
        "name": name,
        "rowNumber": number,
        "lastUpdated": "2026-01-01T00:00:00",
        "members": [{"name": tag} for tag in tags],
        "admins": [{"name": tag} for tag in tags],
        "tags": [{"name": tag} for tag in tags],
        "advancedMetricGoals": [{"goalName": tag} for tag in tags],
        "checklists": [{"name": tag, "items": [{"name": tag}]} for tag in tags],
    }


# From each to the other, every table has rows that are new, different, gone and the same.
STATES = [
    [item(0, "same", ["a"]), item(1, "x", ["a", "b"]), item(2, "x", []), item(3, "x", ["a"])],
    [item(0, "same", ["a"]), item(1, "y", ["c"]), item(2, "x", ["a", "b"]), item(4, "x", ["a"])],
]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("warehouse", DATABASES, indirect=True)
def test_a_kill_between_two_statements_of_a_load(warehouse: Warehouse, loads: Loads, mode: Mode) -> None:
    model, at, done = MODELS[mode](), NOW, []
    for state in STATES:
        at += timedelta(minutes=1)
        loads.load(warehouse, state, "plan", "t", mode, at)
        model.load("plan", at, rows_of(state, Nested.TABLES))
    for boundary in count(step=STEP):
        # All on one day, so that a snapshot is made anew like any other state.
        at += timedelta(minutes=1)
        before = Counter(model.told())
        code = loads.load(warehouse, STATES[boundary % 2], "plan", "t", mode, at, kill_at=boundary)
        model.load("plan", at, rows_of(STATES[boundary % 2], Nested.TABLES))
        after, found = Counter(model.told()), Counter(told_by(warehouse, "t"))
        assert code in (KILLED, 0)
        if code == 0:
            break
        assert found in (before, after), f"killed at boundary {boundary}"
        done.append(found == after)
        loads.load(warehouse, STATES[boundary % 2], "plan", "t", mode, at)
        assert Counter(told_by(warehouse, "t")) == after, f"run again after a kill at boundary {boundary}"
    assert found == after
    assert True not in done[:-1], "the commit is the one moment in which the state changes"
    # A step may leave out the last boundary, which is after the commit.
    assert done[-1] or STEP > 1
    assert boundary > 50


@pytest.mark.parametrize("warehouse", DATABASES, indirect=True)
def test_a_kill_between_two_statements_of_a_first_load(warehouse: Warehouse, loads: Loads) -> None:
    model = MODELS[Mode.SCD2]()
    model.load("plan", NOW, rows_of(STATES[0], Nested.TABLES))
    for boundary in count(step=STEP):
        table = f"t{boundary}"
        known = warehouse.tables()
        code = loads.load(warehouse, STATES[0], "plan", table, Mode.SCD2, NOW, kill_at=boundary)
        assert warehouse.tables() - known in (set(), made(table))
        if code == KILLED and warehouse.tables() > known:
            assert told_by(warehouse, table) == [] or Counter(told_by(warehouse, table)) == Counter(model.told())
        elif code == 0:
            break
        loads.load(warehouse, STATES[0], "plan", table, Mode.SCD2, NOW)
        assert Counter(told_by(warehouse, table)) == Counter(model.told())
        if not warehouse.sqlite:
            # A schema of many hundred tables takes long to look at, and to drop.
            warehouse.execute(f"DROP TABLE {', '.join(warehouse.name(name) for name in made(table))}")
    assert boundary > 40
