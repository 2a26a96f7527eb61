"""What happens below HTTP, over real sockets: slow bytes, timeouts, proxies, trust. Both carriers where both can."""

from __future__ import annotations

import asyncio
import base64
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from airflow_provider_achieveit.api.aio import AsyncAchieveItClient
from airflow_provider_achieveit.api.client import AchieveItClient
from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.api.contract import JobState, JobStatus, UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind
from airflow_provider_achieveit.api.jobs import JobEnd, JobWait
from airflow_provider_achieveit.api.wire import Adapter
from airflow_provider_achieveit.exceptions import AchieveItRequestError
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.simulator.server import RunningSimulator, running
from tests.sockets import drip, misbehaving

KEY = "canary-key-1234567890"
BODY = b"External ID,Status,Metric Value,As Of Date\npat-nps,On Track,41,2026-01-05"
JOB = "2bf2dda7-2aa4-4345-b6a8-8070d6ceec39"


def config(url: str, **options: Any) -> ClientConfig:
    return ClientConfig(url, KEY, **{"allow_http": True, "max_retries": 0, **options})


def submit(config: ClientConfig) -> str:
    with AchieveItClient(config) as client:
        return client.submit(UpdateKind.PROGRESS, "a.csv", BODY)


def status(config: ClientConfig, patience: float | None = None) -> JobStatus:
    with AchieveItClient(config) as client:
        return client.job_status(UpdateKind.PROGRESS, JOB, patience)


def status_async(config: ClientConfig, patience: float | None = None) -> JobStatus:
    async def ask() -> JobStatus:
        async with AsyncAchieveItClient(config) as client:
            return await client.job_status(UpdateKind.PROGRESS, JOB, patience)

    return asyncio.run(ask())


every_call = pytest.mark.parametrize("call", [submit, status, status_async])
both_carriers = pytest.mark.parametrize("ask", [status, status_async])


def failing(call: Callable[..., object], *arguments: Any) -> Failure:
    with pytest.raises(ApiError) as caught:
        call(*arguments)
    assert KEY not in str(caught.value)
    return caught.value.failure


