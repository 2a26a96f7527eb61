"""The page as Airflow's api-server serves it: to whom, of which DAGs, and what it says where there is nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import ASGITransport, AsyncClient
from sqlalchemy.engine import make_url

from airflow_provider_achieveit.stores.records import BatchState
from tests import postgres
from tests.airflow_versions import AIRFLOW
from tests.history.writing import Written, reject

if AIRFLOW < (3, 1):
    pytest.skip("Airflow 3.1 brings a place in its menu for pages of plugins", allow_module_level=True)

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

DAG_IDS = ("sales_push", "finance_push")
TAG = "<script>alert('row')</script>"


class OwnDags(SimpleAuthManager):
    """Viewers may read the DAGs that begin with their name, and no others."""

    def filter_authorized_dag_ids(self, *, user, **options):  # type: ignore[no-untyped-def]
        permitted = super().filter_authorized_dag_ids(user=user, **options)
        return permitted if user.role == "ADMIN" else {name for name in permitted if name.startswith(user.username)}

    def is_authorized_dag(self, *, method, user, access_entity=None, details=None):  # type: ignore[no-untyped-def]
        """Nobody but administrators may read the logs of the DAGs of finance."""
        secret = access_entity is DagAccessEntity.TASK_LOGS and details.id.startswith("finance")
        may = super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)
        return may and (user.role == "ADMIN" or not secret)


@pytest.fixture(scope="module")
def airflow_app(airflow_db: None) -> Iterator[FastAPI]:
    """Airflow's own application, with this provider's plugin as Airflow finds it."""
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    with create_session() as session:
        if session.get(DagBundleModel, "history") is None:
            session.add(DagBundleModel(name="history"))
            session.flush()
        for dag_id in DAG_IDS:
            session.merge(DagModel(dag_id=dag_id, bundle_name="history", fileloc="/dags/push.py"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", f"{__name__}.OwnDags")
        purge_cached_app()
        yield create_app(apps="core")
        purge_cached_app()
    with create_session() as session:
        for dag_id in DAG_IDS:
            session.delete(session.get(DagModel, dag_id))


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    """A ledger, of which Airflow's configuration tells."""
    path = tmp_path / "ledger.db"
    connect(monkeypatch, conn_type="sqlite", host=str(path))
    return Written(f"sqlite:///{path}")


def connect(monkeypatch: pytest.MonkeyPatch, **connection: object) -> None:
    monkeypatch.setenv("AIRFLOW__ACHIEVEIT__LEDGER_CONN_ID", "ledger")
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(connection))


def client_of(app: FastAPI, username: str = "sales", role: str | None = "VIEWER") -> TestClient:
    """Return a browser, in which somebody has logged in."""
    from airflow.api_fastapi.app import get_auth_manager

    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=username, role=role))
    return TestClient(app, cookies={"_token": token}, follow_redirects=False)


def look(app: FastAPI, query: str = "", **user: str | None) -> tuple[int, str]:
    """Return the status of the page and what a person reads."""
    answer = client_of(app, **user).get(f"/achieveit/history{query}")
    text = re.sub(r"(?s)<(style|script)>.*?</\1>|<[^>]+>", " ", answer.text)
    return answer.status_code, " ".join(unescape(text).split())


def test_people_see_the_dags_that_they_may_read(airflow_app: FastAPI, ledger: Written) -> None:
    ledger.run("sales_push", [BatchState.APPLIED], reason="thanks", rejects=[reject("sales value")])
    ledger.run("finance_push", [BatchState.FAILED], reason="finance reason", rejects=[reject("finance value")])
    ledger.run("deleted_dag", [BatchState.FAILED], reason="deleted reason")
    status, text = look(airflow_app)
    assert status == 200
    assert "sales_push" in text
    assert "sales value" in text
    assert "finance" not in text
    for query in ("?dag_id=finance_push", "?dag_id=finance_push&days=0&run_id=run", "?state=failed"):
        assert "finance reason" not in look(airflow_app, query)[1]
    status, text = look(airflow_app, username="root", role="ADMIN")
    assert all(name in text for name in ("sales value", "finance value", "finance reason"))
    # Airflow does not know this DAG any more, so nobody has a right to read it.
    assert "deleted" not in text


