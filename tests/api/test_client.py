"""The synchronous carrier: against the simulator, against sockets that misbehave, and with answers no server gives."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests_mock as requests_mock_module

from airflow_provider_achieveit.api.client import AchieveItClient
from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.api.contract import JobState, UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind
from airflow_provider_achieveit.api.http import LONGEST_PAUSE
from airflow_provider_achieveit.api.jobs import JobWait
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.sockets import misbehaving

KEY = "canary-key-1234567890"
BODY = b"External ID,Status,Metric Value,As Of Date\npat-nps,On Track,41,2026-01-05"


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses before repeats, which are not made; all other code sleeps as it wants."""
    made: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=made.append))
    return made


def client_for(url: str, **options: object) -> AchieveItClient:
    return AchieveItClient(ClientConfig(url, KEY, allow_http=True, **options))  # type: ignore[arg-type]


@pytest.fixture
def client(simulator: RunningSimulator) -> Iterator[AchieveItClient]:
    with AchieveItClient(ClientConfig(simulator.url, simulator.api_key, allow_http=True)) as client:
        yield client


def failing(call: Callable[[], object]) -> Failure:
    with pytest.raises(ApiError) as caught:
        call()
    assert KEY not in str(caught.value)
    return caught.value.failure


def posts(simulator: RunningSimulator) -> int:
    return len([request for request in simulator.world.requests if request.method == "POST"])


class TestSubmit:
    def submit(self, client: AchieveItClient) -> str:
        return client.submit(UpdateKind.PROGRESS, "a.csv", BODY)

    def test_arrives_to_the_last_byte(self, client: AchieveItClient, simulator: RunningSimulator) -> None:
        job_id = self.submit(client)
        [batch] = simulator.world.batches
        assert (batch.job_id, batch.body, batch.filename) == (job_id, BODY, "a.csv")

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_is_repeated_where_the_server_did_not_take_it(
        self, client: AchieveItClient, simulator: RunningSimulator, status: int
    ) -> None:
        simulator.faults.add("status", method="POST", status=status, times=2)
        self.submit(client)
        assert posts(simulator) == 3
        assert len(simulator.world.batches) == 1

    def test_gives_up_after_max_retries(self, simulator: RunningSimulator) -> None:
        simulator.faults.add("status", method="POST", status=503, times=None)
        with AchieveItClient(ClientConfig(simulator.url, "k", allow_http=True, max_retries=2)) as client:
            failure = failing(lambda: self.submit(client))
        assert (failure.kind, failure.status) == (FailureKind.UNAVAILABLE, 503)
        assert posts(simulator) == 3

    @pytest.mark.parametrize(
        ("asked", "least"),
        [("7", 7), (formatdate(time.time() + 3600, usegmt=True), LONGEST_PAUSE), ("86400", LONGEST_PAUSE)],
        ids=["seconds", "a date", "a day"],
    )
    def test_waits_as_long_as_it_is_asked_to_and_a_little_more(
        self, client: AchieveItClient, simulator: RunningSimulator, pauses: list[float], asked: str, least: float
    ) -> None:
        simulator.faults.add("status", method="POST", status=429, headers={"Retry-After": asked}, times=3)
        self.submit(client)
        assert all(least <= pause <= least + 1 for pause in pauses)
        assert len(set(pauses)) == 3, "jitter: those who were asked together do not come back together"

    def test_waits_longer_and_longer_where_nothing_is_asked(
        self, simulator: RunningSimulator, pauses: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tenacity.wait.random.uniform", lambda least, most: most)
        simulator.faults.add("status", method="POST", status=503, times=None)
        with AchieveItClient(ClientConfig(simulator.url, "k", allow_http=True, max_retries=9)) as client:
            failing(lambda: self.submit(client))
        assert pauses == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]

    @pytest.mark.parametrize("fault", ["reset", "truncate"])
    def test_a_lost_answer_is_unsure_and_never_repeated(
        self, client: AchieveItClient, simulator: RunningSimulator, fault: str
    ) -> None:
        simulator.faults.add(fault, method="POST", after=True, times=None)
        failure = failing(lambda: self.submit(client))
        assert (failure.kind, failure.retryable) == (FailureKind.UNSURE, False)
        assert posts(simulator) == 1
        assert len(simulator.world.batches) == 1

    def test_a_late_answer_is_unsure(self, simulator: RunningSimulator) -> None:
        simulator.faults.add("delay", method="POST", seconds=5)
        with AchieveItClient(ClientConfig(simulator.url, simulator.api_key, allow_http=True, timeout=0.2)) as client:
            assert failing(lambda: self.submit(client)).kind is FailureKind.UNSURE
        assert posts(simulator) == 1

    @pytest.mark.parametrize("status", [502, 504])
    def test_an_answer_from_in_between_is_unsure(
        self, client: AchieveItClient, simulator: RunningSimulator, status: int
    ) -> None:
        simulator.faults.add("status", method="POST", status=status)
        assert failing(lambda: self.submit(client)).kind is FailureKind.UNSURE
        assert posts(simulator) == 1

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_an_error(self, client: AchieveItClient, simulator: RunningSimulator, status: int) -> None:
        simulator.faults.add("redirect", method="POST", status=status, location="/api/progressupdates/b.csv")
        failure = failing(lambda: self.submit(client))
        assert failure.kind is FailureKind.REQUEST
        assert "/api/progressupdates/b.csv" in failure.message
        assert len(simulator.world.requests) == 1

    def test_nobody_listens_is_repeated(self) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        failure = failing(lambda: self.submit(client_for(url, max_retries=2)))
        assert (failure.kind, failure.retryable) == (FailureKind.UNAVAILABLE, True)

    def test_a_connection_cut_before_the_body_is_not_unsure(self) -> None:
        """The server accepts TCP and goes away within the TLS handshake: not one byte of the batch went out."""
        with misbehaving(lambda connection: connection.close()) as (port, seen):
            failure = failing(lambda: self.submit(client_for(f"https://127.0.0.1:{port}", max_retries=1)))
        assert failure.kind is FailureKind.UNAVAILABLE
        assert seen["connections"] == 2

    def test_a_connection_cut_within_the_body_is_unsure(self) -> None:
        def read_some(connection: socket.socket) -> None:
            connection.recv(1000)
            connection.close()

        with misbehaving(read_some) as (port, seen):
            client = client_for(f"http://127.0.0.1:{port}")
            failure = failing(lambda: client.submit(UpdateKind.METRIC, "a.csv", b"x" * 50_000_000))
        assert failure.kind is FailureKind.UNSURE
        assert seen["connections"] == 1

    def test_401(self, simulator: RunningSimulator) -> None:
        failure = failing(lambda: self.submit(client_for(simulator.url)))
        assert (failure.kind, failure.retryable) == (FailureKind.AUTH, False)
        assert posts(simulator) == 1


