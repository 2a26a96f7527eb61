"""What an on-call engineer reads in the log of a task, as Airflow writes it: its stations, and its last words."""

from __future__ import annotations

import itertools
import json
import logging
import re
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_achieveit.api import jobs, pace
from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator
from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
from airflow_provider_achieveit.sensors.job import AchieveItJobSensor
from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.dag_runs import TaskLog, run_dag

pytestmark = pytest.mark.usefixtures("airflow_db")
_numbers = itertools.count()

KEY = "key-that-nobody-may-read"
GOOD = {"external_id": "pat-nps", "status": "on track", "metric_value": 41.5, "as_of_date": "2026-01-05"}
LATER = {**GOOD, "as_of_date": "2026-01-06"}
BAD = {**GOOD, "status": "On Trakc", "as_of_date": "2026-01-07"}
EXPORT = {"plan_id": DEMO_PLAN_ID, "conn_id": "warehouse", "page_size": 20}
NEXT_LINE = r"\d{4}-|[A-Z]+ +\S+:\w+\.py:\d+ "
"""How a line of the log begins: by the time where Airflow prints it, by its level where pytest does."""
POSTS = {"method": "POST", "times": None}


@dataclass(frozen=True, slots=True)
class Case:
    """A task that fails.

    :param options: of the submit operator; of the export, if there is a plan in them; of the sensor, if there is a job.
    :param error: the name of its class.
    :param told: what its last words hold, in this order: what happened, to which rows, what to do.
    :param fault: what the server does, and to which requests.
    :param connection: what is other in the connection.
    """

    options: dict[str, Any]
    error: str
    told: tuple[str, ...]
    fault: tuple[str, dict[str, Any]] | None = None
    connection: dict[str, Any] = field(default_factory=dict)


