"""Many tasks at once on two workers: what comes out is what one task after the other brings."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from itertools import chain
from typing import Any

import psycopg2
import pytest
import requests

from tests.cluster import scale
from tests.cluster.scale import SERIAL, SIDE_BY_SIDE
from tests.cluster.stack import Run
from tests.cluster.world import World

Counted = Callable[[str, Sequence[dict[str, Any]]], None]
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def warehouse(world: World) -> Iterator[Any]:
    """A connection to the warehouse."""
    connection = psycopg2.connect(world.airflow.database_url("warehouse"))
    connection.autocommit = True
    yield connection
    connection.close()


def test_two_hundred_pushes_deferred_at_once(world: World, counted: Counted) -> None:
    airflow, achieveit = world.airflow, world.achieveit
    achieveit.hold_jobs()
    run = airflow.run("scale_push")
    run.wait(SIDE_BY_SIDE, "deferred", seconds=600)
    assert Counter(task["state"] for task in run.tasks()) == {"deferred": scale.PUSHES}
    achieveit.let_go()
    run.wait(SIDE_BY_SIDE, "success", seconds=600)
    tasks = run.tasks()
    assert len(tasks) == scale.PUSHES
    assert {task["try_number"] for task in tasks} == {1}
    assert achieveit.posts(run.name(SIDE_BY_SIDE)) == scale.PUSHES
    counted("200 mapped pushes, all deferred at once", tasks)

    serial = airflow.run("scale_push_serial")
    assert serial.ended(seconds=300) == {SERIAL: "success"}
    counted("the same rows by one task", serial.tasks())

    side_by_side, one_by_one = (items_of(world, user, scale.PUSHED_KPIS) for user in scale.WAYS)
    assert len(side_by_side) == scale.PUSHES
    assert {len(item["history"]) for item in side_by_side.values()} == {len(scale.PUSHED_DAYS)}
    assert side_by_side == one_by_one


@pytest.mark.parametrize("mode", scale.EXPORT_LOADS)
def test_twenty_plans_exported_side_by_side(world: World, warehouse: Any, counted: Counted, mode: str) -> None:
    for load in range(1, scale.EXPORT_LOADS[mode] + 1):
        for plan_id in scale.EXPORTED if load > 1 else ():
            world.achieveit.change_plan(plan_id, "insert", "edit", "delete", "move")
        run = world.airflow.run(f"scale_export_{mode}")
        run.wait(SERIAL, "success", seconds=600)
        for task_id, how in ((SIDE_BY_SIDE, "side by side"), (SERIAL, "one after the other")):
            tasks = [task for task in run.tasks() if task["task_id"] == task_id]
            assert len(tasks) == len(scale.EXPORTED)
            assert {task["try_number"] for task in tasks} == {1}
            assert (most_at_once(tasks) == 1) == (task_id == SERIAL)
            counted(f"{len(tasks)} plans, {mode}, load {load}, {how}", tasks)

    tables = table_names(warehouse, SERIAL, f"plan_items_{mode}")
    assert len(tables) == len(["items", "members", "admins", "tags", "goals", "checklists", "checklist items", "loads"])
    assert table_names(warehouse, SIDE_BY_SIDE, f"plan_items_{mode}") == tables
    side_by_side, one_by_one = (rows_of(warehouse, schema, tables) for schema in scale.WAYS)
    for table in tables:
        assert one_by_one[table], table
        assert side_by_side[table] == one_by_one[table], table
    cursor = warehouse.cursor()
    current = "" if mode == "replace" else "where _valid_to is null"
    cursor.execute(f"select plan_id, count(*) from {SIDE_BY_SIDE}.plan_items_{mode} {current} group by plan_id")
    assert dict(cursor.fetchall()) == scale.EXPORTED


def test_a_backfill_of_thirty_days(world: World, counted: Counted) -> None:
    airflow, achieveit = world.airflow, world.achieveit
    airflow.wait_for_dag("scale_daily")
    backfill = airflow.ask(
        "POST",
        "backfills",
        {
            "dag_id": "scale_daily",
            "from_date": f"{scale.DAYS[0]}T00:00:00Z",
            "to_date": f"{scale.DAYS[-1]}T00:00:00Z",
            "max_active_runs": scale.ACTIVE_RUNS,
        },
    )
    airflow.until(
        lambda: airflow.ask("GET", f"backfills/{backfill['id']}")["completed_at"], seconds=600, what="backfill is done"
    )
    runs = airflow.ask("GET", "dags/scale_daily/dagRuns?limit=100")["dag_runs"]
    assert {(run["run_type"], run["state"]) for run in runs} == {("backfill", "success")}
    assert sorted(run["logical_date"][:10] for run in runs) == [day.isoformat() for day in scale.DAYS]
    assert 1 < most_at_once(runs) <= scale.ACTIVE_RUNS
    assert achieveit.posts("scale_daily.push.") == len(scale.DAYS)
    counted(f"backfill of 30 days, {scale.ACTIVE_RUNS} at once", Run(airflow, "scale_daily", "~").tasks())

    rows = scale.kpi_values(scale.DAILY_KPIS, scale.DAYS)
    for day in scale.DAYS:
        post_day(world, day, [row for row in rows if row["day"] == day])
    backfilled, one_by_one = (items_of(world, user, scale.DAILY_KPIS) for user in scale.WAYS)
    assert {len(item["history"]) for item in backfilled.values()} == {len(scale.DAYS)}
    for item in backfilled.values():
        # Days arrive in any order within the runs that are active at once.
        item["history"].sort(key=lambda entry: entry["as_of_date"])
    assert backfilled == one_by_one


def items_of(world: World, user: str, kpis: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what AchieveIt knows of items, by external id, but for what differs from plan to plan and job to job."""
    known = {item["external_id"]: item for item in world.achieveit.plan(scale.PLANS[user])["items"]}
    of_the_plan = {"id", "sourceId", "planId", "planName", "lastUpdateCommentId"}
    return {
        kpi: {
            "fields": {name: value for name, value in known[kpi]["fields"].items() if name not in of_the_plan},
            "history": [
                {name: entry[name] for name in ("as_of_date", "status", "value", "comment")}
                for entry in known[kpi]["history"]
            ],
        }
        for kpi in kpis
    }