def answer(body: bytes, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + head + b"Connection: close\r\n\r\n" + body


class TestSlowBytes:
    """A timeout of silence alone would let an answer drip for hours."""

    DRIPPED = [answer(b"x" * 500, b"Content-Length: 500\r\n"), b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 500]

    @both_carriers
    @pytest.mark.parametrize("told", DRIPPED, ids=["body", "header"])
    def test_a_look_at_a_job_ends_when_it_has_to(self, ask: Callable[..., JobStatus], told: bytes) -> None:
        def serve(connection: socket.socket) -> None:
            connection.recv(65536)
            drip(connection, told)

        with misbehaving(serve) as (port, _):
            began = time.monotonic()
            failure = failing(ask, config(f"http://127.0.0.1:{port}", timeout=30), 0.5)
            assert time.monotonic() - began < 5
        assert (failure.kind, failure.retryable) == (FailureKind.UNAVAILABLE, True)

    @pytest.mark.parametrize("told", DRIPPED, ids=["body", "header"])
    def test_a_post_ends_and_is_unsure(self, told: bytes) -> None:
        def serve(connection: socket.socket) -> None:
            connection.recv(65536)
            # Far below the timeout: on a busy machine a byte may be late.
            drip(connection, told, every=0.02)

        with misbehaving(serve) as (port, seen):
            began = time.monotonic()
            failure = failing(submit, config(f"http://127.0.0.1:{port}", timeout=0.3, max_retries=3))
            assert time.monotonic() - began < 10
        assert failure.kind is FailureKind.UNSURE
        assert "too slowly" in failure.message
        assert seen["connections"] == 1

    def test_an_answer_that_is_cut_is_not_taken_for_a_whole_one(self) -> None:
        """Without a length the end of the connection is the end of the answer, also when we end it."""

        def serve(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(answer(b""))
            drip(connection, JOB.encode())

        with misbehaving(serve) as (port, _):
            failure = failing(submit, config(f"http://127.0.0.1:{port}", timeout=0.2))
        assert failure.kind is FailureKind.UNSURE

    def test_over_tls_and_on_a_connection_that_was_kept(self, tmp_path: Path) -> None:
        tls, ca = served_by_trustme(tmp_path)

        def serve(connection: socket.socket) -> None:
            with tls.wrap_socket(connection, server_side=True) as secured:
                secured.recv(65536)
                secured.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
                secured.recv(65536)
                drip(secured, self.DRIPPED[0])

        with (
            misbehaving(serve) as (port, seen),
            AchieveItClient(config(f"https://127.0.0.1:{port}", verify=str(ca))) as client,
        ):
            assert client.job_status(UpdateKind.PROGRESS, JOB).state is JobState.PENDING
            began = time.monotonic()
            assert failing(client.job_status, UpdateKind.PROGRESS, JOB, 0.5).retryable
            assert time.monotonic() - began < 5
        assert seen["connections"] == 1

    def test_a_wait_does_not_outlive_its_deadline(self) -> None:
        def serve(connection: socket.socket) -> None:
            connection.recv(65536)
            drip(connection, self.DRIPPED[0])

        with misbehaving(serve) as (port, _), AchieveItClient(config(f"http://127.0.0.1:{port}")) as client:
            now = time.time()
            wait = JobWait(["a", "b", "c"], poll_interval=0.1, deadline=now + 1, now=now)
            outcome = client.wait_for_jobs(UpdateKind.PROGRESS, wait)
            assert time.time() - now < 5
        assert {result.end for result in outcome.results.values()} == {JobEnd.TIMEOUT}

    @both_carriers
    def test_an_endless_reason_is_cut_and_the_code_counts(self, ask: Callable[..., JobStatus]) -> None:
        def serve(connection: socket.socket) -> None:
            connection.recv(65536)
            try:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                while True:
                    connection.sendall(b"no " * 20_000)
            except OSError:
                return

        with misbehaving(serve) as (port, _):
            told = ask(config(f"http://127.0.0.1:{port}"), 20)
        assert told.state is JobState.REFUSED
        assert len(told.reason) < 1000


class TestBrokenAnswers:
    CHUNKED = answer(b'26\r\n"2bf2dda7-2aa4', b"Transfer-Encoding: chunked\r\n")
    NO_LENGTH = answer(b'"2bf2dda7-2aa4-43')

    @pytest.mark.parametrize("told", [CHUNKED, NO_LENGTH, b"", b"HTTP/1.1 200", b"\x00\xff", answer(b"")])
    def test_on_a_post_they_are_unsure(self, told: bytes) -> None:
        def serve(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(told)

        with misbehaving(serve) as (port, seen):
            failure = failing(submit, config(f"http://127.0.0.1:{port}", max_retries=3))
        assert (failure.kind, failure.retryable) == (FailureKind.UNSURE, False)
        assert seen["connections"] == 1

    @pytest.mark.parametrize("told", [CHUNKED, NO_LENGTH, b"", b"HTTP/1.1 200", b"\x00\xff", answer(b"")])
    def test_on_a_page_they_are_worth_a_repeat(self, told: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tenacity.nap.time", type("Time", (), {"sleep": staticmethod(lambda seconds: None)}))

        def serve(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(told)

        with (
            misbehaving(serve) as (port, seen),
            AchieveItClient(config(f"http://127.0.0.1:{port}", max_retries=2)) as client,
        ):
            failure = failing(lambda: client.fetch_plan_page("p", skip=0, take=1, sort_key="name"))
        assert (failure.kind, failure.retryable) == (FailureKind.UNAVAILABLE, True)
        assert seen["connections"] == 3


def test_every_post_has_a_connection_of_its_own() -> None:
    """On one kept alive that the server has just closed, a batch that never arrived would count as unsure."""

    def serve(connection: socket.socket) -> None:
        request = b""
        while not request.endswith(BODY):
            request += connection.recv(65536)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(JOB)}\r\n\r\n{JOB}".encode())
        again.append(connection.recv(1))

    again: list[bytes] = []

    with misbehaving(serve) as (port, seen), AchieveItClient(config(f"http://127.0.0.1:{port}")) as client:
        for _ in range(3):
            assert client.submit(UpdateKind.PROGRESS, "a.csv", BODY) == JOB
    assert seen["connections"] == 3
    assert again == [b""] * 3, "each was closed by the client"


class TestConnecting:
    @every_call
    def test_a_connection_that_is_not_answered_has_a_timeout_of_its_own(self, call: Callable[..., object]) -> None:
        with unanswered() as port:
            began = time.monotonic()
            failure = failing(call, config(f"http://127.0.0.1:{port}", timeout=60, connect_timeout=0.3))
            assert time.monotonic() - began < 10
        assert (failure.kind, failure.retryable) == (FailureKind.UNAVAILABLE, True)

    @every_call
    def test_a_tls_handshake_that_hangs_is_part_of_connecting(self, call: Callable[..., object]) -> None:
        over = threading.Event()
        with misbehaving(lambda connection: over.wait(60)) as (port, _):
            began = time.monotonic()
            failure = failing(call, config(f"https://127.0.0.1:{port}", timeout=60, connect_timeout=0.3))
            over.set()
        assert time.monotonic() - began < 30
        assert (failure.kind, failure.retryable) == (FailureKind.UNAVAILABLE, True)

    @every_call
    def test_the_timeout_of_answers_is_another(self, call: Callable[..., object]) -> None:
        over = threading.Event()
        with misbehaving(lambda connection: over.wait(60)) as (port, _):
            began = time.monotonic()
            failure = failing(call, config(f"http://127.0.0.1:{port}", timeout=0.3, connect_timeout=60))
            over.set()
        assert time.monotonic() - began < 30
        assert failure.kind is (FailureKind.UNSURE if call is submit else FailureKind.UNAVAILABLE)

    def test_a_name_that_is_not_known_is_repeated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def unknown(host: str, *_: Any, **__: Any) -> None:
            asked.append(host)
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr("tenacity.nap.time", type("Time", (), {"sleep": staticmethod(lambda seconds: None)}))
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        failure = failing(submit, config("https://achieveit.invalid", max_retries=2))
        assert (failure.kind, failure.retryable) == (FailureKind.UNAVAILABLE, True)
        assert asked == ["achieveit.invalid"] * 3


class TestTrust:
    @every_call
    @pytest.mark.parametrize("bundle", ["missing", "no certificate", "empty"])
    def test_a_ca_bundle_of_the_environment_that_cannot_be_used_is_told(
        self,
        call: Callable[..., object],
        bundle: str,
        tls_simulator: RunningSimulator,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        path = tmp_path / "ca.pem"
        if bundle != "missing":
            path.write_text("certificates, they said" if bundle == "no certificate" else "")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
        failure = failing(call, config(tls_simulator.url, max_retries=5))
        assert (failure.kind, failure.retryable) == (FailureKind.REQUEST, False)
        assert "REQUESTS_CA_BUNDLE" in failure.message

    def test_as_a_typed_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(
            "AIRFLOW_CONN_ACHIEVEIT_DEFAULT",
            '{"conn_type": "achieveit", "host": "https://127.0.0.1:9", "password": "key-of-a-test"}',
        )
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/does/not/exist.pem")
        with pytest.raises(AchieveItRequestError, match=r"/does/not/exist\.pem.*REQUESTS_CA_BUNDLE"):
            AchieveItHook().submit_updates(kind="progress", filename="a.csv", body=BODY)

    @every_call
    def test_a_directory_of_cas_is_fine(
        self,
        call: Callable[..., object],
        tls_simulator: RunningSimulator,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        tls_simulator.world.users[KEY] = tls_simulator.world.users.pop(tls_simulator.api_key)
        assert tls_simulator.ca_file
        name = subject_hash(tls_simulator.ca_file)
        (tmp_path / f"{name}.0").write_bytes(tls_simulator.ca_file.read_bytes())
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
        call(config(tls_simulator.url))

    def test_tls_below_1_2_is_refused_on_every_way(self) -> None:
        adapter = Adapter()
        for manager in (adapter.poolmanager, adapter.proxy_manager_for("http://proxy.example:3128")):
            assert manager.connection_pool_kw["ssl_minimum_version"] is ssl.TLSVersion.TLSv1_2

    async def test_tls_below_1_2_is_refused_in_the_triggerer(self) -> None:
        async with AsyncAchieveItClient(config("https://127.0.0.1:9")) as client:
            assert client._shared.session.tls.minimum_version is ssl.TLSVersion.TLSv1_2


class TestProxies:
    """Through a real one that asks for a password; what it may see is the name of the host, and nothing else."""

    HOST = "achieveit.test"

    @pytest.fixture
    def simulator(self) -> Iterator[RunningSimulator]:
        with running(tls=True, tls_names=[self.HOST]) as simulator:
            simulator.world.users[KEY] = simulator.world.users.pop(simulator.api_key)
            yield simulator

    @every_call
    @pytest.mark.parametrize("variable", ["https_proxy", "all_proxy"])
    def test_of_the_environment_are_used_and_see_no_key(
        self,
        call: Callable[..., object],
        variable: str,
        simulator: RunningSimulator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        port = int(simulator.url.rpartition(":")[2])
        with proxy_to(port) as (proxy_port, heard):
            monkeypatch.setenv(variable, f"http://user:pass@127.0.0.1:{proxy_port}")
            call(config(f"https://{self.HOST}:{port}", verify=str(simulator.ca_file)))
        [request] = heard
        assert request.startswith(f"CONNECT {self.HOST}:{port} ".encode())
        assert base64.b64encode(b"user:pass") in request
        assert KEY.encode() not in request
        assert b"API-KEY" not in request
        assert len(simulator.world.requests) == 1

    @every_call
    def test_no_proxy_holds(self, call: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
        with proxy_to(9) as (proxy_port, heard):
            monkeypatch.setenv("https_proxy", f"http://user:pass@127.0.0.1:{proxy_port}")
            monkeypatch.setenv("no_proxy", "other.example,achieveit.invalid")
            failing(call, config("https://achieveit.invalid"))
        assert heard == []

    def test_a_proxy_that_refuses_has_not_let_the_batch_through(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def serve(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

        with misbehaving(serve) as (port, _):
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
            failure = failing(submit, config(f"https://{self.HOST}"))
        assert (failure.kind, failure.retryable) == (FailureKind.UNAVAILABLE, True)


@contextmanager
def unanswered() -> Iterator[int]:
    """A port whose queue of connections is full, so that nothing answers the next one."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = []
        for _ in range(4):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(server.getsockname())
        time.sleep(0.05)
        yield server.getsockname()[1]
        for connection in waiting:
            connection.close()


@contextmanager
def proxy_to(port: int) -> Iterator[tuple[int, list[bytes]]]:
    """A proxy that leads every CONNECT to a port of this machine; gives what it was asked."""
    heard: list[bytes] = []

    def serve(client: socket.socket) -> None:
        heard.append(client.recv(65536))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port)) as server:
            while True:
                for ready in select.select([client, server], [], [], 10)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    (server if ready is client else client).sendall(data)

    with misbehaving(serve) as (proxy_port, _):
        yield proxy_port, heard


def served_by_trustme(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS context, and the CA file to verify it by."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    return context, directory / "ca.pem"


def subject_hash(certificate: Path) -> str:
    """Return the name under which OpenSSL looks for a CA in a directory."""
    import hashlib

    from cryptography import x509

    subject = x509.load_pem_x509_certificate(certificate.read_bytes()).subject
    # The canonical form: sets of names, strings in UTF-8, lower case, blanks folded.
    encoded = b""
    for attribute in subject:
        name = x509.Name([attribute]).public_bytes()[2:]
        encoded += name.replace(attribute.value.encode(), attribute.value.lower().encode())
    return hashlib.sha1(encoded, usedforsecurity=False).digest()[:4][::-1].hex()
