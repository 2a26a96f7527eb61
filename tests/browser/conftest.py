"""A real api-server of Airflow and a real browser that looks at it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page, sync_playwright

from tests.cluster.programs import ROOT, Program, Programs, until
from tests.sockets import free_port

ARTIFACTS = ROOT / "build" / "screenshots"


@pytest.hookimpl(tryfirst=True)  # before the marks decide what runs
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass(frozen=True)
class AirflowSite:
    """A running api-server, with a metadata database of its own (SQLite) and without DAGs.

    :param url: where it is, without a slash at the end.
    :param passwords: by user name; ``admin`` may do all, ``viewer`` may look.
    :param ledger_path: the SQLite file of the connection ``ledger``, in which the sync history page looks; not there
        until a test makes it.
    :param environment: of its process.
    :param server: the process.
    """

    url: str
    passwords: Mapping[str, str]
    ledger_path: Path
    environment: Mapping[str, str]
    server: Program

    def token(self, user: str = "admin") -> str:
        """Return a token for the REST API."""
        answer = requests.post(
            f"{self.url}/auth/token", json={"username": user, "password": self.passwords[user]}, timeout=10
        )
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def sign_in(self, page: Page, user: str = "admin") -> None:
        """Sign in as a person does."""
        page.goto(self.url)
        page.fill("input[name=username]", user)
        page.fill("input[name=password]", self.passwords[user])
        page.click("button[type=submit]")
        page.wait_for_selector("nav, [data-testid=nav-bar], button:has-text('User')")


@pytest.fixture(scope="session")
def airflow_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowSite]:
    """The api-server, for all browser tests."""
    home = tmp_path_factory.mktemp("site")
    port = free_port()
    passwords = {user: secrets.token_urlsafe(24) for user in ("admin", "viewer")}
    password_file = home / "passwords.json"
    password_file.write_text(json.dumps(passwords))
    ledger_path = home / "ledger.db"
    settings = {
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_FOLDER": str(home / "dags"),
        "CORE__TEST_CONNECTION": "Enabled",
        "CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(password_file),
        "API__BASE_URL": f"http://127.0.0.1:{port}",
        "API__SECRET_KEY": secrets.token_urlsafe(32),
        "API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "ACHIEVEIT__LEDGER_CONN_ID": "ledger",
    }
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")},
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
        "AIRFLOW_CONN_LEDGER": json.dumps({"conn_type": "sqlite", "host": str(ledger_path)}),
        "AIRFLOW_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "localhost,127.0.0.1",
        # What counts requests is in it.
        "TMPDIR": str(home),
    }
    airflow = [sys.executable, "-m", "airflow"]
    with Programs(home) as programs:
        programs.run("migrate", [*airflow, "db", "migrate"], environment)
        serve = ["api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        server = programs.start("api-server", [*airflow, *serve], environment)
        site = AirflowSite(environment["AIRFLOW__API__BASE_URL"], passwords, ledger_path, environment, server)
        until(lambda: server.check() or _answers(site.url), seconds=90, what="the api-server answers")
        yield site


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window; where there is none, skip and say so, but fail in CI."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        told = "there is no Chromium on this machine"
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    with sync_playwright() as playwright:
        # Chromium's sandbox does not start for root, as which CI runs.
        options = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


@pytest.fixture
def page(airflow_site: AirflowSite, browser: Browser) -> Iterator[Page]:
    """A page of the administrator, who has signed in."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(20_000)
    airflow_site.sign_in(page)
    yield page
    context.close()


@pytest.fixture
def artifacts() -> Path:
    """Where screenshots are kept: ``build/screenshots``, whether a test passes or not."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    return ARTIFACTS


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/api/v2/version", timeout=5).ok
    except requests.RequestException:
        return False