def test_who_may_not_read_the_logs_of_a_dag_does_not_see_its_rows(airflow_app: FastAPI, ledger: Written) -> None:
    ledger.run("finance_push", [BatchState.FAILED], reason="finance reason", rejects=[reject("finance value")])
    status, text = look(airflow_app, username="finance")
    assert status == 200
    assert not any(secret in text for secret in ("finance_push", "finance reason", "finance value"))


def test_who_may_read_no_dag_is_told_so(airflow_app: FastAPI, ledger: Written) -> None:
    ledger.run("sales_push", [BatchState.APPLIED])
    for user in ({"username": "nobody"}, {"username": "sales", "role": None}):
        status, text = look(airflow_app, **user)
        assert (status, "No DAG to show" in text, "sales" in text) == (403, True, False)


def test_who_has_not_logged_in_is_sent_to_the_login_and_back(airflow_app: FastAPI, ledger: Written) -> None:
    ledger.run("sales_push", [BatchState.APPLIED])
    stranger = TestClient(airflow_app, follow_redirects=False)
    answer = stranger.get("/achieveit/history?dag_id=sales_push&days=7")
    assert answer.status_code == 307
    assert "sales_push" not in answer.text
    there = answer.headers["location"]
    assert there == "../api/v2/auth/login?next=%2Fachieveit%2Fhistory%3Fdag_id%3Dsales_push%26days%3D7"
    # And Airflow's login takes it from there; before 3.2 it does not quote it again.
    asked = there.partition("?")[2]
    location = stranger.get(there.removeprefix("..")).headers["location"]
    assert location.endswith(asked if AIRFLOW >= (3, 2) else unquote(asked))
    # Within Airflow's own page a login page would be lost.
    framed = stranger.get("/achieveit/history", headers={"Sec-Fetch-Dest": "iframe"})
    assert (framed.status_code, "Please log in" in framed.text) == (401, True)
    forged = TestClient(airflow_app, cookies={"_token": "forged"}).get("/achieveit/history")
    assert forged.status_code == 403


def test_nothing_can_be_sent_to_it(airflow_app: FastAPI, ledger: Written) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert client_of(airflow_app).request(method, "/achieveit/history").status_code == 405


def test_what_the_ledger_holds_is_text_on_the_page(airflow_app: FastAPI, ledger: Written) -> None:
    ledger.run(
        "sales_push", [BatchState.REFUSED], run_id=f"run{TAG}", filename=f"{TAG}.csv", reason=f"said {TAG}",
        rejects=[reject(TAG, f"not {TAG}")],
    )  # fmt: skip
    answer = client_of(airflow_app).get("/achieveit/history", params={"task_id": TAG, "run_id": "", "dag_id": TAG})
    whole = client_of(airflow_app).get("/achieveit/history")
    for page in (answer, whole):
        assert "alert(" in page.text
        assert TAG not in page.text
    policy = whole.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'self'" in policy
    assert "unsafe" not in policy
    assert whole.headers["cache-control"] == "no-store"