def post_day(world: World, day: date, rows: Sequence[dict[str, Any]]) -> None:
    """Submit the rows of a day as a plain script would."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["External ID", "Status", "Metric Value", "As Of Date", "Comment"])
    writer.writerows([row["kpi"], row["rag"], f"{row['value']:f}", day, row["note"]] for row in rows)
    connection = json.loads(world.airflow.environment[f"AIRFLOW_CONN_ACHIEVEIT_{SERIAL.upper()}"])
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(world.achieveit.ca_file)
        session.headers["Authorization"] = f"API-KEY {connection['password']}"
        name = f"{world.achieveit.url}/api/progressupdates"
        answer = session.post(f"{name}/{day}.csv", data=text.getvalue().encode(), headers={"Content-Type": "text/csv"})
        assert answer.status_code == 200, answer.text
        world.airflow.until(
            lambda: session.get(f"{name}/status/{answer.json()}").status_code == 200, seconds=30, what=f"{day} is there"
        )


def most_at_once(some: Sequence[dict[str, Any]]) -> int:
    """Return how many runs, or task instances, were active at once at most."""
    changes = [(datetime.fromisoformat(one["start_date"]), 1) for one in some]
    changes += [(datetime.fromisoformat(one["end_date"]), -1) for one in some]
    active = most = 0
    for _, change in sorted(changes):
        active += change
        most = max(most, active)
    return most


def table_names(connection: Any, schema: str, begin: str) -> list[str]:
    cursor = connection.cursor()
    cursor.execute(
        "select table_name from information_schema.tables where table_schema = %s and starts_with(table_name, %s)",
        (schema, begin),
    )
    return sorted(name for (name,) in cursor.fetchall())


def rows_of(connection: Any, schema: str, tables: Sequence[str]) -> dict[str, Counter[str]]:
    """Return the rows of each table; instead of a load's moment, which of the plan's loads it was."""
    cursor = connection.cursor()
    found = {}
    for table in tables:
        cursor.execute(f'select * from {schema}."{table}"')
        names = [column.name for column in cursor.description]
        found[table] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    of_loads = ("_extracted_at", "_valid_from", "_valid_to")
    moments: dict[str, set[datetime]] = defaultdict(set)
    for row in chain(*found.values()):
        moments[row["plan_id"]] |= {row[name] for name in of_loads if row.get(name)}
    order = {plan_id: sorted(some) for plan_id, some in moments.items()}
    for row in chain(*found.values()):
        row |= {name: order[row["plan_id"]].index(row[name]) for name in of_loads if row.get(name)}
    return {table: Counter(map(str, rows)) for table, rows in found.items()}
