"""The commands in this process, against the simulator: what they do, print and end with."""

from __future__ import annotations

import inspect
import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_achieveit.cli.definition import COMMANDS
from airflow_provider_achieveit.operators.export import AchieveItExportPlanToFileOperator
from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.cli.conftest import Ended
from tests.dag_runs import run_dag

Run = Callable[..., Ended]

HEADER = "external_id,status,metric_value,as_of_date,comment\n"
GOOD = "pat-nps,On Track,47.5,2026-01-05,better\n"
LATER = "pat-nps,At Risk,41,2026-01-12,\n"
BAD = "pat-nps,Purple,47.5,2026-01-06,\n"


def write(rows: str = GOOD, name: str = "kpis.csv") -> str:
    Path(name).write_text(HEADER + rows, encoding="utf-8")
    return name


def posts(simulator: RunningSimulator) -> int:
    return len(simulator.world.batches)


class TestValidate:
    def test_needs_no_connection(self, run: Run) -> None:
        done = run("validate", write(), "-o", "json")
        assert (done.code, done.err) == (0, "")
        batches = done.document.pop("batches")
        assert done.document | {"batches": batches} == {
            "kind": "progress",
            "rows_read": 1,
            "rows_submitted": 0,
            "rows_rejected": 0,
            "rows_unchanged": 0,
            "rows_planned": 1,
            "batch_count": 1,
            "batches": batches,
        }
        assert [batch["state"] for batch in batches] == ["planned"]

    def test_tells_each_bad_row_once_and_what_to_do(self, run: Run) -> None:
        done = run("validate", write(GOOD + BAD + ",On Track,1,2026-01-07,\n"))
        assert (done.code, done.out) == (1, "")
        assert done.err.count("row 2, status 'Purple': no such status") == 1
        assert done.err.count("row 3, external_id '': missing") == 1
        assert "error: 2 of 3 rows rejected, nothing was sent; mend the source" in done.err

    def test_which_column_is_missing_where_no_run_has_a_date(self, run: Run) -> None:
        Path("kpis.csv").write_text("KPI,Ampel\npat-nps,On Track\n", encoding="utf-8")
        assert "no column 'external_id' for 'external_id': " in run("validate", "kpis.csv").err
        done = run("validate", "kpis.csv", "--columns", "external_id=KPI,status=Ampel")
        assert "need 'as_of_date'; name its column in the source or give one as_of_date" in done.err

    def test_rejects_do_not_take_the_place_of_the_source(self, run: Run) -> None:
        path = write(GOOD + BAD)
        Path("link.csv").symlink_to(path)
        for rejects in (path, "link.csv"):
            done = run("validate", path, "--on-invalid", "skip", "--rejects-path", rejects)
            assert (done.code, "is the source itself" in done.err) == (1, True)
        assert "Purple" in Path(path).read_text(encoding="utf-8")

    def test_an_error_is_a_document_too(self, run: Run) -> None:
        done = run("validate", write(BAD), "--output", "json")
        error = done.document["error"]
        assert (done.code, error["exit_code"], error["type"]) == (1, 1, "AchieveItInvalidRowsError")
        assert "row 1, status 'Purple'" in error["message"]

    def test_rest_of_a_file_with_bad_rows(self, run: Run) -> None:
        done = run("validate", write(GOOD + BAD), "--on-invalid", "skip", "--rejects-path", "rejects.csv", "-o", "json")
        assert (done.code, done.document["rows_planned"], done.document["rows_rejected"]) == (0, 1, 1)
        assert "Purple" in Path("rejects.csv").read_text()

    @pytest.mark.parametrize(
        ("name", "told", "code"),
        [
            ("no.csv", "no.csv: No such file or directory", 2),
            ("directory.csv", "directory.csv: Is a directory", 2),
            ("s p ä c e #1 100%.csv", "", 0),
            ("kpis.xls", "'xls' is no format of a source file", 1),
            ("text.json", "text.json: no JSON", 1),
            ("nowhere://lake/kpis.csv", "nowhere", 1),
        ],
    )
    def test_files(self, run: Run, name: str, told: str, code: int) -> None:
        Path("directory.csv").mkdir()
        for other in ("s p ä c e #1 100%.csv", "kpis.xls", "text.json"):
            write(name=other)
        done = run("validate", name)
        assert (done.code, told in done.err) == (code, True)
        assert "Traceback" not in done.err

    def test_an_address_of_an_object_store(self, run: Run) -> None:
        assert run("validate", f"file://{Path(write()).resolve()}").code == 0

    def test_a_file_without_rows(self, run: Run) -> None:
        Path("empty.csv").touch()
        done = run("validate", "empty.csv", "-o", "json")
        assert (done.code, done.document) == (0, {"skipped": "The source has no rows (on_empty='skip')"})
        assert run("validate", "empty.csv", "--on-empty", "succeed", "-o", "json").document["rows_read"] == 0
        assert run("validate", "empty.csv", "--on-empty", "fail").code == 1

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (["--timezone", "Nowhere"], "timezone 'Nowhere' is not known"),
            (["--columns", "external_id"], "'external_id' is no NAME=VALUE"),
            (["--columns", "status=a", "--columns", "status=b"], "'status' is given twice"),
            (["--columns", "colour=a"], "columns: 'colour': no such field"),
            (["--status-map", "G=Purple"], "'G' leads to 'Purple', which is no status"),
            (["--batch-size", "0"], "batch_size=0"),
            (["--format", "xml"], "invalid choice: 'xml'"),
            (["--conn-id", "achieveit_default"], "unrecognized arguments: --conn-id"),
        ],
    )
    def test_what_cannot_be_meant(self, run: Run, options: list[str], told: str) -> None:
        done = run("validate", write(), *options)
        assert (done.code, done.out) == (2, "")
        assert told in done.err
        assert "Traceback" not in done.err

    def test_the_log_is_shown_where_it_is_wanted(self, run: Run) -> None:
        told = "/kpis.csv: 1 to send, 0 rejected"
        assert told not in run("validate", write()).err
        done = run("validate", write(), "-v", "-o", "json")
        assert told in done.err
        assert done.document["rows_read"] == 1


