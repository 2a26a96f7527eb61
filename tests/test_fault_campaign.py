"""Many seeded schedules of faults: what the client says has happened is what has happened at the server."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from airflow_provider_achieveit.api.aio import AsyncAchieveItClient
from airflow_provider_achieveit.api.client import AchieveItClient
from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, FailureKind
from airflow_provider_achieveit.api.jobs import JobEnd, JobWait, WaitOutcome
from airflow_provider_achieveit.simulator.server import RunningSimulator, running
from airflow_provider_achieveit.stores.records import BatchState, NoStore, SubmittedBatch
from airflow_provider_achieveit.submission import Submission
from tests.depth import depth
from tests.fault_schedules import OtherHost, Schedule, schedule

SCHEDULES = depth(150, short=20)
BODY = b"External ID,Status,Metric Value,As Of Date\npat-nps,On Track,41,2026-01-05"
KEY = "canary-key-0123456789"
SECONDS = 4.0
"""What a wait may take; a schedule that never lets the job through runs into it."""


@pytest.fixture(scope="module")
def other_host() -> Iterator[OtherHost]:
    host = OtherHost()
    yield host
    host.close()


@pytest.fixture(scope="module")
def server() -> Iterator[RunningSimulator]:
    with running() as simulator:
        simulator.world.users[KEY] = simulator.world.users.pop(simulator.api_key)
        yield simulator


@contextmanager
def faults_of(server: RunningSimulator, faults: Schedule) -> Iterator[None]:
    with server.world.lock:
        server.world.batches.clear()
        server.world.jobs.clear()
        server.world.requests.clear()
    for kind, options in faults:
        server.faults.add(kind, **options)
    yield
    server.faults.clear()


async def wait_async(config: ClientConfig, wait: JobWait) -> WaitOutcome:
    async with AsyncAchieveItClient(config) as client:
        return await client.wait_for_jobs(UpdateKind.PROGRESS, wait)


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_what_is_told_is_what_happened(
    server: RunningSimulator,
    other_host: OtherHost,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda seconds: None))
    caplog.set_level("DEBUG")
    rng = random.Random(seed)
    faults = schedule(rng, other_host.url, key=KEY)
    config = ClientConfig(server.url, KEY, timeout=0.2, connect_timeout=2, max_retries=3, allow_http=True)
    # A request that was delayed may be processed when the next schedule has begun.
    filename = f"s{seed}.csv"
    told: list[str] = []
    outcome: WaitOutcome | None = None
    failure = None
    began = time.monotonic()
    with faults_of(server, faults), AchieveItClient(config) as client:
        try:
            batch = Submission(client, kind=UpdateKind.PROGRESS, store=NoStore()).submit(
                SubmittedBatch(filename, 1, "ab" * 32), BODY
            )
        except ApiError as error:
            failure = error.failure
            told.append(str(error))
        else:
            now = time.time()
            wait = JobWait([str(batch.job_id)], poll_interval=0.02, deadline=now + SECONDS, now=now)
            if seed % 2:
                outcome = client.wait_for_jobs(UpdateKind.PROGRESS, wait)
            else:
                outcome = asyncio.run(wait_async(config, wait))
            told.append(str(outcome))
        taken = time.monotonic() - began
        posts = [request for request in server.world.requests if request.path.endswith(filename)]
        queued = [job for job in server.world.jobs.values() if job.filename == filename]

    assert taken < SECONDS + 6, "the deadline holds, whatever the server does"
    assert len(queued) <= 1 or any(kind == "status" and how.get("after") for kind, how in faults), "applied twice"
    if failure is not None and failure.kind is not FailureKind.UNSURE:
        untold = [how for kind, how in faults if kind == "status" and how.get("after")]
        assert not queued or untold, "told as not sent, yet it is there"
    if failure is None:
        assert batch.state is BatchState.QUEUED
        assert batch.job_id in {job.job_id for job in queued} or not queued
    if outcome is not None and outcome.failure is None:
        [result] = outcome.results.values()
        [state] = [job.state.value for job in queued if job.job_id == batch.job_id] or ["missing"]
        if result.end is JobEnd.APPLIED and not says_of_jobs(faults, 200):
            assert state == "processed"
        if result.end is JobEnd.REFUSED and not says_of_jobs(faults, 400):
            assert state == "refused"
    assert len(posts) <= 4, "one try and three repeats"
    assert other_host.received == [], "neither the key nor anything else goes to another host"
    assert KEY not in caplog.text + "".join(told)


def says_of_jobs(faults: Schedule, status: int) -> bool:
    """A server that answers 200 to a look at the job says that it is applied; nobody can know better."""
    return any(kind == "status" and how["status"] == status and how["method"] == "GET" for kind, how in faults)
