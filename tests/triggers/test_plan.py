"""The trigger that watches a plan: alone, shared, and in a real triggerer that is killed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import DAG, Asset
from airflow.triggers.base import TriggerEvent
from cryptography.fernet import Fernet

from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID, mutate
from airflow_provider_achieveit.simulator.server import RunningSimulator
from airflow_provider_achieveit.triggers import plan as module
from airflow_provider_achieveit.triggers.plan import AchieveItPlanChangedTrigger
from tests.airflow_versions import needs_shared_streams
from tests.cluster.programs import ROOT, Program, Programs, until
from tests.going_run import register

INTERVAL = 0.05


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TILL_STORED", 0.0)


def trigger(**options: Any) -> AchieveItPlanChangedTrigger:
    """Return a trigger made from its own serialization, as the triggerer does."""
    made = AchieveItPlanChangedTrigger(**{"plan_id": DEMO_PLAN_ID, "poll_interval": INTERVAL} | options)
    path, kwargs = made.serialize()
    assert path == "airflow_provider_achieveit.triggers.plan.AchieveItPlanChangedTrigger"
    return AchieveItPlanChangedTrigger(**json.loads(json.dumps(kwargs)))


def looks(simulator: RunningSimulator) -> int:
    return len(simulator.world.requests)


async def has(come: Callable[[], bool]) -> None:
    """Wait until something has come."""
    async with asyncio.timeout(20):
        while not come():  # noqa: ASYNC110 - the simulator runs in a thread
            await asyncio.sleep(0.01)


async def after(simulator: RunningSimulator, more: int) -> None:
    """Wait until there were so many more looks."""
    wanted = looks(simulator) + more
    await has(lambda: looks(simulator) >= wanted)


class Watching:
    """A trigger that runs while the block lasts; its events are collected."""

    def __init__(self, events: AsyncIterator[TriggerEvent]) -> None:
        self._source = events
        self.events: list[dict[str, Any]] = []

    async def __aenter__(self) -> Watching:
        self._task = asyncio.create_task(self._collect())
        return self

    async def _collect(self) -> None:
        async for event in self._source:
            self.events.append(json.loads(json.dumps(event.payload)))

    async def __aexit__(self, *_: Any) -> None:
        assert not self._task.done(), "a watcher never ends"
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def until(self, count: int) -> None:
        await has(lambda: len(self.events) >= count)


async def test_every_change_is_told_once_and_the_first_look_tells_nothing(
    simulator: RunningSimulator, at_once: None
) -> None:
    plan = simulator.world.plans[DEMO_PLAN_ID]
    before = len(plan.items)
    async with Watching(trigger().run()) as watching:
        await after(simulator, 3)
        assert watching.events == []
        mutate(plan, ["insert"])
        await watching.until(1)
        plan.items[3].fields["lastUpdated"] = "2031-01-05T10:00:00Z"
        await watching.until(2)
        mutate(plan, ["delete"])
        await watching.until(3)
        await after(simulator, 3)
    assert [event["items"] for event in watching.events] == [before + 1, before + 1, before]
    assert watching.events[1] == {
        "plan_id": DEMO_PLAN_ID,
        "items": before + 1,
        "newest_change": "2031-01-05T10:00:00Z",
        "seen_at": watching.events[1]["seen_at"],
        "uri": f"achieveit://{urlsplit(simulator.url).netloc}/plans/{DEMO_PLAN_ID}",
    }
    assert {(request.path, request.query) for request in simulator.world.requests} == {
        (f"/exports/plans/{DEMO_PLAN_ID}", "skip=0&take=1&sortKey=lastUpdated&sortDirection=desc")
    }


async def test_a_plan_without_items_is_a_plan(simulator: RunningSimulator, at_once: None) -> None:
    plan = simulator.world.plans[DEMO_PLAN_ID]
    async with Watching(trigger().run()) as watching:
        await after(simulator, 2)
        plan.items.clear()
        await watching.until(1)
    assert (watching.events[0]["items"], watching.events[0]["newest_change"]) == (0, None)


async def test_an_outage_ends_no_watcher_and_loses_no_change(
    simulator: RunningSimulator, at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with Watching(trigger().run()) as watching:
        await after(simulator, 1)
        simulator.faults.add("status", status=503, times=2)
        simulator.faults.add("reset", nth=3)
        simulator.faults.add("status", status=200, body="<html>", nth=4)
        mutate(simulator.world.plans[DEMO_PLAN_ID], ["insert"])
        await watching.until(1)
    assert len(watching.events) == 1
    [first, *_] = [line.message for line in caplog.records if line.name == module.__name__]
    assert "503" in first
    assert "can be read again" in caplog.text
    assert simulator.api_key not in caplog.text


async def test_retry_after_is_honoured(simulator: RunningSimulator, at_once: None) -> None:
    simulator.faults.add("status", status=429, headers={"Retry-After": "1"})
    began = time.monotonic()
    async with Watching(trigger().run()):
        await after(simulator, 2)
        assert time.monotonic() - began >= 1


@pytest.mark.parametrize(
    ("status", "told"),
    [(401, "API key was not accepted"), (403, "may not see plan"), (404, "404")],
)
async def test_what_a_person_must_mend_is_said_once_and_asked_seldom(
    simulator: RunningSimulator,
    at_once: None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    told: str,
) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.3)
    # An unknown plan is asked for at two addresses.
    fault = simulator.faults.add("status", status=status, times=6 if status == 404 else 3)
    began = time.monotonic()
    async with Watching(trigger().run()) as watching:
        await has(lambda: looks(simulator) > (fault.times or 0))
        assert time.monotonic() - began >= 3 * 0.3
        # The first look that was answered has been taken note of.
        await after(simulator, 1)
        mutate(simulator.world.plans[DEMO_PLAN_ID], ["insert"])
        await watching.until(1)
    errors = [line.message for line in caplog.records if line.name == module.__name__ and line.levelname == "ERROR"]
    assert len(errors) == 1
    assert told in errors[0]


async def test_a_connection_that_is_made_later_is_found(
    simulator: RunningSimulator, at_once: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE", INTERVAL)
    async with Watching(trigger(achieveit_conn_id="later").run()):
        await asyncio.sleep(0.2)
        monkeypatch.setenv("AIRFLOW_CONN_LATER", simulator.connection())
        await after(simulator, 1)
    [told] = [line.message for line in caplog.records if line.name == module.__name__ and line.levelname == "ERROR"]
    assert "`later`" in told


@needs_shared_streams
async def test_triggers_of_one_plan_share_one_poll(simulator: RunningSimulator, at_once: None) -> None:
    """By Airflow's own manager, as the triggerer does it."""
    from airflow.triggers.shared_stream import SharedStreamManager

    manager = SharedStreamManager()
    triggers = [trigger() for _ in range(5)]
    other = trigger(poll_interval=600)
    watchers = []
    for number, made in enumerate([*triggers, other]):
        stream = manager.subscribe(trigger_id=number, trigger=made, key=made.shared_stream_key())
        watchers.append(Watching(made.filter_shared_stream(stream)))
    for watcher in watchers:
        await watcher.__aenter__()
    await after(simulator, 4)
    mutate(simulator.world.plans[DEMO_PLAN_ID], ["insert"])
    began, before = time.monotonic(), looks(simulator)
    for watcher in watchers[:5]:
        await watcher.until(1)
    await asyncio.sleep(0.5)
    polls = (time.monotonic() - began) / INTERVAL
    assert looks(simulator) - before <= polls + 2
    for watcher in watchers:
        await watcher.__aexit__()
    await manager.stop_all()
    assert [len(watcher.events) for watcher in watchers] == [1] * 5 + [0]


