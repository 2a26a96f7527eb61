"""A running simulator, and a client that knows nothing of the provider."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import requests

from airflow_provider_achieveit.simulator.server import RunningSimulator, running


class Client(requests.Session):
    """A plain HTTP client of one simulator."""

    def __init__(self, simulator: RunningSimulator) -> None:
        super().__init__()
        self.trust_env = False
        self.base = simulator.url
        self.headers["Authorization"] = f"API-KEY {simulator.api_key}"

    def request(self, method, url, *args, **kwargs):  # type: ignore[no-untyped-def, override]
        kwargs.setdefault("timeout", 30)
        kwargs.setdefault("allow_redirects", False)
        return super().request(method, self.base + url, *args, **kwargs)

    def submit(
        self, filename: str, body: bytes | str, *, kind: str = "progress", content_type: str | None = None
    ) -> str:
        """Submit a batch and return its job id."""
        data = body.encode() if isinstance(body, str) else body
        headers = {"Content-Type": content_type} if content_type else {}
        answer = self.post(f"/api/{kind}updates/{filename}", data=data, headers=headers)
        assert answer.status_code == 200, answer.text
        job_id = answer.json()
        assert isinstance(job_id, str)
        return job_id

    def outcome(self, job_id: str, kind: str = "progress") -> requests.Response:
        """Wait for a job's end and return the answer that tells it."""
        deadline = time.monotonic() + 30
        while True:
            answer = self.get(f"/api/{kind}updates/status/{job_id}")
            if answer.status_code != 202:
                return answer
            assert time.monotonic() < deadline, "the job does not end"
            time.sleep(0.005)


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running() as running_simulator:
        yield running_simulator


@pytest.fixture
def connect() -> Iterator[Callable[[RunningSimulator], Client]]:
    """Make clients that are closed at the end."""
    clients: list[Client] = []

    def make(simulator: RunningSimulator) -> Client:
        clients.append(Client(simulator))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(simulator: RunningSimulator, connect: Callable[[RunningSimulator], Client]) -> Client:
    return connect(simulator)