@pytest.fixture
def impatient(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> RunningSimulator:
    """The simulator, through a connection that repeats no request."""
    connection = json.loads(simulator.connection())
    connection["extra"] |= {"max_retries": 0}
    monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connection))
    return simulator


@pytest.mark.usefixtures("simulator")
class TestSubmit:
    def test_sends_and_waits(self, run: Run, simulator: RunningSimulator) -> None:
        simulator.world.settings.job_seconds = 0.2
        done = run("submit", write(), "--poll-interval", "0.1", "-o", "json")
        assert done.code == 0
        [batch] = done.document["batches"]
        assert (batch["state"], done.document["job_ids"]) == ("applied", [batch["job_id"]])
        assert simulator.world.item("pat-nps").fields["currentValue"] == "47.5"
        assert done.err == "No ledger was given: the same command again would send again what was sent.\n"

    def test_goes_the_road_of_the_operator(self, run: Run, simulator: RunningSimulator, airflow_db: None) -> None:
        Path("own.csv").write_text("id;x,rag,value,note\npat-nps,G,1.50,a\npat-nps,Z,2,b\nsaf-falls,Blue,,\n")
        done = run(
            *("submit", "own.csv", "--columns", "external_id=id;x,status=rag,comment=note", "--columns"),
            *("metric_value=value", "--status-map", "G=On Track", "--extra-status", "Blue", "--as-of-date"),
            *("2026-01-05", "--format", "json", "--batch-size", "1", "--on-invalid", "skip", "--rejects-path", "r.csv"),
            *("--artifact-path", "kept", "--no-wait", "-o", "json"),
        )
        assert (done.code, done.document["rows_rejected"], done.document["batch_count"]) == (0, 1, 2)
        assert [batch["state"] for batch in done.document["batches"]] == ["queued", "queued"]
        with DAG("own", schedule=None) as dag:
            AchieveItSubmitProgressUpdatesOperator(
                task_id="push",
                path=str(Path("own.csv").resolve()),
                columns={"external_id": "id;x", "status": "rag", "comment": "note", "metric_value": "value"},
                status_map={"G": "On Track"},
                extra_statuses=["Blue"],
                as_of_date="2026-01-05",
                format="json",
                batch_size=1,
                on_invalid="skip",
                rejects_path=str(Path("of_dag.csv").resolve()),
                wait_for_completion=False,
            )
        assert run_dag(dag).state == "success"
        bodies = [batch.body for batch in simulator.world.batches]
        assert bodies[:2] == bodies[2:]
        assert Path("r.csv").read_bytes() == Path("of_dag.csv").read_bytes()
        assert sorted(path.read_bytes() for path in Path("kept").iterdir()) == sorted(bodies[:2])

    def test_metric_updates(self, run: Run, simulator: RunningSimulator) -> None:
        assert run("submit", write(), "--kind", "metric", "--no-header").code == 0
        [batch] = simulator.world.batches
        assert batch.body == b"pat-nps,47.5,2026-01-05,better"

    def test_a_dry_run_sends_nothing(self, run: Run, simulator: RunningSimulator) -> None:
        done = run("submit", write(), "--dry-run", "-o", "json")
        assert (done.code, done.document["rows_planned"], posts(simulator)) == (0, 1, 0)

    def test_refused_data(self, run: Run) -> None:
        done = run("submit", write(GOOD.replace("pat-nps", "nobody")), "-o", "json")
        error = done.document["error"]
        assert (done.code, error["type"]) == (1, "AchieveItJobRefusedError")
        assert "nobody" in error["message"]
        assert "Here the task is this command" in error["message"], "it says to clear the task"
        assert "would send again" not in error["message"], "nothing was applied"
        assert len(done.document["job_ids"]) == 1

    def test_refused_data_beside_other_data(self, run: Run) -> None:
        done = run("submit", write(GOOD + LATER.replace("pat-nps", "nobody")), "--batch-size", "1", "-o", "json")
        assert done.code == 1
        assert "the same command again would send again what was sent" in done.document["error"]["message"]

    def test_worth_repeating_where_nothing_was_sent(self, run: Run, impatient: RunningSimulator) -> None:
        simulator = impatient
        simulator.faults.add("status", method="POST", status=503)
        done = run("submit", write())
        assert (done.code, posts(simulator)) == (75, 0)
        assert "HTTP 503" in done.err
        assert "Here the task is this command" in done.err, "it says what a retry does"
        assert "No ledger" not in done.err

    def test_not_worth_repeating_where_something_was_sent(self, run: Run, impatient: RunningSimulator) -> None:
        simulator = impatient
        simulator.faults.add("status", method="POST", status=503, nth=2)
        done = run("submit", write(GOOD + LATER), "--batch-size", "1", "-o", "json")
        assert (done.code, posts(simulator)) == (3, 1)
        assert len(done.document["job_ids"]) == 1
        assert "No ledger was given: the same command again would send again what was sent" in done.err

    def test_a_wait_that_was_too_short(self, run: Run, simulator: RunningSimulator) -> None:
        simulator.world.settings.job_seconds = 60
        done = run("submit", write(), "--wait-timeout", "0.1", "--poll-interval", "0.1")
        assert done.code == 3
        assert "not ended at the deadline; AchieveIt may still apply it" in done.err

    def test_nobody_knows(self, run: Run, simulator: RunningSimulator) -> None:
        simulator.faults.add("reset", method="POST", after=True)
        done = run("submit", write())
        assert (done.code, posts(simulator)) == (3, 1)
        assert "Nobody can tell whether batch achieveit_cli.submit_progress.kpis-csv-" in done.err
        assert "mark this task as success" in done.err
        assert "Here the task is this command" in done.err
        simulator.faults.add("reset", method="POST", after=True)
        assert run("submit", write(), "--on-unsure", "resubmit").code == 0

    def test_a_key_that_is_refused_is_told_and_never_shown(
        self, run: Run, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = json.loads(simulator.connection()) | {"password": "wrong-key-4711"}
        monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connection))
        for command in (["submit", write()], ["status", "1"], ["check"], ["export", "p", "--to", "p.csv"]):
            done = run(*command, "-v", "-o", "json")
            assert (done.code, "401" in done.err) == (1, True)
            assert "wrong-key" not in done.out + done.err

    @pytest.mark.parametrize("option", ["--run-id", "--ledger-table"])
    def test_what_needs_a_ledger(self, run: Run, option: str) -> None:
        done = run("submit", write(), option, "weekly")
        assert (done.code, f"{option} says how a ledger is used" in done.err) == (2, True)