class Store:
    """The part of Airflow's asset state store that a trigger uses, with an outage."""

    def __init__(self, kept: dict[str, Any], failures: int = 0) -> None:
        self.kept = kept
        self.failures = failures

    async def aget(self, key: str) -> Any:
        self._answer()
        return self.kept.get(key)

    async def aset(self, key: str, value: Any) -> None:
        self._answer()
        self.kept[key] = json.loads(json.dumps(value))

    def _answer(self) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise ConnectionError("the API server is away")


class Stores:
    def __init__(self, *stores: Store) -> None:
        self._by_name = {str(number): store for number, store in enumerate(stores)}


def with_stores(*stores: Store) -> AchieveItPlanChangedTrigger:
    made = trigger()
    made.asset_state_store = Stores(*stores)
    return made


def seen(items: int, at: str) -> dict[str, Any]:
    return {"items": items, "newest_change": None, "seen_at": at}


KEY = f"achieveit/achieveit_default/{DEMO_PLAN_ID}"


async def test_a_state_store_that_does_not_answer_loses_no_change(simulator: RunningSimulator, at_once: None) -> None:
    store = Store({KEY: seen(1, "2026-01-01")}, failures=3)
    async with Watching(with_stores(store).run()) as watching:
        await watching.until(1)
        store.failures = 1
        mutate(simulator.world.plans[DEMO_PLAN_ID], ["insert"])
        await watching.until(2)
        await after(simulator, 3)
    assert len(watching.events) == 2


async def test_of_several_assets_the_newest_cursor_counts(simulator: RunningSimulator, at_once: None) -> None:
    """The watchers of two assets that watch the same plan are one trigger to Airflow."""
    newest = simulator.world.plans[DEMO_PLAN_ID]
    now = {
        "items": len(newest.items),
        "newest_change": max(item.fields["lastUpdated"] for item in newest.items),
        "seen_at": "2026-02-01",
    }
    stores = Store({KEY: seen(1, "2026-01-01")}), Store({KEY: now}), Store({})
    async with Watching(with_stores(*stores).run()) as watching:
        await after(simulator, 3)
        assert watching.events == []
        mutate(newest, ["insert"])
        await watching.until(1)
        await after(simulator, 2)
    assert [store.kept[KEY]["items"] for store in stores] == [len(newest.items)] * 3


