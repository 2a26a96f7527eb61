"""What the test of a connection says: what was proved, and what not."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
from airflow.models import Connection as StoredConnection
from airflow.providers.common.compat.sdk import BaseHook, Connection

from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.airflow_versions import AIRFLOW, needs_connection_tests_of_workers

CONN = "AIRFLOW_CONN_ACHIEVEIT_DEFAULT"
WEB_PAGE = {"status": 200, "body": "<!DOCTYPE html><title>Sign in</title>", "headers": {"content-type": "text/html"}}


def outcome(monkeypatch: pytest.MonkeyPatch, simulator: RunningSimulator, **changes: Any) -> tuple[bool, str]:
    connection = json.loads(simulator.connection())
    connection["extra"].update(changes.pop("extra", {}))
    monkeypatch.setenv(CONN, json.dumps({**connection, **changes}))
    worked, told = AchieveItHook().test_connection()
    assert "canary" not in told
    assert simulator.api_key not in told
    return worked, told


def test_reads_one_item_of_the_plan(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    [plan] = simulator.world.plans.values()
    assert outcome(monkeypatch, simulator) == (
        True,
        f"Reachable: yes. Key accepted: yes. Plan readable: yes, plan {plan.id} has {len(plan.items)} items.",
    )
    [request] = simulator.world.requests
    assert (request.method, "take=1" in request.query) == ("GET", True)


def test_without_a_plan_claims_no_more_than_it_knows(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked, told = outcome(monkeypatch, simulator, extra={"plan_id": ""})
    assert worked
    assert told == (
        "Reachable: yes. Key accepted: it was not refused, but only reading a plan proves more: set the extra field "
        "plan_id. Plan readable: not tested."
    )


@pytest.mark.parametrize("plan", [{}, {"plan_id": ""}], ids=["with a plan", "without"])
def test_a_wrong_key(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, plan: dict[str, str]) -> None:
    worked, told = outcome(monkeypatch, simulator, password="wrong-canary-key", extra=plan)
    assert not worked
    assert told.startswith("Reachable: yes. Key accepted: no. HTTP 401")
    assert told.endswith("check the password of the connection. Plan readable: not tested.")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (403, "HTTP 403: this key's user may not see plan p-9."),
        (404, "there is no plan p-9. Check the plan id"),
    ],
)
def test_a_plan_that_cannot_be_read_proves_nothing_about_the_key(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, status: int, told: str
) -> None:
    simulator.world.settings.unknown_plan_status = status
    worked, message = outcome(monkeypatch, simulator, extra={"plan_id": "p-9"})
    assert not worked
    assert message.startswith("Reachable: yes. Key accepted: not proved. Plan readable: no. ")
    assert told in message


@pytest.mark.parametrize("plan", [{}, {"plan_id": ""}], ids=["with a plan", "without"])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_fails_is_asked_once(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, plan: dict[str, str], status: int
) -> None:
    simulator.faults.add("status", status=status, body="try later", times=None)
    worked, told = outcome(monkeypatch, simulator, extra=plan)
    assert not worked
    assert told.startswith("Reachable: yes")
    assert "try later" in told
    assert "Key accepted: yes" not in told
    assert [request.method for request in simulator.world.requests] == ["GET"]


@pytest.mark.parametrize("plan", [{}, {"plan_id": ""}], ids=["with a plan", "without"])
@pytest.mark.parametrize(
    "fault", [WEB_PAGE, WEB_PAGE | {"status": 404}, {"status": 200, "body": "ok"}, {"status": 202, "body": ""}]
)
def test_what_is_not_achieveit_is_not_taken_for_it(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, plan: dict[str, str], fault: dict[str, Any]
) -> None:
    simulator.faults.add("status", times=None, **fault)
    worked, told = outcome(monkeypatch, simulator, extra=plan)
    assert not worked, told
    assert "Key accepted: yes" not in told


def test_what_cannot_be_reached_and_why(
    simulator: RunningSimulator, tls_simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent, socket.socket() as closed:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        closed.bind(("127.0.0.1", 0))
        ports = silent.getsockname()[1], closed.getsockname()[1]
        for changes, why in (
            ({"host": "https://no-such-host.invalid"}, "its name is not known here"),
            ({"host": f"http://127.0.0.1:{ports[1]}"}, "nothing listens there"),
            ({"host": f"http://127.0.0.1:{ports[0]}", "extra": {"timeout": 0.3}}, "it does not answer in time"),
            ({"host": simulator.url.replace("http:", "https:")}, "TLS cannot be agreed on"),
            ({"host": tls_simulator.url}, "is not trusted"),
        ):
            worked, told = outcome(monkeypatch, simulator, **changes)
            assert not worked
            assert told.startswith("Reachable: no. ")
            assert why in told


def test_the_proxy_is_named_where_it_is_the_cause(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    worked, told = outcome(monkeypatch, simulator, host="https://api.example.com")
    assert not worked
    assert "the proxy does not let us through" in told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"password": ""}, "no API key: put it into the password field"),
        ({"host": "http://api.achieveit.com"}, "plain http to api.achieveit.com is refused"),
        ({"extra": {"web_url": "https://app.example.com"}}, "the extra field web_url must be an address"),
        ({"extra": {"max_requests_per_minute": 0}}, "max_requests_per_minute must be from 1"),
        ({"extra": {"max_requests_per_minute": "2.5"}}, "max_requests_per_minute must be a whole number"),
        ({"extra": {"environment": "moon"}, "host": ""}, "use one of commercial, government"),
    ],
)
def test_settings_that_cannot_be_used(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], told: str
) -> None:
    worked, message = outcome(monkeypatch, simulator, **changes)
    assert not worked
    assert message.startswith("Nothing was tested: ")
    assert told in message
    assert simulator.world.requests == []


def test_no_such_connection() -> None:
    worked, told = AchieveItHook("missing").test_connection()
    assert not worked
    assert "There is no connection 'missing'" in told


def test_the_limit_of_requests_holds_here_too_but_not_for_long(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    limit = {"max_requests_per_minute": 1}
    assert outcome(monkeypatch, simulator, extra=limit)[0]
    worked, told = outcome(monkeypatch, simulator, extra=limit)
    assert not worked
    assert told.startswith("Nothing was tested: not asked: the connection's max_requests_per_minute (1) leaves no room")


# What Airflow does to a connection on its way to the hook.


def made(simulator: RunningSimulator, **shape: Any) -> Connection:
    given = json.loads(simulator.connection())
    return Connection(**{"conn_id": "tested", **given, "extra": json.dumps(given["extra"]), **shape})


@pytest.mark.parametrize(
    "shape", [{}, {"login": "", "schema": "", "port": 0}, {"port": 443}, {"conn_type": "ACHIEVEIT"}]
)
def test_as_the_api_server_hands_it_over(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, shape: dict[str, Any]
) -> None:
    """As a URI in the environment."""
    monkeypatch.setenv("AIRFLOW_CONN_TESTED", made(simulator, **shape).get_uri())
    stored = StoredConnection("tested", uri=os.environ["AIRFLOW_CONN_TESTED"])
    worked, told = (BaseHook.get_connection("tested") if AIRFLOW >= (3, 3) else stored).test_connection()
    assert worked, told


@needs_connection_tests_of_workers
@pytest.mark.parametrize("shape", [{}, {"login": "", "schema": "", "port": 0}])
def test_as_a_worker_has_it(simulator: RunningSimulator, shape: dict[str, Any]) -> None:
    """In its hands only: in no database and no variable."""
    worked, told = made(simulator, **shape).test_connection()
    assert worked, told


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "https://gov-api.achieveit.com"),
        ("https://H.example", "https://h.example"),
        ("https://h.example:8443/base", "https://h.example:8443/base"),
        ("h.example", "https://h.example"),
        ("http://localhost:8400", "http://localhost:8400"),
        ("https://[::1]:8443", "https://[::1]:8443"),
    ],
)
@pytest.mark.parametrize("key", ["0123456789abcdef", "a/b+c==", "per%cent:and@at"])
def test_a_uri_tells_the_same_settings(monkeypatch: pytest.MonkeyPatch, host: str, url: str, key: str) -> None:
    extra = {"environment": "government", "allow_http": True, "max_retries": 0, "max_requests_per_minute": 30}
    extra |= {"web_url": "https://app.example.com/p?id={plan_id}&x=1", "verify": "", "plan_id": None}
    connection = Connection(
        conn_id="c", conn_type="achieveit", host=host, password=key, port=0, extra=json.dumps(extra)
    )
    monkeypatch.setenv(CONN, connection.get_uri())
    with AchieveItHook().get_conn() as client:
        config = client.config
    assert (config.base_url.lower(), config.api_key) == (url, key)
    assert (config.allow_http, config.max_retries, config.max_requests_per_minute, config.verify) == (True, 0, 30, True)
    assert AchieveItHook().plan_url("42") == "https://app.example.com/p?id=42&x=1"
