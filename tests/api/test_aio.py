"""The asynchronous carrier against the simulator."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter

import pytest

from airflow_provider_achieveit.api import session
from airflow_provider_achieveit.api.aio import AsyncAchieveItClient
from airflow_provider_achieveit.api.client import AchieveItClient
from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.api.contract import JobState, UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, FailureKind
from airflow_provider_achieveit.api.jobs import JobEnd, JobWait
from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID
from airflow_provider_achieveit.simulator.server import RunningSimulator

BODY = b"External ID,Status,Metric Value,As Of Date\npat-nps,On Track,41,2026-01-05"


def config_of(simulator: RunningSimulator, **options: object) -> ClientConfig:
    verify = str(simulator.ca_file) if simulator.ca_file else True
    return ClientConfig(
        simulator.url,
        simulator.api_key,
        **{"verify": verify, "allow_http": True, **options},  # type: ignore[arg-type]
    )


def submit(simulator: RunningSimulator, body: bytes = BODY) -> str:
    with AchieveItClient(config_of(simulator)) as client:
        return client.submit(UpdateKind.PROGRESS, "a.csv", body)


def wait_for(*jobs: str, seconds: float = 20) -> JobWait:
    return JobWait(jobs, poll_interval=0.05, deadline=time.time() + seconds, now=time.time())


async def test_waits_over_tls(tls_simulator: RunningSimulator) -> None:
    tls_simulator.world.settings.job_seconds = 0.2
    good, bad = submit(tls_simulator), submit(tls_simulator, b"External ID\nnope")
    async with AsyncAchieveItClient(config_of(tls_simulator)) as client:
        outcome = await client.wait_for_jobs(UpdateKind.PROGRESS, wait_for(good, bad))
    assert {job: result.end for job, result in outcome.results.items()} == {good: JobEnd.APPLIED, bad: JobEnd.REFUSED}
    assert outcome.results[bad].reason


async def test_an_unknown_ca_ends_the_wait(tls_simulator: RunningSimulator) -> None:
    async with AsyncAchieveItClient(config_of(tls_simulator, verify=True)) as client:
        outcome = await client.wait_for_jobs(UpdateKind.PROGRESS, wait_for("j"))
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.REQUEST
    assert "verify" in outcome.failure.message


async def test_survives_everything_that_passes(simulator: RunningSimulator) -> None:
    job = submit(simulator)
    for kind, options in [
        ("reset", {}),
        ("status", {"status": 503, "headers": {"Retry-After": "0"}}),
        ("status", {"status": 500}),
        ("truncate", {}),
        ("status", {"status": 429}),
        ("status", {"status": 500}),
        ("status", {"status": 404}),
    ]:
        simulator.faults.add(kind, method="GET", nth=len(simulator.faults.rules) + 1, **options)
    async with AsyncAchieveItClient(config_of(simulator)) as client:
        outcome = await client.wait_for_jobs(UpdateKind.PROGRESS, wait_for(job))
    assert outcome.results[job].end is JobEnd.APPLIED
    assert len([r for r in simulator.world.requests if r.method == "GET"]) >= 7


async def test_a_refused_key_ends_the_wait_after_one_round(simulator: RunningSimulator) -> None:
    config = ClientConfig(simulator.url, "wrong", allow_http=True)
    async with AsyncAchieveItClient(config) as client:
        outcome = await client.wait_for_jobs(UpdateKind.PROGRESS, wait_for("j"))
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.AUTH
    assert len(simulator.world.requests) == 1


async def test_the_deadline_ends_the_wait(simulator: RunningSimulator) -> None:
    simulator.world.settings.job_seconds = 60
    job = submit(simulator)
    async with AsyncAchieveItClient(config_of(simulator)) as client:
        outcome = await client.wait_for_jobs(UpdateKind.PROGRESS, wait_for(job, seconds=0.3))
    assert outcome.results[job].end is JobEnd.TIMEOUT


async def test_a_redirect_on_the_same_host_is_followed_and_none_to_another(simulator: RunningSimulator) -> None:
    job = submit(simulator)
    path = f"/api/progressupdates/status/{job}"
    simulator.faults.add("redirect", method="GET", location=f"{path}?again=1", path=f"{path}$")
    async with AsyncAchieveItClient(config_of(simulator)) as client:
        assert (await client.job_status(UpdateKind.PROGRESS, job)).state in (JobState.APPLIED, JobState.PENDING)
        simulator.faults.replace([])
        simulator.faults.add("redirect", location="http://localhost:1/status")
        with pytest.raises(ApiError) as caught:
            await client.job_status(UpdateKind.PROGRESS, job)
    assert caught.value.failure.kind is FailureKind.REQUEST


async def test_users_of_one_loop_share_a_session_and_the_last_one_closes_it(simulator: RunningSimulator) -> None:
    config = config_of(simulator)

    async def use(hold: asyncio.Event) -> object:
        async with AsyncAchieveItClient(config) as client:
            await hold.wait()
            return client._shared.session.http

    hold = asyncio.Event()
    users = [asyncio.create_task(use(hold)) for _ in range(5)]
    async with AsyncAchieveItClient(config) as client:
        hold.set()
        sessions = set(await asyncio.gather(*users))
        assert sessions == {client._shared.session.http}
        assert not client._shared.session.http.closed
    assert client._shared.session.http.closed
    async with AsyncAchieveItClient(config) as again:
        assert again._shared.session.http is not client._shared.session.http


async def test_a_cancelled_wait_leaves_nothing_open(simulator: RunningSimulator) -> None:
    simulator.faults.add("delay", seconds=30, times=None)

    async def wait() -> None:
        async with AsyncAchieveItClient(config_of(simulator)) as client:
            await client.wait_for_jobs(UpdateKind.PROGRESS, wait_for("j"))

    task = asyncio.create_task(wait())
    while not simulator.world.requests:  # noqa: ASYNC110 - the server knows no events
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # An unclosed session would warn when it is collected, and warnings are errors here.
    gc.collect()


async def test_netrc_does_not_replace_the_key(
    simulator: RunningSimulator, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w") as file:  # noqa: ASYNC230, PTH123
        file.write("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", netrc)
    job = submit(simulator)
    async with AsyncAchieveItClient(config_of(simulator)) as client:
        await client.job_status(UpdateKind.PROGRESS, job)


async def test_no_proxy_to_this_machine(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    job = submit(simulator)
    async with AsyncAchieveItClient(config_of(simulator)) as client:
        outcome = await client.wait_for_jobs(UpdateKind.PROGRESS, wait_for(job))
    assert outcome.results[job].end is JobEnd.APPLIED


async def test_a_server_that_hangs_does_not_outlive_the_deadline(simulator: RunningSimulator) -> None:
    simulator.faults.add("delay", seconds=30, times=None)
    began = time.time()
    async with AsyncAchieveItClient(config_of(simulator)) as client:
        outcome = await client.wait_for_jobs(UpdateKind.PROGRESS, wait_for("j", seconds=0.5))
    assert time.time() - began < 10
    assert outcome.results["j"].end is JobEnd.TIMEOUT


@pytest.mark.parametrize("location", [r"http://127.0.0.1:9\@{host}/x", "http://u:p@{host}/x", "http://[bad"])
async def test_an_odd_redirect_is_an_error_not_a_crash(simulator: RunningSimulator, location: str) -> None:
    simulator.faults.add("redirect", location=location.format(host=simulator.url.partition("://")[2]), times=None)
    async with AsyncAchieveItClient(config_of(simulator)) as client:
        outcome = await client.wait_for_jobs(UpdateKind.PROGRESS, wait_for("j", seconds=1))
    assert outcome.failure is not None or outcome.results["j"].end is JobEnd.TIMEOUT


async def test_the_key_is_cut_out_of_what_the_server_repeats(simulator: RunningSimulator) -> None:
    simulator.faults.add("status", status=403, body=f"not you, {simulator.api_key}", times=None)
    async with AsyncAchieveItClient(config_of(simulator)) as client:
        outcome = await client.wait_for_jobs(UpdateKind.PROGRESS, wait_for("j"))
    assert outcome.failure is not None
    assert "not you, ***" in outcome.failure.message


PAGE = {"skip": 0, "take": 1, "sort_key": "lastUpdated", "descending": True}


async def test_a_page_is_what_the_synchronous_carrier_reads(tls_simulator: RunningSimulator) -> None:
    config = config_of(tls_simulator)
    async with AsyncAchieveItClient(config) as client:
        page = await client.plan_page(DEMO_PLAN_ID, **PAGE)  # type: ignore[arg-type]
    with AchieveItClient(config) as synchronous:
        assert page == synchronous.fetch_plan_page(DEMO_PLAN_ID, **PAGE)  # type: ignore[arg-type]
    assert len(page.items) == 1


async def test_older_tenants_have_pages_at_another_address(simulator: RunningSimulator) -> None:
    simulator.world.settings.export_addresses = ("legacy",)
    async with AsyncAchieveItClient(config_of(simulator)) as client:
        page = await client.plan_page(DEMO_PLAN_ID, **PAGE)  # type: ignore[arg-type]
        assert page.total_count == len(simulator.world.plans[DEMO_PLAN_ID].items)
        with pytest.raises(ApiError, match="may not see plan nowhere"):
            await client.plan_page("nowhere", **PAGE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"kind": "delay", "seconds": 30}, "cannot be reached"),
        ({"kind": "slow", "seconds": 0.2}, "cannot be reached"),
        ({"kind": "truncate"}, "cannot be reached"),
        ({"kind": "status", "status": 200, "body": "x" * (17 * 1024 * 1024)}, "cannot be read"),
    ],
)
async def test_a_page_takes_no_more_time_or_memory_than_it_may(
    simulator: RunningSimulator, fault: dict[str, object], told: str
) -> None:
    simulator.faults.add(**fault)  # type: ignore[arg-type]
    began = time.monotonic()
    async with AsyncAchieveItClient(config_of(simulator, timeout=0.2)) as client:
        with pytest.raises(ApiError, match=told) as caught:
            await client.plan_page(DEMO_PLAN_ID, **PAGE)  # type: ignore[arg-type]
    assert time.monotonic() - began < 10
    assert caught.value.failure.retryable


async def test_the_wait_for_a_connection_is_no_wait_for_achieveit(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waits that begin after their deadlines look once, however many others are in front of them."""
    monkeypatch.setattr(session, "_MAX_SOCKETS", 2)
    simulator.faults.add("delay", seconds=0.25, times=None)
    jobs = [submit(simulator) for _ in range(16)]
    async with AsyncAchieveItClient(config_of(simulator)) as client:
        waits = [client.wait_for_jobs(UpdateKind.PROGRESS, wait_for(job, seconds=-1)) for job in jobs]
        outcomes = await asyncio.gather(*waits)
    ends = [result.end for outcome in outcomes for result in outcome.results.values()]
    assert ends == [JobEnd.APPLIED] * 16


