"""The limit of requests a minute, across processes, threads and event loops; with a shorter minute."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from airflow_provider_achieveit.api import rate, session
from airflow_provider_achieveit.api.aio import AsyncAchieveItClient
from airflow_provider_achieveit.api.client import AchieveItClient
from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, FailureKind
from airflow_provider_achieveit.api.jobs import JobEnd, JobWait
from airflow_provider_achieveit.api.rate import RateLimit
from airflow_provider_achieveit.simulator.server import RunningSimulator

KEY = "canary-key-of-the-rate-limit"
WINDOW = 1.0
"""Seconds that stand for the minute; longer than a request to the simulator takes."""

ASKING = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
from airflow_provider_achieveit.api import rate
rate._MINUTE = {window}
from airflow_provider_achieveit.api.aio import AsyncAchieveItClient
from airflow_provider_achieveit.api.client import AchieveItClient
from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.api.contract import UpdateKind
config = ClientConfig({url!r}, {key!r}, allow_http=True, max_requests_per_minute={limit})

def ask(number):
    with AchieveItClient(config) as client:
        client.job_status(UpdateKind.PROGRESS, str(number))

async def ask_all(numbers):
    async with AsyncAchieveItClient(config) as client:
        await asyncio.gather(*(client.job_status(UpdateKind.PROGRESS, str(number)) for number in numbers))

if sys.argv[1] == "threads":
    list(ThreadPoolExecutor(3).map(ask, range({requests})))
else:
    asyncio.run(ask_all(range({requests})))
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary directory of its own, here and in child processes; a minute that is shorter."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(rate, "_MINUTE", WINDOW)
    return tmp_path


def config_of(simulator: RunningSimulator, limit: int | None, **options: object) -> ClientConfig:
    return ClientConfig(
        simulator.url,
        simulator.api_key,
        allow_http=True,
        max_requests_per_minute=limit,
        **options,  # type: ignore[arg-type]
    )


def arrivals(simulator: RunningSimulator) -> list[float]:
    return sorted(datetime.fromisoformat(request.received_at).timestamp() for request in simulator.world.requests)


def most_in_a_window(moments: list[float], window: float = WINDOW) -> int:
    # The limit and the server go by different clocks, hence not the whole of it.
    return max(sum(start <= moment < start + 0.95 * window for moment in moments) for start in moments)


def test_processes_threads_and_event_loops_share_one_limit(simulator: RunningSimulator, temporary: Path) -> None:
    code = ASKING.format(window=WINDOW, url=simulator.url, key=simulator.api_key, limit=6, requests=5)
    ways = ["threads", "threads", "loop"]
    processes = [subprocess.Popen([sys.executable, "-c", code, way], stderr=subprocess.PIPE) for way in ways]
    for process in processes:
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told.decode()
    moments = arrivals(simulator)
    assert len(moments) == 15
    assert most_in_a_window(moments) == 6
    [directory] = temporary.glob("achieveit-rate-*")
    assert directory.stat().st_mode & 0o777 == 0o700
    [file] = directory.iterdir()
    assert simulator.api_key not in file.name
    assert simulator.api_key.encode() not in file.read_bytes()
    assert file.stat().st_size == 6 * 8


def test_who_is_killed_blocks_nobody(simulator: RunningSimulator) -> None:
    code = ASKING.format(window=WINDOW, url=simulator.url, key=simulator.api_key, limit=2, requests=1000)
    process = subprocess.Popen([sys.executable, "-c", code, "loop"])
    deadline = time.monotonic() + 30
    while len(simulator.world.requests) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    # It is waiting with 998 requests.
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    began = time.monotonic()
    with AchieveItClient(config_of(simulator, 2)) as client:
        client.job_status(UpdateKind.PROGRESS, "mine")
    assert time.monotonic() - began < WINDOW + 1
    assert len(simulator.world.requests) == 3


def test_every_request_counts(simulator: RunningSimulator) -> None:
    """Repeats, the older address of an export, redirects, and the sending of a batch."""
    simulator.world.settings.export_addresses = ["legacy"]
    simulator.faults.add("status", method="POST", status=503, headers={"Retry-After": "0"}, times=1)
    simulator.faults.add("redirect", method="GET", location="/exports/plans/p?moved=1", path="/exports/", times=1)
    with AchieveItClient(config_of(simulator, 3)) as client:
        client.submit(UpdateKind.PROGRESS, "a.csv", b"External ID\npat-nps")
        [plan] = simulator.world.plans
        client.fetch_plan_page(plan, skip=0, take=1, sort_key="sequenceId")
    assert len(simulator.world.requests) == 5
    assert most_in_a_window(arrivals(simulator)) == 3


def test_a_slow_answer_counts_from_its_end(simulator: RunningSimulator) -> None:
    """When a request arrived is not known here: one that took long must not come too close to the next."""
    simulator.faults.add("delay", seconds=0.5, times=1)
    with AchieveItClient(config_of(simulator, 1)) as client:
        client.job_status(UpdateKind.PROGRESS, "slow")
        answered = time.time()
        client.job_status(UpdateKind.PROGRESS, "next")
    assert arrivals(simulator)[1] >= answered + WINDOW - 0.05


def test_a_wait_for_a_job_ends_at_its_deadline(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "_MINUTE", 60.0)
    with AchieveItClient(config_of(simulator, 1)) as client:
        client.job_status(UpdateKind.PROGRESS, "the one request of this minute")
        began = time.time()
        wait = JobWait(["j"], poll_interval=0.1, deadline=began + 0.4, now=began)
        outcome = client.wait_for_jobs(UpdateKind.PROGRESS, wait)
    assert time.time() - began < 10
    assert outcome.results["j"].end is JobEnd.TIMEOUT
    assert "max_requests_per_minute (1) leaves no room" in outcome.results["j"].reason
    assert len(simulator.world.requests) == 1


@pytest.mark.parametrize("connections", [64, 1])
async def test_waits_in_an_event_loop_end_at_their_deadlines_and_block_nothing(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, connections: int
) -> None:
    """Also those that stand behind one that has more time, and has the last connection."""
    monkeypatch.setattr(rate, "_MINUTE", 60.0)
    monkeypatch.setattr(session, "_MAX_SOCKETS", connections)
    async with AsyncAchieveItClient(config_of(simulator, 1)) as client:
        await client.job_status(UpdateKind.PROGRESS, "the one request of this minute")
        patient = asyncio.create_task(client.job_status(UpdateKind.PROGRESS, "patient"))
        await asyncio.sleep(0.05)
        began = time.time()
        wait = JobWait([str(job) for job in range(20)], poll_interval=0.1, deadline=began + 0.4, now=began)
        waiting = asyncio.create_task(client.wait_for_jobs(UpdateKind.PROGRESS, wait))
        slowest = 0.0
        while not waiting.done():
            before = time.monotonic()
            await asyncio.sleep(0.01)
            slowest = max(slowest, time.monotonic() - before)
        outcome = await waiting
        assert time.time() - began < 10
        assert {result.end for result in outcome.results.values()} == {JobEnd.TIMEOUT}
        assert all("max_requests_per_minute (1) leaves no room" in told.reason for told in outcome.results.values())
        assert slowest < 0.5
        assert not patient.done()
        patient.cancel()
    assert len(simulator.world.requests) == 1


def test_holding_back_is_told_once(simulator: RunningSimulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=rate.__name__)
    for number in range(4):  # each with a client of its own, as tasks do
        with AchieveItClient(config_of(simulator, 2)) as client:
            client.job_status(UpdateKind.PROGRESS, str(number))
    [record] = caplog.records
    assert "allows 2 a minute (max_requests_per_minute)" in record.getMessage()
    assert simulator.api_key not in record.getMessage()


def test_without_a_limit_nothing_is_counted(simulator: RunningSimulator, temporary: Path) -> None:
    with AchieveItClient(config_of(simulator, None)) as client:
        client.job_status(UpdateKind.PROGRESS, "j")
    assert list(temporary.glob("achieveit-rate-*")) == []


def limit_of(number: int, url: str = "https://a.example") -> RateLimit:
    return RateLimit(ClientConfig(url, KEY, max_requests_per_minute=number))


def taken(limit: RateLimit, tries: int = 10) -> int:
    return sum(limit.take()[0] == 0 for _ in range(tries))


def test_connections_with_different_limits_of_one_key_see_each_other() -> None:
    assert taken(limit_of(3)) == 3
    assert taken(limit_of(2)) == 0
    assert taken(limit_of(5, "https://A.example:443/")) == 2
    assert taken(limit_of(5, "https://b.example")) == 5


def test_a_file_from_before_a_restart_or_with_rubbish_holds_nobody_back(temporary: Path) -> None:
    limit = limit_of(2)
    path = limit._path()
    for content in (b"rubbish", b"\xff" * 100, os.urandom(64), rate.array("d", [time.monotonic() + 1e6] * 9).tobytes()):
        path.write_bytes(content)
        assert taken(limit) == 2


def test_threads_never_take_more_than_there_is() -> None:
    limit = limit_of(50)
    barrier = threading.Barrier(8)

    def hurry(_: int) -> int:
        barrier.wait(10)
        return taken(limit, 200)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(hurry, range(8))) == 50


def test_a_directory_of_somebody_else_is_not_used(temporary: Path) -> None:
    (temporary / f"achieveit-rate-{os.getuid()}").mkdir()
    (temporary / f"achieveit-rate-{os.getuid()}").chmod(0o777)
    with pytest.raises(ApiError, match="is not a private directory") as caught:
        limit_of(1).take()
    assert caught.value.failure.kind is FailureKind.REQUEST
    assert "set TMPDIR, or leave the field empty" in str(caught.value)
