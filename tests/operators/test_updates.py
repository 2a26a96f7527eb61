"""The submit operators, run by Airflow itself against the simulator: every source, both ways to wait, every refusal."""

from __future__ import annotations

import csv
import io
import itertools
import json
import logging
import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, get_args
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_achieveit.exceptions import (
    AchieveItAuthError,
    AchieveItInvalidRowsError,
    AchieveItJobRefusedError,
    AchieveItJobTimeoutError,
    AchieveItUnsureSubmissionError,
)
from airflow_provider_achieveit.operators.updates import (
    AchieveItSubmitMetricUpdatesOperator,
    AchieveItSubmitProgressUpdatesOperator,
)
from airflow_provider_achieveit.sensors.job import AchieveItJobSensor
from airflow_provider_achieveit.simulator.server import RunningSimulator
from airflow_provider_achieveit.simulator.settings import JobIdForm
from tests.airflow_versions import needs_dry_runs
from tests.dag_runs import FinishedRun, TaskLog, run_dag

pytestmark = pytest.mark.usefixtures("airflow_db")
_numbers = itertools.count()

GOOD = {"external_id": "pat-nps", "status": "on track", "metric_value": Decimal("41.50"), "as_of_date": "2026-01-05"}
BAD_STATUS = {**GOOD, "status": "On Trakc", "as_of_date": "2026-01-06"}


class Outcome:
    """What became of a task."""

    def __init__(self, run: FinishedRun, errors: list[BaseException]) -> None:
        self.run = run
        self.errors = errors
        self.state = run.task_state("push")
        self.result = run.xcom("push")
        self.job_ids = run.xcom("push", "job_ids")

    @property
    def error(self) -> BaseException:
        assert self.state == "failed"
        return self.errors[-1]


def push(
    operator: Callable[..., Any] = AchieveItSubmitProgressUpdatesOperator, *, run_options: Any = None, **options: Any
) -> Outcome:
    """Run a DAG of one submit task."""
    errors: list[BaseException] = []
    options = {"poll_interval": 0.05, "deferrable": False, **options}
    with DAG(f"dag_{next(_numbers)}", schedule=None) as dag:
        operator(
            task_id="push",
            retry_delay=timedelta(0),
            on_failure_callback=lambda context: errors.append(context["exception"]),
            **options,
        )
    return Outcome(run_dag(dag, **(run_options or {})), errors)


def received(simulator: RunningSimulator) -> list[dict[str, str]]:
    """Return the records of all CSV batches the server has got."""
    return [
        row for batch in simulator.world.batches for row in csv.DictReader(io.StringIO(batch.body.decode(), newline=""))
    ]


def posts(simulator: RunningSimulator) -> int:
    return len([request for request in simulator.world.requests if request.method == "POST"])


def metadata() -> bytes:
    """Return all bytes of Airflow's metadata database."""
    from airflow import settings

    assert settings.engine is not None
    return b"".join(path.read_bytes() for path in Path(str(settings.engine.url.database)).parent.glob("airflow.db*"))


def assert_adds_up(result: dict[str, Any]) -> None:
    assert result["rows_read"] == result["rows_submitted"] + result["rows_rejected"] + result["rows_unchanged"]


