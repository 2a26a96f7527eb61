"""The sync history page in Airflow's own pages, as a person sees it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect
from sqlalchemy import MetaData, Table, create_engine, insert

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.stores.records import BatchState
from tests.browser.conftest import AirflowSite
from tests.history.writing import Written, reject

APPLIED, QUEUED, FAILED = BatchState.APPLIED, BatchState.QUEUED, BatchState.FAILED
TAG = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture(scope="module")
def known_dags(airflow_site: AirflowSite) -> None:
    """DAGs of which Airflow knows, as after its DAG processor has read their files."""
    engine = create_engine(airflow_site.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    bundles, dags = (Table(name, MetaData(), autoload_with=engine) for name in ("dag_bundle", "dag"))
    with engine.begin() as connection:
        connection.execute(insert(bundles).values(name="history", active=True))
        for dag_id in ("push_kpis", "finance_metrics"):
            needed = {c.name: 0 for c in dags.columns if not c.nullable and c.server_default is None}
            named = {"dag_id": dag_id, "bundle_name": "history", "fileloc": "/dags/push.py"}
            connection.execute(insert(dags).values({**needed, **named}))
    engine.dispose()


@pytest.fixture
def ledger(airflow_site: AirflowSite, known_dags: None) -> Iterator[Path]:
    """The place of the ledger, where nothing is yet."""
    airflow_site.ledger_path.unlink(missing_ok=True)
    yield airflow_site.ledger_path
    airflow_site.ledger_path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with what two DAGs have done in a month."""
    path = tmp_path_factory.mktemp("month") / "ledger.db"
    written = Written(f"sqlite:///{path}")
    for days in range(29, 0, -1):
        rows = 700 + 37 * days % 400
        written.run("push_kpis", [APPLIED], run_id=f"day-{days}", rows=rows, before=timedelta(days=days))
    written.run("push_kpis", [APPLIED, QUEUED], run_id="today", rows=600, before=timedelta(minutes=20))
    written.run(
        "finance_metrics", [FAILED], task_id="load", kind=UpdateKind.METRIC, run_id="today", rows=480,
        reason=f"AchieveIt said: {TAG}", rejects=[reject(TAG, f"is no number: {TAG}", row) for row in range(1, 31)],
    )  # fmt: skip
    return path


@pytest.fixture
def written(ledger: Path, month: Path) -> None:
    """The ledger is there."""
    shutil.copy(month, ledger)


def open_from_menu(page: Page) -> FrameLocator:
    page.get_by_role("button", name="Browse").or_(page.get_by_text("Browse", exact=True)).first.click()
    page.get_by_role("menuitem", name="AchieveIt sync history").click()
    frame = page.frame_locator("iframe")
    expect(frame.locator("h1")).to_be_visible()
    return frame


def test_it_is_in_the_menu_and_its_filters_work(page: Page, written: None, artifacts: Path) -> None:
    said: list[str] = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    frame = open_from_menu(page)
    expect(frame.locator("h1")).to_have_text("AchieveIt sync history")
    first = frame.locator("section", has_text="Last run of each task").locator("tbody tr").first
    expect(first).to_contain_text("finance_metrics")
    expect(first).to_contain_text("failed")
    expect(frame.get_by_role("link", name="Airflow")).to_be_hidden()
    expect(frame.locator("section", has_text="Open jobs").locator("tbody tr")).to_have_count(1)
    page.screenshot(path=artifacts / "sync_history.png")

    frame.get_by_label("DAG").select_option("finance_metrics")
    frame.get_by_label("Kind").select_option("metric")
    frame.get_by_role("button", name="Show").click()
    expect(frame.locator("#batches tbody tr")).to_have_count(1)
    # What the ledger holds is shown, and is nothing but text.
    expect(frame.locator("#batches")).to_contain_text(TAG)
    expect(frame.locator("#rejects tbody tr")).to_have_count(25)
    frame.get_by_role("link", name="Older").click()
    expect(frame.locator("#rejects tbody tr")).to_have_count(5)
    expect(frame.locator("#rejects tbody tr").first).to_contain_text(TAG)
    frame.locator("#rejects").screenshot(path=artifacts / "sync_history_rejects.png")

    frame.get_by_role("link", name="Clear filters").click()
    expect(frame.locator("#batches tbody tr")).to_have_count(25)
    frame.get_by_role("link", name="today").first.click()
    expect(frame.locator(".chip").last).to_contain_text("Run: today")
    frame.get_by_label("State").select_option("planned")
    frame.get_by_role("button", name="Show").click()
    expect(frame.locator("section", has_text="Rows by day")).to_contain_text("Nothing was planned or sent")
    page.screenshot(path=artifacts / "sync_history_nothing_fits.png")
    assert said == []


def test_it_is_as_dark_as_airflow(page: Page, written: None, artifacts: Path) -> None:
    page.emulate_media(color_scheme="light")
    frame = open_from_menu(page)
    ground = "getComputedStyle(document.body).backgroundColor"
    frame.locator("body").evaluate("document.fonts.ready")
    light = frame.locator("body").evaluate(ground)
    page.evaluate("localStorage.setItem('theme', 'dark')")
    page.reload()
    expect(frame.locator("h1")).to_be_visible()
    dark = frame.locator("body").evaluate(ground)
    assert light != dark
    page.screenshot(path=artifacts / "sync_history_dark.png")


def test_it_says_what_is_missing(page: Page, ledger: Path, artifacts: Path) -> None:
    frame = open_from_menu(page)
    expect(frame.locator("h1")).to_have_text("Nothing was sent yet")
    assert not ledger.exists()
    page.screenshot(path=artifacts / "sync_history_empty.png")
    ledger.write_bytes(b"no database at all" * 100)
    page.reload()
    expect(frame.locator("h1")).to_have_text("The ledger does not answer")
    expect(frame.locator("body")).not_to_contain_text("Traceback")
    page.screenshot(path=artifacts / "sync_history_error.png")


def test_a_link_to_it_survives_the_login(
    airflow_site: AirflowSite, browser: Browser, written: None, artifacts: Path
) -> None:
    context = browser.new_context(viewport={"width": 480, "height": 900})
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{airflow_site.url}/achieveit/history?dag_id=push_kpis&task_id=push&run_id=today")
    page.fill("input[name=username]", "viewer")
    page.fill("input[name=password]", airflow_site.passwords["viewer"])
    page.click("button[type=submit]")
    expect(page.locator(".chip").last).to_contain_text("Run: today")
    expect(page.locator("#batches tbody tr")).to_have_count(2)
    expect(page.get_by_role("link", name="Airflow")).to_be_visible()
    # On a telephone nothing is cut off but tables, which scroll.
    assert page.evaluate("document.documentElement.scrollWidth") <= 480
    page.screenshot(path=artifacts / "sync_history_narrow.png")
    context.close()
