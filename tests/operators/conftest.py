"""A running server for exports, whose errors are told at once."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from airflow_provider_achieveit.simulator.server import RunningSimulator, running
from airflow_provider_achieveit.simulator.world import World


@pytest.fixture(scope="module")
def server() -> Iterator[RunningSimulator]:
    with running(world=World()) as it:
        yield it


@pytest.fixture
def plan_server(server: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> RunningSimulator:
    """The server without plans, faults or earlier requests, as the connection ``achieveit_default`` without repeats."""
    connection = json.loads(server.connection())
    connection["extra"] |= {"max_retries": 0}
    monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connection))
    server.faults.clear()
    server.world.requests.clear()
    server.world.plans.clear()
    return server