@pytest.mark.usefixtures("simulator")
class TestLedger:
    @pytest.fixture(autouse=True)
    def ledger(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        path = tmp_path / "ledger.db"
        monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps({"conn_type": "sqlite", "host": str(path)}))
        return path

    def submit(self, run: Run, *options: str) -> Ended:
        return run("submit", "kpis.csv", "--ledger-conn-id", "ledger", "--poll-interval", "0.1", "-o", "json", *options)

    def test_a_repeat_sends_nothing(self, run: Run, simulator: RunningSimulator, ledger: Path) -> None:
        write()
        first, second = self.submit(run), self.submit(run)
        assert (first.code, second.code, posts(simulator)) == (0, 0, 1)
        assert (first.document["rows_submitted"], second.document["rows_unchanged"]) == (1, 1)
        assert (first.err, second.document["job_ids"]) == ("", [])
        with sqlite3.connect(ledger) as database:
            rows = database.execute("select dag_id, task_id, state from achieveit_submissions").fetchall()
        database.close()
        assert rows == [("achieveit_cli", "submit_progress", "applied")]

    def test_the_same_name_elsewhere_is_another_file(self, run: Run, simulator: RunningSimulator) -> None:
        write()
        Path("other").mkdir()
        self.submit(run)
        run("submit", write(name="other/kpis.csv"), "--ledger-conn-id", "ledger")
        assert posts(simulator) == 2

    def test_a_run_id_makes_them_one(self, run: Run, simulator: RunningSimulator) -> None:
        write()
        Path("other").mkdir()
        self.submit(run, "--run-id", "weekly")
        run("submit", write(name="other/kpis.csv"), "--ledger-conn-id", "ledger", "--run-id", "weekly")
        assert posts(simulator) == 1

    def test_changed_content_is_sent(self, run: Run, simulator: RunningSimulator) -> None:
        write()
        self.submit(run, "--batch-size", "1")
        write(GOOD + LATER)
        done = self.submit(run, "--batch-size", "1")
        assert (done.document["rows_unchanged"], done.document["rows_submitted"], posts(simulator)) == (1, 1, 2)

    def test_content_that_comes_back_is_sent_again(self, run: Run, simulator: RunningSimulator) -> None:
        for rows in (GOOD, LATER, GOOD):
            write(rows)
            assert self.submit(run).code == 0
        assert posts(simulator) == 3

    def test_killed_while_a_batch_went_out(self, run: Run, simulator: RunningSimulator, ledger: Path) -> None:
        write()
        self.submit(run)

        def leave_it(sent_at: str) -> None:
            with sqlite3.connect(ledger) as database:
                values = f"state = 'sending', job_id = null, ended_at = null, sent_at = {sent_at}"
                database.execute(f"update achieveit_submissions set {values}")
            database.close()

        leave_it("strftime('%Y-%m-%d %H:%M:%f', 'now')")
        assert self.submit(run).code == 75
        leave_it("strftime('%Y-%m-%d %H:%M:%f', 'now', '-31 minutes')")
        done = self.submit(run)
        assert (done.code, done.document["error"]["type"], posts(simulator)) == (3, "AchieveItUnsureSubmissionError", 1)
        assert self.submit(run, "--on-unsure", "resubmit").code == 0
        assert posts(simulator) == 2

    def test_a_ledger_that_is_none(self, run: Run, simulator: RunningSimulator) -> None:
        for conn_id, told in [("nowhere", "nowhere"), ("achieveit_default", "which is no SQL database")]:
            done = run("submit", write(), "--ledger-conn-id", conn_id)
            assert (done.code, told in done.err, posts(simulator)) == (1, True, 0)

    def test_sent_again_on_request(self, run: Run, simulator: RunningSimulator) -> None:
        write()
        self.submit(run)
        # As fast as a script may repeat it.
        for sent in (2, 3):
            assert self.submit(run, "--resubmit", "always").code == 0
            assert posts(simulator) == sent

    def test_a_repeat_goes_on_waiting(self, run: Run, simulator: RunningSimulator) -> None:
        write()
        simulator.faults.add("status", path="/status/", status=202, times=None)
        first = self.submit(run, "--wait-timeout", "0.1")
        assert (first.code, first.document["error"]["type"]) == (75, "AchieveItJobTimeoutError")
        simulator.faults.clear()
        second = self.submit(run)
        assert (second.code, posts(simulator)) == (0, 1)
        # Found applied by a look.
        assert second.document["rows_unchanged"] == 1
        assert [batch["job_id"] for batch in second.document["batches"]] == first.document["job_ids"]


