"""A plan in memory that people change while somebody reads it, by seed; it knows every state it ever had."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

from airflow_provider_achieveit.api.contract import Page

Item = dict[str, Any]


def plan_items(count: int) -> list[Item]:
    return [{"id": f"i{n}", "name": f"n{n}", "lastUpdated": f"{n % 3:06}"} for n in range(count)]


class FakePlan:
    """A plan as a server would hold it; ``before`` may change it before any request."""

    def __init__(self, items: list[Item], before: Callable[[FakePlan, int], None] | None = None) -> None:
        self.items = items
        self.before = before
        self.requests: list[tuple[int, int, str]] = []
        self.lock = threading.Lock()

    def __call__(self, *, skip: int, take: int, sort_key: str, descending: bool = False) -> Page:
        with self.lock:
            if self.before:
                self.before(self, len(self.requests))
            self.requests.append((skip, take, sort_key))
            items = self.items
            if sort_key == "lastUpdated":
                items = sorted(items, key=lambda item: item["lastUpdated"], reverse=descending)
            return Page(self.shown(items)[skip : skip + take], len(items))

    def shown(self, items: list[Item]) -> list[Item]:
        """Return items as the server tells them."""
        return [dict(item) for item in items]

    def fetch_plan_page(self, plan_id: str, **asked: Any) -> Page:
        assert plan_id == "plan"
        return self(**asked)


def change(plan: FakePlan, rng: random.Random, tick: int, kinds: list[str]) -> None:
    """Let a person change the plan; all but a delete leave a mark in the item's ``lastUpdated``."""
    stamp = f"{1000 + tick:06}"
    kind = rng.choice(kinds)
    if kind == "insert" or not plan.items:
        plan.items.insert(rng.randint(0, len(plan.items)), {"id": f"new{tick}", "name": "new", "lastUpdated": stamp})
        return
    position = rng.randrange(len(plan.items))
    if kind == "edit":
        plan.items[position] = {**plan.items[position], "name": f"edited {tick}", "lastUpdated": stamp}
        return
    item = plan.items.pop(position)
    if kind == "move":
        plan.items.insert(rng.randint(0, len(plan.items)), {**item, "lastUpdated": stamp})


class BusyPlan(FakePlan):
    """A plan that changes between the requests, by seed; knows every state it ever had."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.ticks = 0
        # From a plan that hardly changes to one that changes several times with every request.
        self.changes_per_request = self.rng.choice([0.05, 0.2, 0.5, 2.5])
        self.kinds = self.rng.choice([["insert", "delete", "move", "edit"], ["insert", "delete"], ["edit"]])
        super().__init__(plan_items(self.rng.randint(3, 36)), before=lambda plan, _: self.work())
        self.states = [list(self.items)]

    def work(self) -> None:
        rate = self.changes_per_request
        for _ in range(int(rate) + (self.rng.random() < rate % 1)):
            change(self, self.rng, self.ticks, self.kinds)
            self.ticks += 1
            self.states.append(list(self.items))