class TestBothWaysToWait:
    def test_give_the_same_result(self, simulator: RunningSimulator) -> None:
        simulator.world.settings.job_seconds = 0.1
        results = []
        for deferrable in (False, True):
            outcome = push(rows=[GOOD, {**GOOD, "as_of_date": "2026-01-06"}], batch_size=1, deferrable=deferrable)
            assert outcome.state == "success"
            assert outcome.job_ids == [batch["job_id"] for batch in outcome.result["batches"]]
            results.append(outcome.result)
        for result in results:
            assert_adds_up(result)
            for batch in result["batches"]:
                assert batch.pop("job_id")
                # The DAG's name and the run differ, the batch's number and content do not.
                batch["filename"] = batch["filename"].split(".")[-3:]
        assert results[0] == results[1]
        assert results[0]["batch_count"] == 2
        assert [batch["state"] for batch in results[0]["batches"]] == ["applied", "applied"]

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_a_refused_batch_fails_with_its_reason_and_is_not_retried(
        self, simulator: RunningSimulator, deferrable: bool
    ) -> None:
        outcome = push(rows=[{**GOOD, "external_id": "nobody"}], deferrable=deferrable, retries=3)
        assert isinstance(outcome.error, AchieveItJobRefusedError)
        assert "nobody" in str(outcome.error)
        assert outcome.job_ids == [outcome.error.job_id]
        assert posts(simulator) == 1

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_a_failed_job_is_sent_again_by_a_retry(
        self, simulator: RunningSimulator, deferrable: bool, account: dict[str, Any]
    ) -> None:
        simulator.faults.add("fail_job")
        # Airflow 3.0 gives the retry the event of the try before: only an account tells them apart.
        outcome = push(rows=[GOOD], deferrable=deferrable, retries=1, **account)
        assert outcome.state == "success"
        assert posts(simulator) == 2

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_the_deadline(self, simulator: RunningSimulator, deferrable: bool) -> None:
        simulator.world.settings.job_seconds = 60
        outcome = push(rows=[GOOD], deferrable=deferrable, wait_timeout=timedelta(seconds=0.3), retries=3)
        assert isinstance(outcome.error, AchieveItJobTimeoutError)
        assert posts(simulator) == 1

    def test_execution_timeout_bounds_the_deferred_wait(self, simulator: RunningSimulator) -> None:
        simulator.world.settings.job_seconds = 60
        outcome = push(rows=[GOOD], deferrable=True, execution_timeout=timedelta(seconds=5))
        assert isinstance(outcome.error, AchieveItJobTimeoutError)

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_not_waiting_hands_over_to_the_sensor(self, simulator: RunningSimulator, deferrable: bool) -> None:
        simulator.world.settings.job_seconds = 0.1
        with DAG(f"dag_{next(_numbers)}", schedule=None) as dag:
            pushed = AchieveItSubmitProgressUpdatesOperator(task_id="push", rows=[GOOD], wait_for_completion=False)
            AchieveItJobSensor(
                task_id="wait",
                job_id=pushed.output["job_ids"],
                deferrable=deferrable,
                poke_interval=0.05,
                timeout=20,
            )
        run = run_dag(dag)
        assert run.task_state("wait") == "success"
        assert run.xcom("push")["batches"][0]["state"] == "queued"
        assert {job.state.value for job in simulator.world.jobs.values()} == {"processed"}


