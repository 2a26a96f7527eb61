"""Random histories of plans, loaded in every mode, against a model in plain Python."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from sqlalchemy.engine import Engine

from airflow_provider_achieveit.warehouse.errors import NewerStateError, TooManyDeletesError
from airflow_provider_achieveit.warehouse.loads import LastLoad
from airflow_provider_achieveit.warehouse.model import Mode, Nested
from tests.depth import depth
from tests.warehouse.loading import NOW, Item, load
from tests.warehouse.models import MODELS, ids, rows_of, told_by
from tests.warehouse.real_databases import Warehouse

PLANS = st.sampled_from(["plan a", "plan a", "plan b"])
NAMES = st.sampled_from(["x", "X", "x ", "", "ü😀"])
RATIOS = st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.0])
WAYS = ["create", "edit", "reorder", "delete", "delete", "come back", "come back", "come back changed", "empty"]
LIST_WAYS = [
    f"{way} {name}" for way in ("add", "remove", "edit", "reorder") for name in ("tags", "checklists", "points")
]
WORK = st.tuples(st.sampled_from(WAYS[:-1] * 3 + WAYS[-1:] + LIST_WAYS), st.integers(0, 9), NAMES)
"""What somebody does, to which item of those it can be done to, and a name for it."""


class Server:
    """Plans that people work on."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.plans: dict[str, dict[str, Item]] = {"plan a": {}, "plan b": {}}
        self.gone: dict[str, dict[str, Item]] = {"plan a": {}, "plan b": {}}

    def do(self, plan: str, way: str, pick: int, name: str, now: str) -> None:
        """Let somebody do something."""
        items, gone = self.plans[plan], self.gone[plan]
        if way == "create":
            entries = [{"name": name}] * (pick % 3)
            number = next(self.numbers)
            items[f"i{number}"] = {
                "id": f"i{number}",
                "name": name,
                "rowNumber": len(items),
                "lastUpdated": now,
                "tags": list(entries),
                "checklists": [{"name": name, "items": list(entries)} for _ in entries],
            }
        elif way == "reorder":
            for number, one in enumerate(reversed(items.values())):
                one["rowNumber"] = number
        elif way == "empty":
            gone |= items
            items.clear()
        elif way.startswith("come back"):
            if gone:
                back = gone.pop(nth(gone, pick))
                items[back["id"]] = back
                if way.endswith("changed"):
                    back["tags"].append({"name": "back"})
        elif items:
            one = items[nth(items, pick)]
            if way == "delete":
                gone[one["id"]] = items.pop(one["id"])
            elif way == "edit":
                one["name"], one["lastUpdated"] = name, now
            else:
                self.edit_list(one, *way.split(), name)

    @staticmethod
    def edit_list(item: Item, way: str, of: str, name: str) -> None:
        """Change a list of an item."""
        lists = {"tags": item["tags"], "checklists": item["checklists"], "points": []}
        for checklist in item["checklists"]:
            lists["points"] = checklist["items"]
        entries = lists[of]
        if way in ("remove", "edit") and entries:
            entries.pop(0)
        if way in ("add", "edit"):
            entries.insert(0, {"name": name} | ({"items": []} if of == "checklists" else {}))
        if way == "reorder":
            entries.reverse()


def nth(items: dict[str, Item], pick: int) -> str:
    return list(items)[pick % len(items)]