def test_without_a_ledger_it_says_what_to_set(airflow_app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW__ACHIEVEIT__LEDGER_CONN_ID", raising=False)
    status, text = look(airflow_app)
    assert status == 200
    assert "[achieveit] ledger_conn_id = warehouse" in text


def test_before_the_first_task_it_says_so_and_makes_no_file(
    airflow_app: FastAPI, ledger: Written, tmp_path: Path
) -> None:
    status, text = look(airflow_app)
    assert (status, "Nothing was sent yet" in text) == (200, True)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_fits_it_offers_more(airflow_app: FastAPI, ledger: Written) -> None:
    from datetime import timedelta

    ledger.run("sales_push", [BatchState.APPLIED], before=timedelta(days=50))
    status, text = look(airflow_app)
    assert status == 200
    assert "Nothing was planned or sent in the last 30 days." in text
    assert "Look at all time" in text
    assert "sales_push-" in look(airflow_app, "?days=0")[1]


def test_a_connection_that_is_none_or_no_database_is_told(
    airflow_app: FastAPI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__ACHIEVEIT__LEDGER_CONN_ID", "nowhere")
    status, text = look(airflow_app)
    assert (status, "'nowhere', which does not exist" in text) == (503, True)
    connect(monkeypatch, conn_type="fs", password="hunter-2-hunter")
    with caplog.at_level(logging.WARNING):
        status, text = look(airflow_app)
    assert (status, "which is no SQL database" in text) == (503, True)
    assert "hunter" not in text + caplog.text


def test_a_database_that_does_not_answer_is_given_up(
    airflow_app: FastAPI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow_provider_achieveit.stores import ledger as module

    limits = {driver: dict.fromkeys(options, 2) for driver, options in module._LIMITS.items()}
    monkeypatch.setattr(module, "_LIMITS", limits)
    secret = "s3cret-of-the-ledger"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        connect(monkeypatch, conn_type="postgres", host="127.0.0.1", port=port, login="somebody", password=secret)
        began = time.monotonic()
        with caplog.at_level(logging.WARNING):
            status, text = look(airflow_app)
        assert time.monotonic() - began < 5
    assert (status, "The ledger does not answer" in text) == (503, True)
    assert "Traceback" not in text
    assert secret not in text + caplog.text


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A ledger in PostgreSQL, whose table somebody holds."""
    from airflow_provider_achieveit.history import ledger as module

    monkeypatch.setattr(module, "SECONDS", 1)
    url = make_url(postgres.POSTGRES_URL)
    with postgres.connect_or_skip() as somebody, somebody.cursor() as cursor:
        address = url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
        written = Written(address, f"locked_{os.getpid()}")
        written.run("sales_push", [BatchState.APPLIED])
        login = {"login": url.username, "password": url.password or "", "schema": url.database}
        connect(monkeypatch, conn_type="postgres", host=url.host, port=url.port, **login)
        monkeypatch.setenv("AIRFLOW__ACHIEVEIT__LEDGER_TABLE", written.table)
        cursor.execute(f"lock table {written.table}")
        yield
        cursor.execute(f"drop table {written.table}, {written.table}_rejects")


def test_a_question_that_takes_too_long_is_stopped(airflow_app: FastAPI, locked: None) -> None:
    began = time.monotonic()
    status, text = look(airflow_app)
    assert 0.9 < time.monotonic() - began < 3
    assert (status, "answers too slowly" in text) == (503, True)


async def test_a_slow_ledger_takes_few_threads_of_the_api_server(
    airflow_app: FastAPI, locked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_achieveit.history import app as module

    monkeypatch.setattr(module, "_AT_ONCE", 2)
    monkeypatch.setattr(module, "_SEAT_SECONDS", 0.2)
    module.history_app.cache_clear()
    cookies = client_of(airflow_app).cookies
    try:
        async with AsyncClient(
            transport=ASGITransport(airflow_app), base_url="http://airflow", cookies=dict(cookies)
        ) as browser:
            pages = await asyncio.gather(*[browser.get("/achieveit/history") for _ in range(5)])
    finally:
        module.history_app.cache_clear()
    assert sorted("answers too slowly" in page.text for page in pages) == [False] * 3 + [True] * 2
    assert sum("Please try again" in page.text for page in pages) == 3


def test_airflow_has_it_in_its_menu_and_finds_no_fault(airflow_app: FastAPI) -> None:
    [plugin] = [
        plugin
        for plugin in client_of(airflow_app, username="root", role="ADMIN").get("/api/v2/plugins").json()["plugins"]
        if plugin["name"] == "achieveit"
    ]
    [view] = plugin["external_views"]
    assert (view["href"], view["destination"], view["category"]) == ("achieveit/history", "nav", "browse")
    [app] = plugin["fastapi_apps"]
    assert app["url_prefix"] == "/achieveit"
    answer = client_of(airflow_app, username="root", role="ADMIN").get("/api/v2/plugins/importErrors")
    assert answer.json()["import_errors"] == []