class TestSources:
    def test_a_query(self, simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        database = tmp_path / "wh.db"
        with sqlite3.connect(database) as connection:
            connection.execute("create table kpi (id text, rag text, value text, day text)")
            connection.executemany(
                "insert into kpi values (?, ?, ?, ?)",
                [("pat-nps", "G", "41.5", "2026-01-05"), ("pat-nps", "R", None, "2026-01-12")],
            )
        connection.close()
        monkeypatch.setenv("AIRFLOW_CONN_WH", json.dumps({"conn_type": "sqlite", "host": str(database)}))
        outcome = push(
            sql="select * from kpi where day >= ? and '{{ ds }}' <> '' order by day",
            parameters=["2026-01-01"],
            conn_id="wh",
            columns={"external_id": "id", "status": "rag", "metric_value": "value", "as_of_date": "day"},
            status_map={"G": "On Track", "R": "off track"},
            wait_for_completion=False,
        )
        assert outcome.state == "success"
        assert received(simulator) == [
            {"External ID": "pat-nps", "Status": "On Track", "Metric Value": "41.5", "As Of Date": "2026-01-05"},
            {"External ID": "pat-nps", "Status": "Off Track", "Metric Value": "", "As Of Date": "2026-01-12"},
        ]

    @pytest.mark.parametrize("extension", ["csv", "json", "jsonl", "parquet"])
    def test_a_file(self, simulator: RunningSimulator, tmp_path: Path, extension: str) -> None:
        path = tmp_path / f"kpis.{extension}"
        row = {"external_id": "pat-nps", "metric_value": "12345678901234.5678", "as_of_date": "2026-01-05"}
        frame = pd.DataFrame([row])
        {
            "csv": lambda: frame.to_csv(path, index=False),
            "json": lambda: path.write_text(json.dumps([row])),
            "jsonl": lambda: path.write_text(json.dumps(row) + "\n"),
            "parquet": lambda: frame.to_parquet(path),
        }[extension]()
        outcome = push(AchieveItSubmitMetricUpdatesOperator, path=str(path))
        assert outcome.state == "success"
        assert outcome.result["kind"] == "metric"
        assert received(simulator) == [
            {"External ID": "pat-nps", "Metric Value": "12345678901234.5678", "As Of Date": "2026-01-05"}
        ]

    def test_a_dataframe(self, simulator: RunningSimulator) -> None:
        frame = pd.DataFrame(
            {
                "external_id": ["pat-nps", "pat-nps"],
                "metric_value": pd.array([2**53 + 1, 7], dtype="Int64"),
                "as_of_date": [date(2026, 1, 5), datetime(2026, 1, 6, 23, 0)],
                "comment": ["x", None],
            }
        )
        push(AchieveItSubmitMetricUpdatesOperator, rows=frame)
        assert [row["Metric Value"] for row in received(simulator)] == ["9007199254740993", "7"]
        assert [row["Comment"] for row in received(simulator)] == ["x", ""]

    def test_the_result_of_a_task_and_mapping(self, simulator: RunningSimulator) -> None:
        with DAG(f"dag_{next(_numbers)}", schedule=None) as dag:

            @task
            def make() -> list[list[dict[str, Any]]]:
                return [[{**GOOD, "metric_value": "1.0"}], [{**GOOD, "metric_value": "2.0", "comment": "{{ ds }}"}]]

            AchieveItSubmitProgressUpdatesOperator.partial(task_id="push", poll_interval=0.05).expand(rows=make())
        run = run_dag(dag)
        assert run.state == "success"
        # The mapped tasks run in any order.
        bodies = {batch.filename.split(".")[3]: batch.body.decode() for batch in simulator.world.batches}
        assert bodies.keys() == {"m0", "m1"}
        assert ",1.0," in bodies["m0"]
        # Data is no template, whatever it looks like.
        assert ",2.0,2026-01-05,{{ ds }}" in bodies["m1"]

    def test_rows_are_not_stored_by_airflow(self, simulator: RunningSimulator) -> None:
        # Airflow stores the text of this file: the canary must not stand in it.
        canary = "-".join(["canary", "comment"])
        outcome = push(rows=[{**GOOD, "comment": canary}])
        assert outcome.state == "success"
        assert b"<1 rows>" in metadata()
        assert canary.encode() not in metadata()


class TestValuesArriveAsTheyLeft:
    BERLIN = ZoneInfo("Europe/Berlin")
    COMMENT = 'Zürich "quoted", two\nlines ™ 🎯 {{ ds }} \\ end'
    ROWS: ClassVar = [
        ("123456789.123456789", date(2026, 1, 5), COMMENT),
        (Decimal("-0.000000000000000001"), datetime(2026, 1, 6, 23, 30, tzinfo=UTC), None),
        (2**53 + 1, "2026-01-08T00:30:00+02:00", "None"),
        (None, "01/09/2026", "nan"),
        (0.1, datetime(2026, 1, 10, 0, 15, tzinfo=BERLIN), "NULL"),
    ]
    ARRIVED: ClassVar = [
        ("123456789.123456789", "2026-01-05"),
        ("-0.000000000000000001", "2026-01-07"),
        ("9007199254740993", "2026-01-07"),
        (None, "2026-01-09"),
        ("0.1", "2026-01-10"),
    ]

    def rows(self) -> list[dict[str, Any]]:
        item = {"external_id": "acc-third", "status": "AT RISK"}
        names = ("metric_value", "as_of_date", "comment")
        rows = [{**item, **dict(zip(names, values, strict=True))} for values in self.ROWS]
        # An item takes one update a day, and one of them must be of an item without a metric.
        rows[3]["external_id"] = "launch-mentoring"
        rows[2]["external_id"] = "pat-nps"
        return rows

    @pytest.mark.parametrize("body_format", ["csv", "json"])
    @pytest.mark.parametrize("kind_of_rows", ["list", "dataframe"])
    def test_awkward_values(self, simulator: RunningSimulator, body_format: str, kind_of_rows: str) -> None:
        [plan] = simulator.world.plans.values()
        without_metric = next(item for item in plan.items if not item.fields["hasMetric"])
        without_metric.external_id = "launch-mentoring"
        rows = self.rows()
        outcome = push(
            rows=rows if kind_of_rows == "list" else pd.DataFrame(rows, dtype=object),
            format=body_format,
            timezone="Europe/Berlin",
        )
        assert outcome.state == "success", outcome.errors
        for row, (value, day) in zip(rows, self.ARRIVED, strict=True):
            history = simulator.world.item(row["external_id"]).history
            [entry] = [entry for entry in history if entry.as_of_date == day]
            told = row["comment"] or ""
            assert (entry.value or None, entry.status) == (value, "At Risk")
            assert (entry.comment or "") == (told if body_format == "json" else told.replace("\n", " "))


class TestDates:
    def test_the_run_gives_the_date_where_no_column_does(self, simulator: RunningSimulator) -> None:
        import pendulum

        moment = pendulum.datetime(2026, 3, 1, 23, 30, tz="UTC")
        rows = [{name: value for name, value in GOOD.items() if name != "as_of_date"}]
        push(rows=rows, timezone="Europe/Berlin", run_options={"logical_date": moment})
        assert received(simulator)[0]["As Of Date"] == "2026-03-02"

    def test_the_run_does_not_date_rows_that_have_dates(self, simulator: RunningSimulator) -> None:
        columns = {"external_id": "external_id", "status": "status", "metric_value": "metric_value"}
        outcome = push(rows=[GOOD], columns=columns)
        assert "'as_of_date'" in str(outcome.error)
        assert simulator.world.requests == []

    def test_one_templated_date_for_all(self, simulator: RunningSimulator) -> None:
        import pendulum

        rows = [{name: value for name, value in GOOD.items() if name != "as_of_date"}]
        moment = pendulum.datetime(2026, 3, 1, tz="UTC")
        push(rows=rows, as_of_date="{{ ds }}", run_options={"logical_date": moment})
        assert received(simulator)[0]["As Of Date"] == "2026-03-01"

    def test_a_template_that_gives_nothing_is_no_date(self, simulator: RunningSimulator) -> None:
        outcome = push(rows=[GOOD], columns={"external_id": "external_id", "status": "status"}, as_of_date="{{ '' }}")
        assert "as_of_date is empty" in str(outcome.error)
        assert simulator.world.requests == []


class TestBadRows:
    def test_one_bad_row_means_no_post(self, simulator: RunningSimulator, tmp_path: Path) -> None:
        rejects = tmp_path / "deep" / "rejects.csv"
        outcome = push(rows=[GOOD, BAD_STATUS], batch_size=1, rejects_path=str(rejects), retries=2)
        assert isinstance(outcome.error, AchieveItInvalidRowsError)
        for told in ("1 of 2 rows", "row 2", "'On Trakc'", "'On Track'", str(rejects)):
            assert told in str(outcome.error)
        assert simulator.world.requests == []
        assert len(outcome.errors) == 1, "a retry cannot mend the rows"
        [told_row] = csv.DictReader(rejects.read_text().splitlines())
        assert (told_row["row"], told_row["column"], told_row["value"]) == ("2", "status", "On Trakc")

    def test_skip_sends_the_rest_and_the_counts_add_up(self, simulator: RunningSimulator, task_log: TaskLog) -> None:
        bad = {"external_id": "a,b", "status": "", "metric_value": "20%", "as_of_date": "13/13/2026"}
        outcome = push(rows=[bad, GOOD, BAD_STATUS], on_invalid="skip")
        assert outcome.state == "success"
        assert_adds_up(outcome.result)
        assert (outcome.result["rows_submitted"], outcome.result["rows_rejected"]) == (1, 2)
        assert len(received(simulator)) == 1
        log = task_log()
        for told in ("a,b", "20%", "13/13/2026", "On Trakc"):
            assert told in log

    def test_skip_with_nothing_left_is_not_green(self, simulator: RunningSimulator) -> None:
        assert isinstance(push(rows=[BAD_STATUS], on_invalid="skip").error, AchieveItInvalidRowsError)

    def test_duplicates(self, simulator: RunningSimulator) -> None:
        rows = [GOOD, {**GOOD, "metric_value": 2}]
        assert "on_duplicate" in str(push(rows=rows, on_invalid="skip").error)
        assert simulator.world.requests == []
        outcome = push(rows=rows, on_duplicate="last")
        assert_adds_up(outcome.result)
        assert [row["Metric Value"] for row in received(simulator)] == ["2"]

    @pytest.mark.parametrize(("on_empty", "state"), [("skip", "skipped"), ("fail", "failed"), ("succeed", "success")])
    def test_no_rows(self, simulator: RunningSimulator, on_empty: str, state: str) -> None:
        outcome = push(rows=[], on_empty=on_empty)
        assert outcome.state == state
        assert simulator.world.requests == []
        assert outcome.job_ids == [], "a sensor behind it finds its list"
        if on_empty == "succeed":
            assert_adds_up(outcome.result)


class TestSending:
    def test_json(self, simulator: RunningSimulator) -> None:
        outcome = push(rows=[{**GOOD, "comment": 'two\nlines, "quoted" ™ 🎯'}], format="json")
        assert outcome.state == "success"
        [batch] = simulator.world.batches
        assert batch.filename.endswith(".json")
        assert b'"metricValue": 41.50' in batch.body or b'"metricValue":41.50' in batch.body
        assert json.loads(batch.body)[0]["comment"] == 'two\nlines, "quoted" ™ 🎯'

    def test_kept_bytes_are_the_sent_bytes(self, simulator: RunningSimulator, tmp_path: Path) -> None:
        push(rows=[GOOD, {**GOOD, "as_of_date": "2026-01-06"}], batch_size=1, artifact_path=str(tmp_path / "kept"))
        sent = {batch.filename: batch.body for batch in simulator.world.batches}
        assert len(sent) == 2
        assert {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()} == sent

    def test_a_filename_tells_where_it_comes_from(self, simulator: RunningSimulator) -> None:
        outcome = push(rows=[GOOD])
        [batch] = outcome.result["batches"]
        dag_run = outcome.run.dag_run
        assert batch["filename"].startswith(f"{dag_run.dag_id}.push.manual")
        assert batch["filename"].endswith(f".b0001.{batch['sha256'][:8]}.csv")

    def test_dry_run_posts_nothing(self, simulator: RunningSimulator, tmp_path: Path) -> None:
        outcome = push(rows=[GOOD], dry_run=True, artifact_path=str(tmp_path))
        assert outcome.state == "success"
        assert simulator.world.requests == []
        assert (outcome.result["rows_submitted"], outcome.result["rows_planned"]) == (0, 1)
        assert outcome.result["batches"][0]["state"] == "planned"
        assert outcome.job_ids == []
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_lost_answer_is_not_sent_again(self, simulator: RunningSimulator, account: dict[str, Any]) -> None:
        simulator.faults.add("reset", method="POST", after=True)
        outcome = push(rows=[GOOD], retries=3, **account)
        assert isinstance(outcome.error, AchieveItUnsureSubmissionError)
        assert "set the batch's state to 'applied' and clear this task" in str(outcome.error)
        assert posts(simulator) == 1

    def test_one_lost_answer_does_not_cost_the_batches_behind_it(self, simulator: RunningSimulator) -> None:
        simulator.faults.add("reset", method="POST", after=True, nth=2)
        rows = [{**GOOD, "as_of_date": f"2026-01-0{day}"} for day in range(1, 5)]
        outcome = push(rows=rows, batch_size=1)
        assert isinstance(outcome.error, AchieveItUnsureSubmissionError)
        assert "3 other batches are queued or applied, 0 were not sent" in str(outcome.error)
        assert len(simulator.world.batches) == posts(simulator) == 4
        assert len(outcome.job_ids) == 3

    def test_two_lost_answers_stop_the_sending(self, simulator: RunningSimulator) -> None:
        simulator.faults.add("reset", method="POST", after=True, times=None)
        rows = [{**GOOD, "as_of_date": f"2026-01-0{day}"} for day in range(1, 5)]
        outcome = push(rows=rows, batch_size=1)
        assert "2 were not sent" in str(outcome.error)
        assert posts(simulator) == 2

    def test_an_answer_without_a_job_id_is_quoted(self, simulator: RunningSimulator) -> None:
        simulator.world.settings.job_id_form = "none"
        outcome = push(rows=[GOOD], retries=3)
        assert isinstance(outcome.error, AchieveItUnsureSubmissionError)
        assert "no job id could be read" in str(outcome.error)
        assert posts(simulator) == 1

    @pytest.mark.parametrize("form", [form for form in get_args(JobIdForm) if form != "none"])
    def test_every_form_of_a_job_id(self, simulator: RunningSimulator, form: JobIdForm) -> None:
        simulator.world.settings.job_id_form = form
        outcome = push(rows=[GOOD])
        assert outcome.state == "success"
        assert outcome.job_ids == list(simulator.world.jobs)

    def test_what_was_queued_is_known_when_a_later_batch_fails(self, simulator: RunningSimulator) -> None:
        simulator.faults.add("status", method="POST", status=400, nth=2)
        outcome = push(rows=[GOOD, {**GOOD, "as_of_date": "2026-01-06"}], batch_size=1)
        assert outcome.state == "failed"
        assert outcome.job_ids == [simulator.world.batches[0].job_id]

    def test_a_retry_reattaches_and_sends_the_rest_only(
        self, simulator: RunningSimulator, account: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        simulator.faults.add("status", method="POST", status=503, nth=2, times=6)
        monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
        outcome = push(rows=[GOOD, {**GOOD, "as_of_date": "2026-01-06"}], batch_size=1, retries=1, **account)
        assert outcome.state == "success"
        assert len(simulator.world.batches) == 2
        assert outcome.job_ids == [batch.job_id for batch in simulator.world.batches]

    def test_a_wrong_key_fails_at_once_and_is_not_told(
        self, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, task_log: TaskLog
    ) -> None:
        connection = {**json.loads(simulator.connection()), "password": "canary-key-0123456789"}
        monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connection))
        outcome = push(rows=[GOOD], retries=3)
        assert isinstance(outcome.error, AchieveItAuthError)
        assert posts(simulator) == 1
        assert "canary-key" not in str(outcome.error)
        assert "canary-key" not in task_log()

    def test_the_key_is_kept_nowhere(
        self,
        simulator: RunningSimulator,
        monkeypatch: pytest.MonkeyPatch,
        task_log: TaskLog,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """At DEBUG, over the deferred road: not in a log, the metadata database or a batch."""
        key = "-".join(["kept", "nowhere", "0123456789"])
        simulator.world.users[key] = simulator.world.users.pop(simulator.api_key)
        connection = {**json.loads(simulator.connection()), "password": key}
        monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connection))
        simulator.faults.add("status", status=503, headers={"Retry-After": "0"})
        simulator.faults.add("reset", method="GET")
        with caplog.at_level(logging.DEBUG):
            assert push(rows=[GOOD], deferrable=True).state == "success"
        assert "POST /api/progressupdates" in caplog.text, "the HTTP library's own DEBUG lines are there"
        assert key not in caplog.text
        assert key not in task_log()
        assert key.encode() not in metadata()


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({}, "exactly one source.*none was given"),
            ({"rows": [], "path": "a.csv"}, "exactly one source.*path and rows"),
            ({"sql": "select 1"}, "sql and conn_id go together"),
            ({"rows": [], "conn_id": "wh"}, "sql and conn_id go together"),
            ({"rows": [], "columns": {"extrnal_id": "a"}}, "'extrnal_id'.*external_id"),
            ({"rows": [], "status_map": {"G": "On Trakc"}}, "'On Track'"),
            ({"rows": [], "as_of_date": "2026-01-01", "columns": {"as_of_date": "day"}}, "as_of_date is given twice"),
            ({"rows": [], "format": "xml"}, "format must be one of 'csv', 'json', not 'xml'"),
            ({"rows": [], "on_invalid": "skp"}, "did you mean 'skip'"),
            ({"rows": [], "on_duplicate": "newest"}, "on_duplicate"),
            ({"rows": [], "on_empty": "ok"}, "on_empty"),
            ({"rows": [], "resubmit": "never"}, "resubmit"),
            ({"rows": [], "on_unsure": "retry"}, "on_unsure"),
            ({"rows": [], "batch_size": 0}, "batch_size=0: .* 1 or more"),
            ({"rows": [], "poll_interval": 0}, "poll_interval"),
            ({"rows": [], "wait_timeout": timedelta(0)}, "wait_timeout"),
            ({"rows": [], "timezone": "Mars/Olympus"}, "timezone 'Mars/Olympus' is not known"),
        ],
    )
    def test_are_checked_when_the_dag_is_read(self, options: dict[str, Any], told: str) -> None:
        with pytest.raises(ValueError, match=told):
            AchieveItSubmitProgressUpdatesOperator(task_id="push", **options)

    def test_metric_updates_have_no_status(self) -> None:
        with pytest.raises(ValueError, match="no status"):
            AchieveItSubmitMetricUpdatesOperator(task_id="push", rows=[], columns={"status": "rag"})

    def test_a_column_the_source_does_not_have(self, simulator: RunningSimulator) -> None:
        outcome = push(rows=[GOOD], columns={"external_id": "kpi", "status": "status", "as_of_date": "as_of_date"})
        assert "'kpi'" in str(outcome.error)
        assert "external_id" in str(outcome.error)
        assert simulator.world.requests == []

    def test_no_connection_is_told_before_the_source_is_read(self) -> None:
        outcome = push(sql="select", conn_id="neither_is_this", achieveit_conn_id="nowhere")
        assert "nowhere" in str(outcome.error)

    def test_a_dry_run_needs_no_connection(self) -> None:
        assert push(rows=[GOOD], achieveit_conn_id="nowhere", dry_run=True).state == "success"

    @needs_dry_runs
    def test_airflows_own_dry_run_still_works(self) -> None:
        AchieveItSubmitProgressUpdatesOperator(task_id="push", rows=[GOOD], dry_run=True).dry_run()