@pytest.mark.usefixtures("simulator")
class TestStatus:
    def test_every_state_and_its_code(self, run: Run, simulator: RunningSimulator) -> None:
        [applied] = run("submit", write(), "-o", "json").document["job_ids"]
        [refused] = run("submit", write("nobody,On Track,1,2026-01-05,\n"), "-o", "json").document["job_ids"]
        simulator.world.settings.job_seconds = 60
        [pending] = run("submit", write(LATER), "--no-wait", "-o", "json").document["job_ids"]
        expected = [((applied,), 0), ((applied, pending), 75), ((pending, refused, applied), 1), (("no such",), 1)]
        for job_ids, code in expected:
            assert run("status", *job_ids).code == code
        done = run("status", pending, refused, "no such", applied, applied, "-o", "json")
        states = {job["job_id"]: job["state"] for job in done.document["jobs"]}
        assert states == {pending: "pending", refused: "refused", "no such": "missing", applied: "applied"}
        assert "nobody" in done.document["jobs"][1]["reason"]

    def test_one_500_is_no_failed_job(
        self, run: Run, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("airflow_provider_achieveit.cli.commands._LOOK_PAUSE", 0.05)
        [job_id] = run("submit", write(), "-o", "json").document["job_ids"]
        simulator.faults.add("status", path="/status/", status=500, times=2)
        assert run("status", job_id).code == 0
        simulator.faults.add("status", path="/status/", status=500, times=None)
        done = run("status", job_id, "-o", "json")
        assert (done.code, done.document["jobs"][0]["state"]) == (1, "failed")

    def test_achieveit_is_away(self, run: Run, simulator: RunningSimulator) -> None:
        simulator.faults.add("status", path="/status/", status=503)
        done = run("status", "1")
        assert (done.code, "HTTP 503" in done.err) == (75, True)

    def test_an_empty_id(self, run: Run) -> None:
        assert run("status", " ").code == 2


@pytest.mark.usefixtures("simulator")
class TestExport:
    def test_writes_what_the_operator_writes(self, run: Run, tmp_path: Path, airflow_db: None) -> None:
        for path in ("plan 1.jsonl", f"file://{tmp_path}/2.jsonl"):
            done = run("export", DEMO_PLAN_ID, "--to", path, "--page-size", "20", "--no-unescape-html", "-o", "json")
            assert (done.code, done.document["items"], done.document["pages"]) == (0, 61, 4)
        with DAG("export", schedule=None) as dag:
            AchieveItExportPlanToFileOperator(
                task_id="export", plan_id=DEMO_PLAN_ID, path=str(tmp_path / "3.jsonl"), unescape_html=False
            )
        assert run_dag(dag).state == "success"
        assert len({(tmp_path / name).read_bytes() for name in ("plan 1.jsonl", "2.jsonl", "3.jsonl")}) == 1

    @pytest.mark.parametrize(
        ("options", "code", "told"),
        [
            (["--to", "plan.xls"], 1, "'.xls', which tells no format"),
            (["--to", "directory.csv"], 1, "it is a directory"),
            (["--to", "plan.csv", "--page-size", "1501"], 2, "page_size must be a whole number from 1 to 1500"),
            (["--to", "plan.csv", "--conn-id", "none"], 1, "There is no connection 'none'"),
            ([], 2, "the following arguments are required: --to"),
        ],
    )
    def test_what_cannot_be(self, run: Run, options: list[str], code: int, told: str) -> None:
        Path("directory.csv").mkdir()
        done = run("export", DEMO_PLAN_ID, *options)
        assert (done.code, told in done.err) == (code, True)
        assert not Path("plan.csv").exists()

    def test_a_plan_that_keeps_changing(self, run: Run, simulator: RunningSimulator) -> None:
        simulator.faults.add("mutate", path="skip=19", times=None, changes=["delete"])
        done = run("export", DEMO_PLAN_ID, "--to", "plan.csv", "--page-size", "20", "--max-reads", "2")
        assert (done.code, "changed while it was read, 2 time(s)" in done.err) == (75, True)


class TestCheck:
    def test_a_connection_that_works(self, run: Run, simulator: RunningSimulator) -> None:
        done = run("check", "-o", "json")
        assert (done.code, done.document["conn_id"]) == (0, "achieveit_default")
        assert "61 items" in done.document["message"]

    def test_a_connection_in_airflows_database(
        self, run: Run, simulator: RunningSimulator, airflow_db: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow.models import Connection
        from airflow.utils.session import create_session

        known = json.loads(simulator.connection())
        with create_session() as session:
            session.add(
                Connection(
                    conn_id="of_cli",
                    conn_type="achieveit",
                    host=known["host"],
                    password=known["password"],
                    extra=json.dumps(known["extra"]),
                )
            )
        monkeypatch.delenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT")
        done = run("check", "--conn-id", "of_cli")
        assert (done.code, done.err) == (0, "")
        assert run("check").code == 1


def test_the_module_tells_its_own_name_and_what_can_be_done(run: Run) -> None:
    done = run("--help")
    assert done.code == 0
    assert done.out.startswith("usage: python -m airflow_provider_achieveit [-h] COMMAND ...")
    for name in ("check", "validate", "submit", "status", "export", "simulate"):
        assert re.search(rf"^ +{name} ", done.out, re.MULTILINE)


OPERATORS: dict[str, Any] = {
    "validate": AchieveItSubmitProgressUpdatesOperator,
    "submit": AchieveItSubmitProgressUpdatesOperator,
    "export": AchieveItExportPlanToFileOperator,
}
OWN_OPTIONS = {"kind", "output", "verbose", "run_id", "dry_run"}
TOLD_IN_WORDS = {
    "columns": "columns of these names",
    "wait_for_completion": "wait",
    "format": {"csv": "csv", None: "by its extension"},
}


@pytest.mark.parametrize("name", OPERATORS)
def test_every_option_is_an_argument_of_the_operator_with_its_default(name: str) -> None:
    parameters: dict[str, inspect.Parameter] = {}
    for cls in reversed(OPERATORS[name].__mro__):
        parameters |= inspect.signature(cls.__init__).parameters
    [command] = [command for command in COMMANDS if command.name == name]
    for arg in command.args:
        dest = arg.kwargs.get("dest") or arg.flags[-1].lstrip("-").replace("-", "_")
        if dest in OWN_OPTIONS:
            continue
        default = parameters[dest].default
        if told := re.search(r"\(default: (.*?)\)|\((\w+), default\)", arg.kwargs["help"]):
            words = TOLD_IN_WORDS.get(dest, f"{default:g}" if isinstance(default, float) else str(default))
            assert (told.group(1) or told.group(2)) == (words[default] if isinstance(words, dict) else words), dest