NOT_SENT = r"0 of 2 batch\(es\) are queued or applied; 2 rows in 2 batch\(es\) are not sent"
TWO = {"rows": [GOOD, LATER], "batch_size": 1}
CASES = {
    "invalid rows": Case(
        {"rows": [GOOD, BAD]},
        "AchieveItInvalidRowsError",
        (
            "1 of 2 rows rejected, nothing was sent; mend the source, or set on_invalid='skip'",
            "row 2, status 'On Trakc'",
        ),
    ),
    "duplicates": Case(
        {"rows": [GOOD, GOOD]},
        "AchieveItInvalidRowsError",
        ("2 of 2 rows rejected", "set on_duplicate to 'last' or 'first'", "row 1, external_id 'pat-nps'", "as row 2"),
    ),
    "no such column": Case(
        {"rows": [{"external_id": "a", "metric_value": 1}]},
        "AchieveItInvalidRowsError",
        ("nothing was sent: no column 'status'", "'external_id', 'metric_value'", "Map it with columns={'status'"),
    ),
    "no rows": Case(
        {"rows": [], "on_empty": "fail"},
        "AchieveItInvalidRowsError",
        ("The source has no rows, nothing was sent", "Is the query's window empty?"),
    ),
    "no such file": Case(
        {"path": "/nowhere/kpis.csv"},
        "FileNotFoundError",
        ("'/nowhere/kpis.csv'", "The source could not be read; nothing was sent"),
    ),
    "no such connection": Case(
        {"rows": [GOOD], "achieveit_conn_id": "nobody"},
        "AchieveItRequestError",
        ("There is no connection 'nobody': make one of type achieveit",),
    ),
    "key": Case(
        TWO,
        "AchieveItAuthError",
        ("HTTP 401", "check the password of the connection", NOT_SENT, "When that is mended, clear this task"),
        connection={"password": "another-key-than-the-server-knows"},
    ),
    "right to update": Case(
        TWO,
        "AchieveItForbiddenError",
        ("HTTP 403", "give the user the right in AchieveIt", NOT_SENT, "When that is mended, clear this task"),
        ("status", {**POSTS, "status": 403}),
    ),
    "right to see a plan": Case(
        {**EXPORT, "plan_id": "nobody-knows"},
        "AchieveItForbiddenError",
        ("may not see plan nobody-knows", "Give the user view access to the plan in AchieveIt, or check the plan id"),
    ),
    "not understood": Case(
        TWO,
        "AchieveItRequestError",
        (
            r"b0001\S+: HTTP 400 'no such format'; the request was not understood; mend what",
            NOT_SENT,
            "clear this task",
        ),
        ("status", {**POSTS, "status": 400, "body": "no such format"}),
    ),
    "redirect": Case(
        TWO,
        "AchieveItRequestError",
        ("a redirect to '/login' that must not be followed", "set the connection's host", NOT_SENT, "clear this task"),
        ("redirect", {**POSTS, "location": "/login"}),
    ),
    "not available, from the second batch on": Case(
        TWO,
        "AchieveItUnavailableError",
        (r"b0002\S+: HTTP 503", "1 of 2 batch.es. are queued or applied; 1 rows", "A retry sends only these"),
        ("status", {**POSTS, "nth": 2, "status": 503}),
    ),
    "not available, and nothing written down": Case(
        {**TWO, "durable": False},
        "AchieveItUnavailableError",
        ("HTTP 503", "1 of 2 batch.es. are queued", "A retry sends all of them again, as nothing was written down"),
        ("status", {**POSTS, "nth": 2, "status": 503}),
    ),
    "too many requests": Case(
        TWO,
        "AchieveItUnavailableError",
        ("HTTP 429; too many requests", r"\(a pool\), or set max_requests_per_minute", NOT_SENT, "A retry sends"),
        ("status", {**POSTS, "status": 429}),
    ),
    "not there": Case(
        TWO,
        "AchieveItUnavailableError",
        ("cannot be reached.*Connection refused", "check the connection's host", NOT_SENT, "A retry sends"),
        connection={"host": "http://127.0.0.1:1"},
    ),
    "plan not available": Case(
        EXPORT,
        "AchieveItUnavailableError",
        (f"export of plan {DEMO_PLAN_ID}: HTTP 503", "try again later"),
        ("status", {"times": None, "status": 503}),
    ),
    "lost answer": Case(
        TWO,
        "AchieveItUnsureSubmissionError",
        (
            r"Nobody can tell whether batch \S+b0001\S+ \(1 rows, .* is queued",
            "1 other batches are queued or applied, 0 were not sent",
            "Look in AchieveIt at the history of the items",
            "clear it with on_unsure='resubmit'|clear this task with on_unsure='resubmit'",
        ),
        ("reset", {"method": "POST", "after": True}),
    ),
    "refused": Case(
        {"rows": [GOOD, {**GOOD, "external_id": "nobody"}], "deferrable": True},
        "AchieveItJobRefusedError",
        (r"1 of 1 job\(s\) not applied", "refused the data .400.: Row 2.*'nobody'", "Mend these rows.*, then clear"),
    ),
    "failed": Case(
        TWO,
        "AchieveItJobFailedError",
        (
            r"1 of 2 job\(s\) not applied .1 applied.",
            r"batch \S+b0001",
            "AchieveIt failed to apply it",
            "A retry sends",
        ),
        ("fail_job", {}),
    ),
    "not in time": Case(
        {"rows": [GOOD], "wait_timeout": 0.2},
        "AchieveItJobTimeoutError",
        (
            r"1 of 1 job\(s\) not applied",
            r"batch \S+b0001.*not ended at the deadline",
            "When the jobs have ended, clear",
        ),
        ("status", {"method": "GET", "status": 202, "times": None}),
    ),
    "a job that nobody knows": Case(
        {"job_id": "job-1", "timeout": 0.2, "deferrable": True},
        "AchieveItJobTimeoutError",
        ("job job-1: not ended at the deadline", "404 so far: is this a job of AchieveIt, and of this kind of updates"),
    ),
    "changing plan": Case(
        EXPORT,
        "AchieveItInconsistentExportError",
        (f"plan {DEMO_PLAN_ID} changed while it was read, 3 time", "None of it was used; try again when fewer people"),
        ("mutate", {"path": "skip=19|skip=38", "times": None}),
    ),
    "past": Case(
        {**EXPORT, "past_runs": "fail"},
        "AchieveItLoadRefusedError",
        ("This run stands for the past", "nothing was read or written", "set past_runs='run'"),
    ),
}


class Log:
    """What a task wrote.

    :param state: how its run ended.
    :param text: all of it, as it was printed.
    """

    def __init__(self, state: str, text: str) -> None:
        self.state = state
        # Colours, and whatever comes before the task itself.
        self.text = re.sub(r"\x1b\[[0-9;]*m", "", text).partition("[DAG TEST] starting")[2]

    def last_words(self) -> tuple[str, str]:
        """Return the error that ended the task: the name of its class, and the message below the traceback."""
        found = re.findall(rf"^((?:\w+\.)*\w+Error): (.*(?:\n(?!{NEXT_LINE}|\s*$).*)*)", self.text, re.MULTILINE)
        name, message = found[-1]
        return name.rpartition(".")[2], message


