"""Many waits on one event loop, against the simulator."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from airflow_provider_achieveit.api import jobs, polling, session
from airflow_provider_achieveit.api.aio import AsyncAchieveItClient
from airflow_provider_achieveit.api.client import AchieveItClient
from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.api.jobs import JobEnd, JobWait, WaitOutcome
from airflow_provider_achieveit.simulator.server import RunningSimulator

BODY = b"External ID,Status,Metric Value,As Of Date\npat-nps,On Track,41,2026-01-05"
WHOSE: ContextVar[str] = ContextVar("whose", default="nobody")


@pytest.fixture
def config(simulator: RunningSimulator) -> ClientConfig:
    return ClientConfig(simulator.url, simulator.api_key, allow_http=True)


def submit(config: ClientConfig) -> str:
    with AchieveItClient(config) as client:
        return client.submit(UpdateKind.PROGRESS, "a.csv", BODY)


async def outcome(client: AsyncAchieveItClient, *ids: str, seconds: float = 20, poll: float = 0.05) -> WaitOutcome:
    wait = JobWait(ids, poll_interval=poll, deadline=time.time() + seconds, now=time.time())
    return await client.wait_for_jobs(UpdateKind.PROGRESS, wait)


async def asked(simulator: RunningSimulator, times: int) -> None:
    async with asyncio.timeout(10):
        while len([each for each in simulator.world.requests if each.method == "GET"]) < times:  # noqa: ASYNC110 - the server knows no events
            await asyncio.sleep(0.01)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """Give the lines about waits that go on, and in whose context they were written."""
    monkeypatch.setattr(jobs, "REPORT_INTERVAL", 0.1)
    lines: list[tuple[str, str]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append((WHOSE.get(), record.getMessage()))

    handler = Handler()
    monkeypatch.setattr(polling.log, "level", logging.INFO)
    polling.log.addHandler(handler)
    yield lines
    polling.log.removeHandler(handler)


async def wait_as(whose: str, client: AsyncAchieveItClient, job: str) -> None:
    WHOSE.set(whose)
    await outcome(client, job)


async def test_a_wait_tells_of_itself_in_its_own_log(
    simulator: RunningSimulator, config: ClientConfig, told: list[tuple[str, str]]
) -> None:
    """Airflow finds the log of a trigger by the context variables of its task."""
    simulator.world.settings.job_seconds = 0.5
    first, second = submit(config), submit(config)
    async with AsyncAchieveItClient(config) as client:
        await asyncio.gather(wait_as("first", client, first), wait_as("second", client, second))
    assert {(whose, line.rpartition(": ")[2]) for whose, line in told} == {("first", first), ("second", second)}


async def test_thousands_of_waits_do_not_tell_of_themselves_at_once(
    simulator: RunningSimulator, config: ClientConfig, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "_LINE_PAUSE", 600)
    simulator.world.settings.job_seconds = 0.5
    job = submit(config)
    async with AsyncAchieveItClient(config) as client:
        await asyncio.gather(*(wait_as(str(number), client, job) for number in range(5)))
    assert len(told) == 1


async def test_one_that_is_cancelled_does_not_disturb_the_others(
    simulator: RunningSimulator, config: ClientConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_MAX_SOCKETS", 1)
    simulator.world.settings.job_seconds = 0.3
    jobs = [submit(config) for _ in range(3)]
    simulator.faults.add("delay", method="GET", seconds=0.2, times=None)
    async with AsyncAchieveItClient(config) as client:
        looked_at, queued, stays = (asyncio.create_task(outcome(client, job)) for job in jobs)
        await asked(simulator, 1)
        for task in (looked_at, queued):
            task.cancel()
        assert (await stays).results[jobs[2]].end is JobEnd.APPLIED
        assert looked_at.cancelled()
        assert queued.cancelled()
        # Also after it was idle, and while an old round of the cancelled ones is not yet due.
        assert (await outcome(client, jobs[1])).results[jobs[1]].end is JobEnd.APPLIED


async def test_a_new_wait_is_looked_at_while_others_sleep(simulator: RunningSimulator, config: ClientConfig) -> None:
    simulator.world.settings.job_seconds = 60
    async with AsyncAchieveItClient(config) as client:
        sleeper = asyncio.create_task(outcome(client, submit(config), seconds=600, poll=600))
        await asked(simulator, 1)
        await asyncio.sleep(0.1)
        newcomer = asyncio.create_task(outcome(client, submit(config)))
        # Its first round, and one that is not the first.
        await asked(simulator, 3)
        for task in (sleeper, newcomer):
            task.cancel()
        await asyncio.wait([sleeper, newcomer])


async def test_a_server_that_hangs_does_not_hold_those_in_the_queue(
    simulator: RunningSimulator, config: ClientConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_MAX_SOCKETS", 1)
    monkeypatch.setattr(session, "_LONGEST_QUEUE", 0.1)
    simulator.faults.add("delay", method="GET", seconds=30, times=None)
    began = time.monotonic()
    async with AsyncAchieveItClient(config) as client:
        ended = await outcome(client, *"abcdef", seconds=0.5)
    assert time.monotonic() - began < 10
    assert [result.end for result in ended.results.values()] == [JobEnd.TIMEOUT] * 6
    assert "cannot be reached" in ended.results["a"].reason
    assert "all 1 connections of this triggerer to AchieveIt were busy" in ended.results["f"].reason


async def test_a_fault_of_the_provider_is_told_to_who_waits(
    config: ClientConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fault(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(polling, "ask_job_status", fault)
    async with AsyncAchieveItClient(config) as client:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="a fault"):
                await outcome(client, "a", "b")


async def test_a_refused_key_stops_a_wait_for_many_jobs(simulator: RunningSimulator) -> None:
    async with AsyncAchieveItClient(ClientConfig(simulator.url, "wrong", allow_http=True)) as client:
        ended = await outcome(client, *map(str, range(500)))
    assert ended.failure is not None
    # No more than had a connection by then.
    assert len(simulator.world.requests) <= 2 * session._MAX_SOCKETS