class TestTls:
    def test_the_ca_file_is_used(self, tls_simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
        # requests prefers this variable over a session's own setting.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/does/not/exist")
        config = ClientConfig(tls_simulator.url, tls_simulator.api_key, verify=str(tls_simulator.ca_file))
        with AchieveItClient(config) as client:
            assert client.submit(UpdateKind.PROGRESS, "a.csv", BODY)

    def test_an_unknown_ca_is_refused_at_once(self, tls_simulator: RunningSimulator) -> None:
        with AchieveItClient(ClientConfig(tls_simulator.url, KEY)) as client:
            failure = failing(lambda: client.submit(UpdateKind.PROGRESS, "a.csv", BODY))
        assert (failure.kind, failure.retryable) == (FailureKind.REQUEST, False)
        assert "verify" in failure.message
        assert not tls_simulator.world.requests


class TestJobStatus:
    def test_pending_then_applied(self, client: AchieveItClient, simulator: RunningSimulator) -> None:
        simulator.world.settings.job_seconds = 0.3
        job_id = client.submit(UpdateKind.PROGRESS, "a.csv", BODY)
        assert client.job_status(UpdateKind.PROGRESS, job_id).state is JobState.PENDING
        while (status := client.job_status(UpdateKind.PROGRESS, job_id)).state is JobState.PENDING:
            pass
        assert status.state is JobState.APPLIED

    def test_is_asked_once(self, client: AchieveItClient, simulator: RunningSimulator) -> None:
        simulator.faults.add("status", status=503, headers={"Retry-After": "9"}, times=None)
        failure = failing(lambda: client.job_status(UpdateKind.PROGRESS, "j"))
        assert (failure.retryable, failure.retry_after) == (True, 9)
        assert len(simulator.world.requests) == 1

    def test_a_redirect_on_the_same_host_is_followed(
        self, client: AchieveItClient, simulator: RunningSimulator
    ) -> None:
        job_id = client.submit(UpdateKind.PROGRESS, "a.csv", BODY)
        path = f"/api/progressupdates/status/{job_id}"
        simulator.faults.add("redirect", method="GET", location=f"{path}?again=1", path=f"{path}$")
        assert client.job_status(UpdateKind.PROGRESS, job_id).state in (JobState.APPLIED, JobState.PENDING)

    def test_the_key_is_not_carried_to_another_host(self, client: AchieveItClient, simulator: RunningSimulator) -> None:
        with misbehaving(lambda connection: connection.close()) as (port, seen):
            simulator.faults.add("redirect", location=f"http://127.0.0.1:{port}/status")
            failure = failing(lambda: client.job_status(UpdateKind.PROGRESS, "j"))
        assert failure.kind is FailureKind.REQUEST
        assert seen["connections"] == 0

    def test_a_circle_of_redirects_ends(self, client: AchieveItClient, simulator: RunningSimulator) -> None:
        simulator.faults.add("redirect", location="/api/progressupdates/status/j", times=None)
        assert failing(lambda: client.job_status(UpdateKind.PROGRESS, "j")).kind is FailureKind.REQUEST
        assert len(simulator.world.requests) == 4


class TestPlanPage:
    def fetch(self, client: AchieveItClient, plan_id: str) -> int:
        return client.fetch_plan_page(plan_id, skip=0, take=5, sort_key="sequenceId").total_count

    def test_reads(self, client: AchieveItClient, simulator: RunningSimulator) -> None:
        [plan] = simulator.world.plans.values()
        assert self.fetch(client, plan.id) == len(plan.items)

    @pytest.mark.parametrize("fault", ["reset", "truncate"])
    def test_is_repeated_after_a_passing_fault(
        self, client: AchieveItClient, simulator: RunningSimulator, fault: str
    ) -> None:
        simulator.faults.add(fault, times=2)
        self.fetch(client, next(iter(simulator.world.plans)))
        assert len(simulator.world.requests) == 3

    def test_older_tenants(self, client: AchieveItClient, simulator: RunningSimulator) -> None:
        simulator.world.settings.export_addresses = ("legacy",)
        assert self.fetch(client, next(iter(simulator.world.plans))) > 0

    def test_unknown_plan_404(self, client: AchieveItClient, simulator: RunningSimulator) -> None:
        simulator.world.settings.unknown_plan_status = 404
        failure = failing(lambda: self.fetch(client, "nope"))
        assert (failure.kind, failure.status) == (FailureKind.REQUEST, 404)

    def test_403(self, client: AchieveItClient) -> None:
        assert failing(lambda: self.fetch(client, "nope")).kind is FailureKind.FORBIDDEN

    def test_netrc_does_not_replace_the_key(
        self, client: AchieveItClient, simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login somebody password else\n")
        monkeypatch.setenv("NETRC", str(netrc))
        assert self.fetch(client, next(iter(simulator.world.plans))) > 0

    def test_an_endless_answer_is_cut(
        self, monkeypatch: pytest.MonkeyPatch, requests_mock: requests_mock_module.Mocker
    ) -> None:
        monkeypatch.setattr("airflow_provider_achieveit.api.client.MAX_RESPONSE_BYTES", 1000)
        requests_mock.get("https://h/exports/plans/p", content=b"x" * 5000)
        with AchieveItClient(ClientConfig("https://h", KEY, max_retries=0)) as client:
            assert "larger than 1000 bytes" in failing(lambda: self.fetch(client, "p")).message


class TestWhereTheKeyGoes:
    def test_not_through_a_proxy_to_this_machine(
        self, client: AchieveItClient, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("NO_PROXY", raising=False)
        with misbehaving(lambda connection: connection.close()) as (port, seen):
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
            client.submit(UpdateKind.PROGRESS, "a.csv", BODY)
            assert client.job_status(UpdateKind.PROGRESS, simulator.world.batches[0].job_id)
        assert seen["connections"] == 0

    @pytest.mark.parametrize("location", [r"http://127.0.0.1:{port}\@{host}/x", "http://127.0.0.1:{port}@{host}/x"])
    def test_not_to_a_host_hidden_in_a_redirect(
        self, client: AchieveItClient, simulator: RunningSimulator, location: str
    ) -> None:
        host = simulator.url.partition("://")[2]
        with misbehaving(lambda connection: connection.close()) as (port, seen):
            simulator.faults.add("redirect", location=location.format(port=port, host=host))
            assert failing(lambda: client.job_status(UpdateKind.PROGRESS, "j")).kind is FailureKind.REQUEST
        assert seen["connections"] == 0

    @pytest.mark.parametrize("status", [200, 400, 401, 404, 503])
    def test_not_into_a_message_when_the_server_repeats_it(self, simulator: RunningSimulator, status: int) -> None:
        simulator.faults.add("status", status=status, body=f"refused API-KEY {KEY} <>", times=None)
        with client_for(simulator.url, max_retries=0) as client:
            assert "API-KEY ***" in failing(lambda: client.submit(UpdateKind.PROGRESS, "a.csv", BODY)).message
            if status in (401, 503):
                assert "API-KEY ***" in failing(lambda: client.job_status(UpdateKind.PROGRESS, "j")).message


def test_many_jobs_do_not_stretch_the_deadline(simulator: RunningSimulator) -> None:
    simulator.faults.add("delay", seconds=0.2, times=None)
    with AchieveItClient(ClientConfig(simulator.url, simulator.api_key, allow_http=True)) as client:
        now = time.time()
        wait = JobWait(map(str, range(100)), poll_interval=0.1, deadline=now + 0.5, now=now)
        client.wait_for_jobs(UpdateKind.PROGRESS, wait)
    assert len(simulator.world.requests) < 10