@pytest.fixture
def connections(simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A database, and the connection to the simulator, whose requests are tried once only."""
    simulator.world.users[KEY] = next(iter(simulator.world.users.values()))
    told = json.loads(simulator.connection())
    told |= {"password": KEY, "extra": {**told.get("extra", {}), "max_retries": 0}}
    monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(told))
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "w.db")}))
    return dict(told)


def run(options: dict[str, Any], task_log: TaskLog) -> Log:
    """Let Airflow run a task; what its options are tells which."""
    run_options: dict[str, Any] = {}
    operator: Any = AchieveItSubmitProgressUpdatesOperator
    if "plan_id" in options:
        operator = AchieveItExportPlanOperator
        if options.get("past_runs"):
            run_options = {"logical_date": datetime(2026, 1, 5, tzinfo=UTC)}
    elif "job_id" in options:
        operator, options = AchieveItJobSensor, {"poke_interval": 0.05, **options}
    else:
        options = {"poll_interval": 0.05, **options}
    with DAG(f"log_{next(_numbers)}", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        operator(task_id="task", **options)
    with pytest.MonkeyPatch.context() as patch:
        # What goes through Python's own loggers is printed where everything else is: there it is in its order.
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler:
                patch.setattr(handler, "stream", sys.stdout)
        state = run_dag(dag, **run_options).state
    return Log(state, task_log())


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_the_last_words_tell_what_happened_to_which_rows_and_what_to_do(
    case: Case,
    simulator: RunningSimulator,
    connections: dict[str, Any],
    account: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    task_log: TaskLog,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connections | case.connection))
    if case.fault:
        kind, options = case.fault
        simulator.faults.add(kind, **options)
    keeps_account = "rows" in case.options and case.options.get("durable", True)
    log = run(case.options | (account if keeps_account else {}), task_log)
    assert log.state == "failed"
    error, message = log.last_words()
    assert error == case.error
    assert re.search(".*".join(case.told), message, re.DOTALL), message
    assert max(map(len, message.splitlines())) < 1000
    assert KEY not in log.text


def assert_in_order(log: Log, stations: list[str]) -> None:
    assert log.state == "success"
    assert re.search(r"[\s\S]*".join(stations), log.text), log.text


@pytest.mark.usefixtures("connections")
class TestStations:
    def test_of_a_submit(self, task_log: TaskLog) -> None:
        log = run({"rows": [GOOD, BAD, LATER], "batch_size": 1, "on_invalid": "skip", "deferrable": True}, task_log)
        stations = [
            "Reading the rows",
            r"Read 3 rows from rows: 2 to send, 1 rejected \(\d+\.\d s\)",
            "row 2, status 'On Trakc'",
            r"Planned 2 batch\(es\) of 2 rows",
            r"Batch 1 of 2, \S+ \(1 rows, \d+ bytes\), queued as job \S+ in \d+\.\d s",
            "Batch 2 of 2, ",
            r"Waiting for 2 job\(s\) until .*, in the triggerer",
            r"All 2 job\(s\) are applied, \d+\.\d s after the first was sent",
            "Result: kind progress, rows_read 3, rows_submitted 2, rows_rejected 1, rows_unchanged 0, batch_count 2",
        ]
        assert_in_order(log, stations)

    def test_of_an_export(self, task_log: TaskLog) -> None:
        stations = [
            f"Reading plan {DEMO_PLAN_ID}, 20 items a page",
            r"The plan has 61 items; the first page took \d+\.\d s",
            rf"Read plan {DEMO_PLAN_ID} in \d+\.\d s: 61 items on 4 page\(s\), read 1 time",
            r"Loading 61 items into plan_items \(mode replace\)",
            r"Loaded plan .* in \d+\.\d s: 61 items inserted, 0 updated, 0 deleted",
        ]
        assert_in_order(run(EXPORT, task_log), stations)

    def test_of_long_work(
        self, simulator: RunningSimulator, task_log: TaskLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pace, "INTERVAL", 0.0)
        monkeypatch.setattr(jobs, "REPORT_INTERVAL", 0.0)
        simulator.faults.add("status", path="/status/", status=202)
        told = [
            r"Read 1 rows so far \(0 s\), 0 of them cannot be sent",
            r"Waiting for 1 of 1 job\(s\) since 0 s, 3[56]\d\d s left: \S+\s",
            r"All 1 job\(s\) are applied",
        ]
        assert_in_order(run({"rows": [GOOD]}, task_log), told)
        assert_in_order(run(EXPORT, task_log), [r"Read 39 of 61 items so far \(0 s\)", "Read 58 of 61", "Read plan"])

    def test_of_a_sensor(self, simulator: RunningSimulator, task_log: TaskLog) -> None:
        simulator.faults.add("status", path="/status/", status=202)
        run({"rows": [GOOD], "wait_for_completion": False}, task_log)
        [job_id] = simulator.world.jobs
        told = [rf"0 job\(s\) are applied, not yet {job_id}", r"All 1 job\(s\) are applied"]
        assert_in_order(run({"job_id": job_id}, task_log), told)
