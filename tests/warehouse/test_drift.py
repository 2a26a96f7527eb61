"""Plans that change while they are read, all the way into a database: a state the server had, or nothing."""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from airflow_provider_achieveit.exceptions import AchieveItInconsistentExportError
from airflow_provider_achieveit.operators.plan_reading import PlanReader
from airflow_provider_achieveit.warehouse.load import PlanLoad, PlanStaging, plan_load
from airflow_provider_achieveit.warehouse.model import Nested
from tests.busy_plans import BusyPlan, Item
from tests.depth import depth

START = datetime(2026, 1, 1, tzinfo=UTC)
PLANS = depth(1000, short=200)
SHARES = 2


class OutlinePlan(BusyPlan):
    """A plan whose items tell their place, as the API's do: it shifts without leaving a mark in ``lastUpdated``."""

    def shown(self, items: list[Item]) -> list[Item]:
        places = {item["id"]: place for place, item in enumerate(self.items, start=1)}
        return [self.told(places[item["id"]], item) for item in items]

    @staticmethod
    def told(place: int, item: Item) -> Item:
        moment = START + timedelta(seconds=int(item["lastUpdated"]))
        tags = [{"name": item["name"]}, {"name": item["lastUpdated"]}]
        return item | {"rowNumber": place, "lastUpdated": moment.isoformat(), "tags": tags}

    # A hook and its client, as far as a read needs them.
    def get_conn(self) -> OutlinePlan:
        return self

    def __enter__(self) -> OutlinePlan:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def fetch_plan_page(self, _: str, **asked: Any) -> Any:
        return self(**asked)


Rows = list[tuple[Any, ...]]


def rows_of(state: list[Item]) -> Rows:
    """Return the rows that a state of the plan should have in the database."""
    return [(place, item["id"], item["name"], item["name"], item["lastUpdated"]) for place, item in enumerate(state, 1)]


def rows_in(database: Path, plan_id: str) -> Rows:
    with closing(sqlite3.connect(database)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'plan_items'").fetchone():
            return []
        return connection.execute(
            "SELECT item.row_number, item.id, item.name, first.name, second.name FROM plan_items AS item"
            " JOIN plan_items_tags AS first ON first.plan_id = item.plan_id AND first.item_id = item.id"
            " AND first.position = 0"
            " JOIN plan_items_tags AS second ON second.plan_id = item.plan_id AND second.item_id = item.id"
            " AND second.position = 1 WHERE item.plan_id = ? ORDER BY 1",
            (plan_id,),
        ).fetchall()


def export(load: PlanLoad, plan_id: str, plan: OutlinePlan, **paging: Any) -> int:
    """Read and load a plan as the operator does, but by a load that others have used; return how often it was read."""
    load.clear()
    staging = PlanStaging(load, plan_id, nested=Nested.TABLES, unescape_html=True)
    reader = PlanReader(plan_id, sort_key="sequenceId", log=logging.getLogger("drift"), **paging)
    read, extracted_at = reader.read_into(staging, plan)  # type: ignore[arg-type]
    load.apply(plan_id, extracted_at=extracted_at, max_delete_ratio=1)
    return read.reads


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("parallel_pages", [1, 4])
def test_a_thousand_plans_that_change_between_pages_are_loaded_as_they_were_or_not_at_all(
    tmp_path: Path, parallel_pages: int, share: int
) -> None:
    database = tmp_path / "warehouse.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{database}")
    ends: Counter[str] = Counter()
    with plan_load(engine, table="plan_items", schema=None, nested=Nested.TABLES) as load:
        for seed in range(share, PLANS, SHARES):
            plan, plan_id = OutlinePlan(seed), f"plan {seed % 50}"
            before = rows_in(database, plan_id)
            paging = {"page_size": 3 + seed % 4, "parallel_pages": parallel_pages, "max_reads": 2}
            try:
                reads = export(load, plan_id, plan, **paging)
            except AchieveItInconsistentExportError:
                ends["refused"] += 1
                assert rows_in(database, plan_id) == before
            else:
                ends["read again" if reads > 1 else "read at once"] += 1
                assert rows_in(database, plan_id) in [rows_of(state) for state in plan.states], f"seed {seed}"
    # Every end must have been reached, or the seeds would prove nothing.
    assert ends.total() == PLANS / SHARES
    assert min(ends[end] for end in ("refused", "read again", "read at once")) > PLANS // 100
