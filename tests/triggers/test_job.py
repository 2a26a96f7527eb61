"""The trigger, made from its own serialization as the triggerer does, against the simulator."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import time
from typing import Any

import pytest
from airflow.triggers.base import TriggerEvent

from airflow_provider_achieveit.api import session
from airflow_provider_achieveit.api.failure import FailureKind
from airflow_provider_achieveit.api.jobs import JobEnd, WaitOutcome
from airflow_provider_achieveit.exceptions import AchieveItUnavailableError
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.simulator.server import RunningSimulator
from airflow_provider_achieveit.triggers.job import AchieveItJobTrigger, read_event

BODY = b"External ID,Status,Metric Value,As Of Date\npat-nps,On Track,41,2026-01-05"


async def fire(*job_ids: str, seconds: float = 20, **options: Any) -> tuple[WaitOutcome, Any]:
    """Send the trigger through JSON, run it to its end, and return what its one event says."""
    trigger = AchieveItJobTrigger(
        job_ids=job_ids, **{"deadline": time.time() + seconds, "poll_interval": 0.05, **options}
    )
    path, kwargs = trigger.serialize()
    assert path == "airflow_provider_achieveit.triggers.job.AchieveItJobTrigger"
    events: list[TriggerEvent] = [event async for event in AchieveItJobTrigger(**json.loads(json.dumps(kwargs))).run()]
    [event] = events
    data = json.loads(json.dumps(event.payload))
    return WaitOutcome.from_json(data["outcome"]), data["payload"]


def submit(body: bytes = BODY) -> str:
    return AchieveItHook().submit_updates(kind="progress", filename="a.csv", body=body)


async def test_one_event_for_all_jobs(simulator: RunningSimulator) -> None:
    simulator.world.settings.job_seconds = 0.1
    good, bad = submit(), submit(b"External ID\nnope")
    outcome, payload = await fire(good, bad, payload={"counts": 1})
    assert {job: result.end for job, result in outcome.results.items()} == {good: JobEnd.APPLIED, bad: JobEnd.REFUSED}
    assert payload == {"counts": 1}


async def test_keeps_no_key(simulator: RunningSimulator) -> None:
    trigger = AchieveItJobTrigger(job_ids=["j"], deadline=1.0)
    assert simulator.api_key not in json.dumps(trigger.serialize())
    assert simulator.api_key not in repr(vars(trigger))


async def test_the_deadline_is_absolute(simulator: RunningSimulator) -> None:
    """A triggerer that starts the trigger again must not start the clock again."""
    outcome, _ = await fire("j", deadline=time.time() - 5)
    assert outcome.results["j"].end is JobEnd.TIMEOUT
    assert len(simulator.world.requests) == 1


@pytest.mark.parametrize(
    ("connection", "told"),
    [('{"conn_type": "achieveit"}', "no API key"), (None, "achieveit_default")],
)
async def test_a_connection_that_cannot_be_used_comes_as_data(
    monkeypatch: pytest.MonkeyPatch, connection: str | None, told: str
) -> None:
    if connection:
        monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", connection)
    outcome, _ = await fire("j")
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.REQUEST
    assert told in outcome.failure.message


async def test_killed_says_what_goes_on(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        await AchieveItJobTrigger(job_ids=["job-7"], deadline=1.0).on_kill()
    # Airflow 3 logs through structlog to the output, Airflow 2 through logging.
    told = caplog.text + capsys.readouterr().out
    assert "job-7" in told
    assert "will still apply" in told


@pytest.mark.parametrize("answers_in", [0, 60], ids=["asleep", "in the queue"])
async def test_a_wait_is_made_of_few_objects(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, answers_in: float
) -> None:
    """Python's garbage collection stops the event loop while it goes through all of thousands of waits."""
    monkeypatch.setattr(session, "_MAX_SOCKETS", 1)
    simulator.world.settings.job_seconds = 600
    simulator.faults.add("delay", method="GET", seconds=answers_in, times=None)
    job = submit()
    waits: list[asyncio.Task[None]] = []

    async def wait() -> None:
        async for _ in AchieveItJobTrigger(job_ids=[job], deadline=time.time() + 600, poll_interval=600).run():
            pass

    async def with_more(number: int) -> int:
        """Let so many more wait, and return how many objects there are then."""
        simulator.world.requests.clear()
        waits.extend(asyncio.create_task(wait()) for _ in range(number))
        async with asyncio.timeout(30):
            while not answers_in and len(simulator.world.requests) < number:  # noqa: ASYNC110 - it knows no events
                await asyncio.sleep(0.01)
        # The last answer is read, and the one connection is there.
        await asyncio.sleep(0.5)
        # The simulator is in this process.
        simulator.world.requests.clear()
        gc.collect()
        return len(gc.get_objects())

    # The first ones bring the session, and what is imported with it.
    few = await with_more(5)
    many = await with_more(100)
    for task in waits:
        task.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    assert (many - few) / 100 < 28


@pytest.mark.parametrize("event", [None, {}, {"status": "success"}, "done"])
def test_an_event_that_is_not_ours_is_no_success(event: Any) -> None:
    with pytest.raises(AchieveItUnavailableError, match="not known"):
        read_event(event)