class Plans(RuleBasedStateMachine):
    """Plans on a server, and the tables that hold them."""

    def __init__(self, warehouse: Warehouse, engine: Engine, mode: Mode, nested: Nested) -> None:
        super().__init__()
        self.warehouse, self.engine, self.mode, self.nested = warehouse, engine, mode, nested
        for table in warehouse.tables():
            warehouse.execute(f"DELETE FROM {warehouse.name(table)}")
        self.model, self.server, self.now = MODELS[mode](), Server(), NOW
        self.last_loads: dict[Any, LastLoad] = {}
        self.reads: list[tuple[str, datetime, list[Item]]] = []

    def read(self, plan: str, work: list[tuple[str, int, str]]) -> None:
        """Let people work, then read the plan."""
        self.now += timedelta(microseconds=1)
        for way, pick, name in work:
            self.server.do(plan, way, pick, name, self.now.replace(tzinfo=None).isoformat())
        self.reads.append((plan, self.now, deepcopy(list(self.server.plans[plan].values()))))

    @initialize(work=st.lists(WORK, min_size=3, max_size=9))
    def first_load(self, work: list[tuple[str, int, str]]) -> None:
        self.read("plan a", [("create", number, "x") for number in range(6)] + work)
        self.load(*self.reads[-1], 1.0)

    @rule(plan=PLANS, work=st.lists(WORK, min_size=1, max_size=6), ratio=RATIOS)
    def read_and_load(self, plan: str, work: list[tuple[str, int, str]], ratio: float) -> None:
        self.read(plan, work)
        self.load(*self.reads[-1], ratio)

    @rule(plan=PLANS, work=st.lists(WORK, max_size=3), hours=st.sampled_from([0.001, 1, 30]))
    def read_and_load_later(self, plan: str, work: list[tuple[str, int, str]], hours: float) -> None:
        """Read a state that is loaded at another time, or never."""
        self.read(plan, work)
        self.now += timedelta(hours=hours)

    @precondition(lambda self: self.reads)
    @rule()
    def load_again(self) -> None:
        self.load(*self.reads[-1], 1.0)

    @precondition(lambda self: self.reads)
    @rule(data=st.data())
    def load_any_read(self, data: st.DataObject) -> None:
        """Load a read that was loaded before, or was overtaken, or neither."""
        self.load(*data.draw(st.sampled_from(self.reads)), 1.0)

    def load(self, plan: str, at: datetime, items: list[Item], ratio: float) -> None:
        rows = rows_of(items, self.nested)
        guarded, place = ids(self.model.guarded(plan, at)), self.model.place(plan, at)
        last_load = self.last_loads.get(place)
        refusal: type[Exception] | None = None
        if self.model.newer(plan, at):
            refusal = NewerStateError
        elif len(guarded - ids(rows)) > ratio * len(guarded):
            refusal = TooManyDeletesError
        told: list[Any] = []
        with pytest.raises(refusal) if refusal else nullcontext():
            changes = load(
                self.warehouse,
                items,
                plan,
                engine=self.engine,
                mode=self.mode,
                nested=self.nested,
                extracted_at=at,
                max_delete_ratio=ratio,
                settings=f"{at}",
                before_apply=lambda loading: told.append(loading.last(plan, at.date())),
            )
        assert told == [last_load]
        if not refusal:
            assert changes == self.model.load(plan, at, rows)
            newest = max((item["lastUpdated"] for item in items), default=None)
            self.last_loads[place] = LastLoad(at, len(items), newest, f"{at}")
        # A table is there after the first load; without any there is nothing to look at.
        if self.model.read_at:
            assert Counter(told_by(self.warehouse, "plan_items", self.nested)) == Counter(self.model.told())


@pytest.fixture
def check(warehouse: Warehouse, compiled_once: None) -> Callable[..., None]:
    """Let a mode load random histories."""

    def run(mode: Mode, nested: Nested, histories: int, steps: int = 25) -> None:
        engine = warehouse.engine()
        run_state_machine_as_test(
            lambda: Plans(warehouse, engine, mode, nested),
            settings=settings(
                max_examples=depth(histories, short=1),
                stateful_step_count=steps,
                suppress_health_check=list(HealthCheck),
                print_blob=False,
            ),
        )

    return run


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("warehouse", ["sqlite"], indirect=True)
def test_any_history_of_plans(check: Callable[..., None], mode: Mode) -> None:
    check(mode, Nested.TABLES, 10)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("nested", [Nested.JSON, Nested.DROP])
@pytest.mark.parametrize("warehouse", ["sqlite"], indirect=True)
def test_any_history_of_plans_in_one_table(check: Callable[..., None], mode: Mode, nested: Nested) -> None:
    check(mode, nested, 3)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("warehouse", ["postgresql+psycopg2", "mariadb", "duckdb"], indirect=True)
def test_some_histories_on_a_server(check: Callable[..., None], mode: Mode) -> None:
    check(mode, Nested.TABLES, 2, steps=12)
