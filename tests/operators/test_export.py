"""The export operator: what it refuses, what it hands on, and how it reports what went wrong."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_achieveit.exceptions import (
    AchieveItAuthError,
    AchieveItError,
    AchieveItForbiddenError,
    AchieveItLoadRefusedError,
    AchieveItUnavailableError,
)
from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator
from airflow_provider_achieveit.simulator.seed_data import generated_plan
from airflow_provider_achieveit.simulator.server import RunningSimulator


@pytest.fixture
def simulator(plan_server: RunningSimulator) -> RunningSimulator:
    plan_server.world.plans["p1"] = generated_plan(60, seed=1, plan_id="p1")
    plan_server.world.plans["p2"] = generated_plan(25, seed=2, plan_id="p2")
    return plan_server


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "with space & ümlaut.db"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    return path


def operator(**options: Any) -> AchieveItExportPlanOperator:
    return AchieveItExportPlanOperator(**{"task_id": "export", "plan_id": "p1", "conn_id": "warehouse"} | options)


def count(database: Path, query: str) -> Any:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(query).fetchone()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "repalce"}, "mode must be one of 'replace', 'merge', 'snapshot', 'scd2', not 'repalce'; did you"),
        ({"mode": "history"}, "mode must be one of 'replace', 'merge', 'snapshot', 'scd2', not 'history'"),
        ({"nested": "table"}, "nested must be one of 'tables', 'json', 'drop', not 'table'; did you mean 'tables'"),
        ({"page_size": 5000}, "page_size must be a whole number from 1 to 1500, not 5000"),
        ({"sort_key": "sequence_id"}, "did you mean 'sequenceId'"),
        ({"parallel_pages": 0}, "parallel_pages"),
        ({"max_reads": 0}, "max_reads"),
        ({"max_delete_ratio": 1.5}, "max_delete_ratio must be a number from 0 to 1, not 1.5"),
        ({"max_delete_ratio": -0.1}, "max_delete_ratio"),
        ({"max_delete_ratio": float("nan")}, "max_delete_ratio"),
        ({"max_delete_ratio": "0.5"}, "max_delete_ratio must be a number from 0 to 1, not '0.5'"),
    ],
)
def test_settings_that_cannot_work_are_refused_when_the_dag_is_parsed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        operator(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plan_id": ""}, "plan_id must be a text that is not empty, not ''"),
        ({"plan_id": " "}, "plan_id must be a text"),
        ({"plan_id": None}, "plan_id must be a text that is not empty, not None"),
        ({"plan_id": "p\x001"}, r"plan_id 'p\\x001' has a null character in it"),
        ({"table": ""}, "table must be a text"),
        ({"table": "lake.plan_items"}, "give the part before it as 'schema'"),
        ({"schema": "nowhere"}, "schema 'nowhere' does not exist"),
    ],
)
def test_what_templates_gave_is_checked_before_any_request(
    simulator: RunningSimulator, database: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(AchieveItLoadRefusedError, match=message) as caught:
        operator(**options).execute({})
    assert isinstance(caught.value, AirflowFailException)
    assert caught.value.retryable is False
    assert simulator.world.requests == []


def test_a_connection_that_is_no_database_is_told(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FILES", json.dumps({"conn_type": "fs"}))
    with pytest.raises(AirflowFailException, match="'files' is of type 'fs', which is no SQL database"):
        operator(conn_id="files").execute({})
    assert simulator.world.requests == []


def test_templated_fields() -> None:
    assert set(AchieveItExportPlanOperator.template_fields) == {
        "plan_id", "conn_id", "achieveit_conn_id", "schema", "table", "snapshot_date"
    }  # fmt: skip
    task = operator(plan_id="{{ plan }}", table="t_{{ plan }}", schema="{{ plan }}")
    task.render_template_fields({"plan": "p9"})
    assert (task.plan_id, task.table, task.schema) == ("p9", "t_p9", "p9")


def test_two_plans_in_one_table_and_a_summary_for_each(
    simulator: RunningSimulator, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = operator(page_size=20).execute({})
    second = operator(plan_id="p2", schema="main").execute({})
    assert first.pop("extracted_at") < second.pop("extracted_at")
    assert first == {
        "plan_id": "p1", "items": 60, "pages": 4, "reads": 1, "table": "plan_items", "mode": "replace",
        "inserted": 60, "updated": 0, "deleted": 0,
    }  # fmt: skip
    assert second["table"] == "main.plan_items"
    assert count(database, "SELECT count(*), count(DISTINCT plan_id) FROM plan_items") == (85, 2)
    simulator.world.plans["p2"].items[3].fields["name"] = "Other"
    third = operator(plan_id="p2").execute({})
    assert (third["inserted"], third["updated"], third["deleted"]) == (0, 1, 0)
    assert len(json.dumps(third)) < 1000


def test_pages_are_never_larger_than_asked_for(simulator: RunningSimulator, database: Path) -> None:
    operator(page_size=20, sort_key="name", parallel_pages=2).execute({})
    queries = [request.query for request in simulator.world.requests]
    assert all("take=20" in query or "take=1&" in query for query in queries)
    assert any("sortKey=name" in query for query in queries)


def test_a_plan_that_may_not_be_seen(simulator: RunningSimulator, database: Path) -> None:
    with pytest.raises(AchieveItForbiddenError, match="this key's user may not see plan unknown") as caught:
        operator(plan_id="unknown").execute({})
    assert caught.value.status == 403
    assert count(database, "SELECT count(*) FROM sqlite_master") == (0,)


def test_a_wrong_key(simulator: RunningSimulator, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = json.loads(simulator.connection()) | {"password": "wrong"}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(connection))
    with pytest.raises((AchieveItAuthError, AchieveItForbiddenError)):
        operator(achieveit_conn_id="other").execute({})


def test_a_server_that_fails_is_worth_a_retry_and_changes_nothing(simulator: RunningSimulator, database: Path) -> None:
    operator().execute({})
    before = count(database, "SELECT count(*), max(_extracted_at) FROM plan_items")
    simulator.faults.add("status", path="skip=38", status=503, times=None)
    with pytest.raises(AchieveItUnavailableError) as caught:
        operator(page_size=20).execute({})
    assert caught.value.retryable
    assert count(database, "SELECT count(*), max(_extracted_at) FROM plan_items") == before


def test_a_plan_that_shrank_too_much_is_refused_for_good(simulator: RunningSimulator, database: Path) -> None:
    operator().execute({})
    items = simulator.world.plans["p1"].items
    kept = items[:29]
    simulator.world.plans["p1"].items = kept
    try:
        with pytest.raises(AchieveItLoadRefusedError, match=r"31 of its 60 items in plan_items \(52%\)") as caught:
            operator().execute({})
        assert isinstance(caught.value, AchieveItError)
        assert isinstance(caught.value, AirflowFailException)
        assert count(database, "SELECT count(*) FROM plan_items") == (60,)
        assert operator(max_delete_ratio=0.6).execute({})["deleted"] == 31
    finally:
        simulator.world.plans["p1"].items = items


def test_an_older_read_that_ends_later_fails_for_good(simulator: RunningSimulator, database: Path) -> None:
    operator().execute({})
    connection = sqlite3.connect(database)
    connection.execute("UPDATE plan_items_loads SET _extracted_at = '2999-01-01T00:00:00+00:00'")
    connection.commit()
    connection.close()
    with pytest.raises(
        AchieveItLoadRefusedError, match=r"was read at 2999-01-01 00:00:00.*nothing was written"
    ) as caught:
        operator().execute({})
    assert isinstance(caught.value, AirflowFailException)


def test_importing_the_operator_loads_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from airflow.providers.common.compat.sdk import AirflowFailException, BaseHook, BaseOperator\n"
        "before = set(sys.modules)\n"
        "import airflow_provider_achieveit.operators.export\n"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"AIRFLOW_HOME": str(tmp_path), "PATH": "/usr/bin", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    loaded = set(run.stdout.split())
    assert "airflow_provider_achieveit" in loaded
    assert not loaded & {"pandas", "requests", "aiohttp", "sqlalchemy", "pyarrow", "fastapi", "msgspec", "tenacity"}


class TestSkipUnchanged:
    """A cheap look first, where the author wants it."""

    def loads(self, database: Path) -> Any:
        return count(database, "SELECT items, newest_change, settings, _extracted_at FROM plan_items_loads")

    def test_a_plan_that_is_as_it_was_is_not_read(
        self, simulator: RunningSimulator, database: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = operator(skip_unchanged=True).execute({})
        assert "unchanged" not in first
        told = self.loads(database)
        simulator.world.requests.clear()
        second = operator(skip_unchanged=True, page_size=7).execute({})
        assert second == first | {"pages": 0, "reads": 0, "inserted": 0, "unchanged": True}
        [request] = simulator.world.requests
        assert "take=1&" in request.query
        assert "sortKey=lastUpdated&sortDirection=desc" in request.query
        assert self.loads(database) == told

    @pytest.mark.parametrize(
        "change",
        [
            lambda items: items[3].fields.update({"lastUpdated": "2026-08-01T00:00:00Z", "name": "Other"}),
            lambda items: items.pop(),
        ],
    )
    def test_what_moves_the_count_or_the_newest_change_is_seen(
        self, simulator: RunningSimulator, database: Path, change: Any
    ) -> None:
        plan = simulator.world.plans["p1"] = generated_plan(60, seed=1, plan_id="p1")
        operator(skip_unchanged=True).execute({})
        change(plan.items)
        result = operator(skip_unchanged=True).execute({})
        assert result["reads"] == 1
        assert result["updated"] + result["deleted"] == 1
        assert operator(skip_unchanged=True).execute({})["unchanged"] is True
        simulator.world.plans["p1"] = generated_plan(60, seed=1, plan_id="p1")

    @pytest.mark.parametrize(
        ("options", "other"),
        [
            ({}, {"unescape_html": False}),
            ({}, {"nested": "drop"}),
            ({}, {"plan_id": "p2"}),
            ({"mode": "snapshot"}, {"mode": "snapshot", "snapshot_date": "2026-01-31"}),
        ],
    )
    def test_what_was_not_loaded_in_this_way_is_read(
        self, simulator: RunningSimulator, database: Path, options: dict[str, Any], other: dict[str, Any]
    ) -> None:
        operator(skip_unchanged=True, **options).execute({})
        assert operator(skip_unchanged=True, **options).execute({})["unchanged"] is True
        assert operator(skip_unchanged=True, **other).execute({})["reads"] == 1
        assert operator(skip_unchanged=True, **other).execute({})["unchanged"] is True

    def test_rows_that_somebody_removed_are_loaded_again(self, simulator: RunningSimulator, database: Path) -> None:
        operator().execute({})
        connection = sqlite3.connect(database)
        connection.execute("DELETE FROM plan_items WHERE row_number = 5")
        connection.commit()
        connection.close()
        assert operator(skip_unchanged=True).execute({})["inserted"] == 1

    @pytest.mark.parametrize("table", ["plan_items", "plan_items_tags", "plan_items_loads"])
    def test_a_table_that_somebody_removed_is_loaded_again(
        self, simulator: RunningSimulator, database: Path, table: str
    ) -> None:
        operator().execute({})
        connection = sqlite3.connect(database)
        connection.execute(f"DROP TABLE {table}")
        connection.close()
        assert operator(skip_unchanged=True).execute({})["reads"] == 1
        assert operator(skip_unchanged=True).execute({})["unchanged"] is True

    def test_an_empty_plan_that_stays_empty(self, simulator: RunningSimulator, database: Path) -> None:
        simulator.world.plans["empty"] = generated_plan(0, plan_id="empty")
        assert operator(skip_unchanged=True, plan_id="empty").execute({})["reads"] == 1
        assert operator(skip_unchanged=True, plan_id="empty").execute({})["unchanged"] is True
        simulator.world.plans.pop("empty")

    def test_items_that_tell_no_moment_are_always_read(self, simulator: RunningSimulator, database: Path) -> None:
        plan = simulator.world.plans["silent"] = generated_plan(3, plan_id="silent")
        for item in plan.items:
            item.fields["lastUpdated"] = None
        assert operator(skip_unchanged=True, plan_id="silent").execute({})["reads"] == 1
        assert operator(skip_unchanged=True, plan_id="silent").execute({})["reads"] == 1
        simulator.world.plans.pop("silent")


class TestSnapshotDate:
    """Which day a snapshot is labelled with."""

    def days(self, database: Path) -> Any:
        return count(database, "SELECT group_concat(DISTINCT _snapshot_date), count(*) FROM plan_items")

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("2026-01-31", "2026-01-31"),
            (date(2026, 1, 31), "2026-01-31"),
            (datetime(2026, 1, 31, 23, tzinfo=timezone(timedelta(hours=-5))), "2026-02-01"),
        ],
    )
    def test_the_day_that_is_given(
        self, simulator: RunningSimulator, database: Path, given: Any, expected: str
    ) -> None:
        operator(mode="snapshot", snapshot_date=given).execute({})
        assert self.days(database) == (expected, 60)

    def test_else_the_day_of_the_read(self, simulator: RunningSimulator, database: Path) -> None:
        result = operator(mode="snapshot").execute({})
        assert self.days(database) == (result["extracted_at"][:10], 60)

    @pytest.mark.parametrize(
        "given", ["", "None", "2026-02-30", "20260131", "2026-01-31T00:00:00+00:00", "{{ ds }}", 5]
    )
    def test_what_is_no_day_is_refused_before_any_request(
        self, simulator: RunningSimulator, database: Path, given: Any
    ) -> None:
        with pytest.raises(AchieveItLoadRefusedError, match=r"snapshot_date must be a day such as '2026-01-31'"):
            operator(mode="snapshot", snapshot_date=given).execute({})
        assert simulator.world.requests == []

    def test_the_future_is_refused(self, simulator: RunningSimulator, database: Path) -> None:
        tomorrow = datetime.now(UTC).date() + timedelta(days=1)
        with pytest.raises(AchieveItLoadRefusedError, match="is in the future"):
            operator(mode="snapshot", snapshot_date=str(tomorrow + timedelta(days=2))).execute({})
        assert simulator.world.requests == []
        # Somewhere east of here it is tomorrow already.
        operator(mode="snapshot", snapshot_date=tomorrow.isoformat()).execute({})

    def test_other_modes_have_no_such_day(self) -> None:
        with pytest.raises(ValueError, match="snapshot_date goes with mode='snapshot', not with mode='merge'"):
            operator(mode="merge", snapshot_date="2026-01-31")
