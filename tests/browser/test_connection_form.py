"""A connection as a person makes and tests it: in the browser, by the REST API, and on a worker."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from airflow_provider_achieveit.hooks.connection_form import EXTRA_FIELDS
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.browser.conftest import AirflowSite
from tests.cluster.programs import Programs, until

WORKS = "Reachable: yes. Key accepted: yes. Plan readable: yes"
REFUSED = "Reachable: yes. Key accepted: no."
PORT = 443
"""Airflow 3.3.2 refuses to test a saved connection without a port; a base URL with a port of its own keeps that."""


class Api:
    """The REST API of the site, as the administrator."""

    def __init__(self, site: AirflowSite) -> None:
        self._site = site
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {site.token()}"

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self._session.request(method, self._site.url + path, json=body, headers=headers, timeout=30)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def close(self) -> None:
        self._session.close()


@pytest.fixture
def api(airflow_site: AirflowSite) -> Iterator[Api]:
    api = Api(airflow_site)
    yield api
    for connection in api.call("GET", "/api/v2/connections")["connections"]:
        api.call("DELETE", f"/api/v2/connections/{connection['connection_id']}")
    api.close()


def connection_body(simulator: RunningSimulator, **changes: Any) -> dict[str, Any]:
    given = json.loads(simulator.connection())
    extra = given["extra"] | changes.pop("extra", {})
    return {"connection_id": "goals", **given, "extra": json.dumps(extra), **changes}


def press_test(page: Page, connection_id: str) -> str:
    """Press the button in the connection's row, and return what Airflow says."""
    page.locator("tr", has_text=connection_id).get_by_label("Test Connection").click()
    toast = page.locator("[data-scope=toast][data-part=root]", has_text="Reachable")
    expect(toast).to_be_visible()
    page.wait_for_timeout(500)  # it moves in: for the picture
    return toast.inner_text()


def test_make_see_save_and_test(
    airflow_site: AirflowSite, page: Page, api: Api, simulator: RunningSimulator, artifacts: Path
) -> None:
    [plan_id] = simulator.world.plans
    page.goto(f"{airflow_site.url}/connections")
    page.click("button:has-text('Add Connection')")
    form = page.get_by_role("dialog")
    form.locator("input[name=connection_id]").fill("goals")
    form.get_by_role("combobox").first.click()
    page.keyboard.type("AchieveIt")
    page.get_by_role("option", name="AchieveIt", exact=True).click()

    expect(form.get_by_label("Login")).to_have_count(0)
    expect(form.get_by_label("Schema")).to_have_count(0)
    form.get_by_label("Base URL").fill(simulator.url)
    form.get_by_label("API key").fill(simulator.api_key)
    form.get_by_label("Port").fill(str(PORT))
    form.get_by_role("button", name="Extra Fields", exact=True).click()
    for field in EXTRA_FIELDS.values():
        expect(form.get_by_text(field["label"], exact=True)).to_be_visible()
        expect(form.get_by_text(field["description"], exact=True)).to_be_visible()
    form.get_by_label("Environment").click()
    expect(page.get_by_role("option")).to_have_text(["commercial", "government"])
    page.get_by_role("option", name="commercial").click()
    form.locator("[name=element_plan_id]").fill(plan_id)
    form.locator("[name=element_max_requests_per_minute]").fill("600")
    form.locator("[name=element_allow_http]").locator("xpath=..").click()
    page.set_viewport_size({"width": 1400, "height": 1800})  # all of it in the picture
    form.screenshot(path=artifacts / "connection-form.png")
    form.get_by_role("button", name="Save").click()
    expect(form).to_have_count(0)

    saved = api.call("GET", "/api/v2/connections/goals")
    assert (saved["conn_type"], saved["host"], saved["port"]) == ("achieveit", simulator.url, PORT)
    extra = json.loads(saved["extra"])
    assert (extra["plan_id"], extra["max_requests_per_minute"], extra["allow_http"]) == (plan_id, 600, True)

    assert WORKS in press_test(page, "goals")
    page.screenshot(path=artifacts / "connection-test-works.png")
    assert [request.method for request in simulator.world.requests] == ["GET"]