async def test_connections_go_to_those_who_came_first(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_MAX_SOCKETS", 2)
    simulator.world.settings.job_seconds = 60
    simulator.faults.add("delay", seconds=0.02, times=None)
    jobs = [submit(simulator) for _ in range(12)]
    async with AsyncAchieveItClient(config_of(simulator)) as client:
        waits = [client.wait_for_jobs(UpdateKind.PROGRESS, wait_for(job, seconds=2)) for job in jobs]
        await asyncio.gather(*waits)
    asked = Counter(request.path for request in simulator.world.requests if request.method == "GET")
    assert len(asked) == 12
    assert min(asked.values()) > 1
    assert max(asked.values()) - min(asked.values()) <= 2


async def test_who_gets_no_connection_at_all_is_told_so(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_MAX_SOCKETS", 1)
    monkeypatch.setattr(session, "_LONGEST_QUEUE", 0.1)
    simulator.faults.add("delay", seconds=30, times=None)
    async with AsyncAchieveItClient(config_of(simulator)) as client:
        first = asyncio.create_task(client.job_status(UpdateKind.PROGRESS, "slow"))
        while not simulator.world.requests:  # noqa: ASYNC110 - the server knows no events
            await asyncio.sleep(0.01)
        outcome = await client.wait_for_jobs(UpdateKind.PROGRESS, wait_for("j", seconds=0.5))
        first.cancel()
    assert outcome.results["j"].end is JobEnd.TIMEOUT
    assert "all 1 connections of this triggerer to AchieveIt were busy" in outcome.results["j"].reason
    assert len(simulator.world.requests) == 1