def test_keeps_no_key(simulator: RunningSimulator) -> None:
    assert simulator.api_key not in repr(vars(trigger()))


@pytest.mark.parametrize(
    ("options", "told"),
    [({"plan_id": " "}, "plan_id must be a text that is not empty"), ({"poll_interval": 0}, "poll_interval must be")],
)
def test_what_cannot_work_is_refused_when_the_dag_is_parsed(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        trigger(**options)


# --- A real triggerer -------------------------------------------------------------------------------------------------


def forget_triggers() -> None:
    """Forget those of other tests, and those that no other test could decrypt."""
    from airflow.models.base import Base
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session
    from sqlalchemy import delete, update

    with create_session() as session:
        # What other tests have left may wait for one: tasks, callbacks, watchers.
        for table in Base.metadata.sorted_tables:
            for column in [key.parent for key in table.foreign_keys if key.column.table is Trigger.__table__]:
                session.execute(update(table).values({column: None}) if column.nullable else delete(table))
        session.execute(delete(Trigger))


@pytest.fixture
def triggerer(
    simulator: RunningSimulator, airflow_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Program]]:
    """Starts Airflow's triggerer on the metadata database of the tests."""
    from airflow.models import crypto

    forget_triggers()
    # As in production: Airflow cannot see that two triggers are equal whose arguments it encrypted one by one.
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", Fernet.generate_key().decode())
    crypto.get_fernet.cache_clear()
    settings = {
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_CONN_ACHIEVEIT_DEFAULT": simulator.connection(),
        # A triggerer that was killed is noticed soon.
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "3",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    }
    with Programs(tmp_path) as programs:
        command = [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"]
        yield lambda name: programs.start(name, command, {**os.environ, **settings})
    forget_triggers()
    monkeypatch.undo()
    crypto.get_fernet.cache_clear()


def told_by_watchers(uri: str) -> dict[str, list[int]]:
    """Return the number of items that each event of an asset tells, by the name of the asset."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    found: dict[str, list[int]] = {}
    with create_session() as session:
        for name, extra in session.execute(
            select(AssetModel.name, AssetEvent.extra)
            .join(AssetEvent, AssetEvent.asset_id == AssetModel.id)
            .where(AssetModel.name.startswith(uri))
            .order_by(AssetEvent.id)
        ):
            assert extra["from_trigger"] is True
            found.setdefault(name.removeprefix(uri), []).append(extra["payload"]["items"])
    return found


def kept_items() -> list[int]:
    """Return what the watchers of the plan saw last, as Airflow keeps it."""
    from airflow.models.asset_state_store import AssetStateStoreModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return [json.loads(row)["items"] for row in session.scalars(select(AssetStateStoreModel.value))]


@needs_shared_streams
@pytest.mark.timeout(240)
def test_a_killed_triggerer_repeats_nothing_and_loses_nothing(
    simulator: RunningSimulator, triggerer: Callable[[str], Program]
) -> None:
    from airflow.models.asset import AssetDagRunQueue
    from airflow.models.trigger import Trigger
    from airflow.sdk import AssetWatcher
    from airflow.utils.session import create_session
    from sqlalchemy import select

    plan = simulator.world.plans[DEMO_PLAN_ID]
    items = len(plan.items)
    uri = f"achieveit://{urlsplit(simulator.url).netloc}/plans/{DEMO_PLAN_ID}"

    def dag(name: str) -> DAG:
        watcher = AssetWatcher(name=f"watch_{name}", trigger=trigger(poll_interval=0.5))
        asset = Asset(name=f"{uri}{name}", uri=f"x-plan://{name}", watchers=[watcher])
        return DAG(f"starts_by_a_change_{name}", schedule=[asset], is_paused_upon_creation=False)

    # Three teams with an asset of their own for the plan. In one file their watchers are one trigger to Airflow.
    register(dag("a"), dag("b"))
    register(dag("c"))
    with create_session() as session:
        assert sorted(len(row.assets) for row in session.scalars(select(Trigger))) == [1, 2]

    first = triggerer("first")
    until(lambda: kept_items() == [items] * 3, seconds=60, what="the first look is taken note of", pause=0.1)
    began, before = time.monotonic(), looks(simulator)
    # It has nothing to do as long as the first one lives.
    triggerer("second")
    mutate(plan, ["insert"])
    until(lambda: kept_items() == [items + 1] * 3, seconds=30, what="the change is taken note of", pause=0.1)
    assert looks(simulator) - before <= (time.monotonic() - began) / 0.5 + 2
    assert told_by_watchers(uri) == {name: [items + 1] for name in "abc"}
    first.check()
    first.kill()
    mutate(plan, ["insert"])
    changed = {name: [items + 1, items + 2] for name in "abc"}
    until(lambda: told_by_watchers(uri) == changed, seconds=60, what="the change while it was down is told", pause=0.1)
    with create_session() as session:
        queued = set(session.scalars(select(AssetDagRunQueue.target_dag_id)))
    assert {f"starts_by_a_change_{name}" for name in "abc"} <= queued