def test_a_wrong_key_is_told(
    airflow_site: AirflowSite, page: Page, api: Api, simulator: RunningSimulator, artifacts: Path
) -> None:
    api.call("POST", "/api/v2/connections", connection_body(simulator, password="wrong-canary-key", port=PORT))
    page.goto(f"{airflow_site.url}/connections")
    told = press_test(page, "goals")
    page.screenshot(path=artifacts / "connection-test-wrong-key.png")
    assert REFUSED in told
    assert "canary" not in page.content()


def test_the_metadata_of_the_form(api: Api) -> None:
    """What Airflow 3.2 and later make the form of; the hook is not asked."""
    [form] = [form for form in api.call("GET", "/ui/connections/hook_meta") if form["connection_type"] == "achieveit"]
    assert form["hook_name"] == "AchieveIt"
    assert list(form["extra_fields"]) == list(EXTRA_FIELDS)
    for name, field in form["extra_fields"].items():
        assert field["schema"]["title"], name
        assert field["description"], name
    assert form["extra_fields"]["environment"]["schema"]["enum"] == ["commercial", "government"]
    standard = form["standard_fields"]
    assert [name for name, field in standard.items() if field and field["hidden"]] == ["url_schema", "login"]
    assert (standard["host"]["title"], standard["password"]["title"]) == ("Base URL", "API key")


@pytest.mark.parametrize(
    ("changes", "works", "told"),
    [
        ({}, True, WORKS),
        ({"port": 0, "login": "", "schema": ""}, True, WORKS),
        ({"extra": {"plan_id": ""}}, True, "Key accepted: it was not refused, but only reading a plan proves more"),
        ({"password": "wrong-canary-key"}, False, REFUSED),
        ({"password": ""}, False, "Nothing was tested: no API key: put it into the password field"),
    ],
)
def test_by_the_rest_api(
    api: Api, simulator: RunningSimulator, changes: dict[str, Any], works: bool, told: str
) -> None:
    """The api-server hands the connection to the hook as a URI in the environment."""
    answer = api.call("POST", "/api/v2/connections/test", connection_body(simulator, **changes))
    assert answer["status"] is works
    assert told in answer["message"]
    assert "canary" not in answer["message"]


def test_a_saved_connection_without_a_port_needs_one_on_airflow_3_3_2(api: Api, simulator: RunningSimulator) -> None:
    """What docs/connection.md tells; when it no longer holds, the advice there can go."""
    body = connection_body(simulator)
    api.call("POST", "/api/v2/connections", body)
    with pytest.raises(AssertionError, match="host or port to test differs"):
        # What the button of the list sends.
        api.call("POST", "/api/v2/connections/test", body | {"port": 0, "password": "***"})
    # Without the port, as a program may ask.
    assert api.call("POST", "/api/v2/connections/test", body | {"password": "***"})["status"] is True


def test_on_a_worker(api: Api, airflow_site: AirflowSite, simulator: RunningSimulator, tmp_path: Path) -> None:
    """The way of Airflow 3.3 and later, where the api-server cannot reach what the workers reach."""
    with Programs(tmp_path) as programs:
        environment = {**airflow_site.environment, "AIRFLOW__CORE__PARALLELISM": "2"}
        programs.start("scheduler", [sys.executable, "-m", "airflow", "scheduler", "--skip-serve-logs"], environment)
        for changes, state, told in (({}, "success", WORKS), ({"password": "wrong-key"}, "failed", REFUSED)):
            body = connection_body(simulator, **changes)

            def tested(body: Any = body) -> Any:
                token = api.call("POST", "/api/v2/connections/enqueue-test", body)["token"]
                headers = {"Airflow-Connection-Test-Token": token}

                def ended() -> Any:
                    answer = api.call("GET", "/api/v2/connections/enqueue-test", **headers)
                    return answer if answer["state"] in ("success", "failed") else None

                answer = until(ended, seconds=60, what="the worker has tested the connection")
                # The scheduler of a busy machine may hold Airflow's SQLite while the worker tells what it has found.
                return None if answer["result_message"].endswith(": ServerResponseError") else answer

            answer = until(tested, seconds=90, what="the worker has told it")
            assert (answer["state"], told in answer["result_message"]) == (state, True), answer
