"""The probe against tenants of several kinds: what it asks, what it reports, and what it never tells."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_achieveit.cli.probing import MARK
from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID, custom_plan, generated_plan
from airflow_provider_achieveit.simulator.server import RunningSimulator
from airflow_provider_achieveit.simulator.settings import settings_from_json
from airflow_provider_achieveit.simulator.world import User
from tests.cli.conftest import Ended
from tests.cli.test_doors import MODULE, PIPES, SECONDS, started, wait_until

Run = Callable[..., Ended]
READ_ONLY = 33
UPDATE = ("--write-item", "pat-nps", "--status", "On Track", "--as-of-date", "2026-01-05", "--metric-value", "47.5")
PROXY_PAGE = "<!DOCTYPE html><html><body>Sign in to the network of Canary Industries</body></html>"


@dataclass
class Probed:
    """A probe that has ended."""

    ended: Ended

    @property
    def document(self) -> dict[str, Any]:
        return self.ended.document

    def __getitem__(self, question: str) -> tuple[str, str]:
        """The verdict about a question, and what was seen."""
        [found] = [entry for entry in self.document["questions"] if entry["question"] == question]
        return found["verdict"], found["seen"]

    @property
    def fields(self) -> dict[str, tuple[str, str, int]]:
        return {row["field"]: (row["verdict"], row["seen"], row["missing"]) for row in self.document["fields"]}


@pytest.fixture
def probe(run: Run) -> Callable[..., Probed]:
    return lambda *arguments: Probed(run("probe", "-o", "json", *arguments))


def be(simulator: RunningSimulator, **settings: Any) -> None:
    simulator.world.settings = settings_from_json(settings, simulator.world.settings)


def methods(simulator: RunningSimulator) -> list[str]:
    return [request.method for request in simulator.world.requests]


class TestTenants:
    def test_one_of_today(self, probe: Callable[..., Probed], simulator: RunningSimulator) -> None:
        done = probe()
        assert done.ended.code == 0
        assert done["unknown_job"][1].count("404, JSON object {detail: text of 21 characters}") == 2
        assert done["export_address"][1].count("200, JSON object {items: list of 61, totalCount: number}") == 2
        assert done["take_over_maximum"] == ("as expected", "no page: 400, plain text of 18 characters")
        assert done["sort_keys"] == ("as expected", "22 of 22 accepted")
        assert done["unknown_sort_key"] == ("as expected", "no page: 400, plain text of 34 characters")
        assert done["unknown_plan"] == ("as expected", "403, JSON object {detail: text of 45 characters}")
        for question in ("missing_key", "malformed_key", "wrong_key"):
            assert done[question][0] == "as expected"
            assert "401, JSON object {detail: text" in done[question][1]
        assert done["job_id"] == done["job_status"] == ("not asked", "--write-item was not given")
        assert {row[0] for row in done.fields.values()} == {"as expected"}
        assert done.document["server"] == "other"

    def test_an_older_one(self, probe: Callable[..., Probed], simulator: RunningSimulator) -> None:
        be(simulator, export_addresses=["legacy"], older_batches=True, job_id_form="text", status_body="empty")
        be(simulator, unknown_plan_status=404)
        done = probe(*UPDATE)
        assert done.ended.code == 0
        newer, older = done["export_address"][1].split("; ")
        assert newer.startswith("newer address: 404")
        assert older.startswith("older address: 200")
        assert done["sort_keys"] == ("as expected", "22 of 22 accepted")
        assert done["unknown_plan"][1].startswith("404")
        assert done["job_id"] == ("as expected", "200, plain text: UUID")
        # The column Comment is new to it; the code is one of the documented ones.
        assert done["job_status"][0] == "as expected"
        assert done["job_status"][1].endswith("400, empty")

    def test_one_that_allows_more(self, probe: Callable[..., Probed], simulator: RunningSimulator) -> None:
        simulator.world.plans["large"] = generated_plan(1600, plan_id="large")
        be(simulator, take_over_maximum="allow", unknown_sort_key="ignore", refused_key_status=403)
        done = probe("large")
        assert done["take_over_maximum"] == ("differs", "accepted: 1501 items came")
        assert done["unknown_sort_key"] == ("as expected", "accepted")
        assert done["wrong_key"][1].count("403, ") == 2

    def test_one_that_cuts_pages(self, probe: Callable[..., Probed], simulator: RunningSimulator) -> None:
        simulator.world.plans["large"] = generated_plan(1600, plan_id="large")
        be(simulator, take_over_maximum="cut")
        assert probe("large")["take_over_maximum"] == ("as expected", "cut: 1500 of 1600 items came")
        small = probe()["take_over_maximum"]
        assert small == ("as expected", "accepted; a plan of 61 items does not show whether pages are cut")

    def test_one_that_speaks_json(self, probe: Callable[..., Probed], simulator: RunningSimulator) -> None:
        be(simulator, job_id_form="jobId", status_body="json", unknown_sort_keys=["alignsTo", "dependentOn"])
        done = probe(*UPDATE, "--format", "json")
        assert done["job_id"] == ("as expected", "200, JSON object {jobId: UUID}")
        assert "200, JSON object {status: text of 9 characters, message: empty text}" in done["job_status"][1]
        verdict, seen = done["sort_keys"]
        assert verdict == "differs"
        assert seen.startswith("20 of 22 accepted; not alignsTo: 400, ")
        [batch] = simulator.world.batches
        assert batch.content_type == "application/json; charset=utf-8"

    def test_one_that_tells_no_job_id(self, probe: Callable[..., Probed], simulator: RunningSimulator) -> None:
        be(simulator, job_id_form="none")
        done = probe(*UPDATE)
        assert done["job_id"] == ("differs", "200, empty")
        assert done["job_status"] == ("not asked", "there is no job")
        assert (done.ended.code, done.document["updates_sent"]) == (3, 1)

    def test_one_whose_fields_are_others(self, probe: Callable[..., Probed], simulator: RunningSimulator) -> None:
        items = [
            {"externalId": str(n), "riskScore": n, "PersonA": "x", "due": "12/31/2026", "units": "3", "created": ""}
            for n in range(4)
        ]
        plan = simulator.world.plans["odd"] = custom_plan("odd", {"items": items})
        for item in plan.items:
            del item.fields["isOrphan"]
        plan.items[0].fields["created"] = "2026-01-05T06:00:00.1234567Z"
        del plan.items[1].fields["units"]
        done = probe("odd")
        assert done["fields"] == ("differs", "4 items; fields: 3 differ, 1 are missing, 2 are unknown")
        assert done.fields["riskScore"] == ("unknown", "integer (4)", 0)
        assert done.fields["(name withheld)"] == ("unknown", "text (4)", 0)
        assert done.fields["due"] == ("differs", "text (4)", 0)
        assert done.fields["units"] == ("differs", "text (3)", 1)
        assert done.fields["created"] == ("differs", "empty text (3), moment finer than a microsecond (1)", 0)
        assert done.fields["isOrphan"] == ("missing", "nothing", 4)
        assert done.fields["tags[].name"] == ("not seen", "nothing", 0)

    def test_one_that_knows_no_such_plan(self, probe: Callable[..., Probed], simulator: RunningSimulator) -> None:
        done = probe("nowhere", *UPDATE)
        assert (done.ended.code, methods(simulator).count("POST")) == (1, 0)
        assert done["export_address"][0] == "differs"
        for question in ("fields", "take_over_maximum", "sort_keys", "job_id"):
            assert done[question] == ("not asked", "the plan could not be read")
        assert done["wrong_key"][0] == "as expected"

    def test_one_that_refuses_the_key(
        self, run: Run, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = json.loads(simulator.connection()) | {"password": "wrong-key-4711"}
        for extra in (connection["extra"], {"allow_http": True}):
            monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connection | {"extra": extra}))
            done = run("probe")
            assert (done.code, run("check").code) == (1, 1)
            assert "The key was not accepted (401)" in done.err
            assert "export_address" not in done.err
            assert "wrong-key" not in done.out + done.err

    def test_a_proxy_that_answers_for_it(self, probe: Callable[..., Probed], simulator: RunningSimulator) -> None:
        simulator.faults.add("status", status=200, body=PROXY_PAGE, headers={"Content-Type": "text/html"}, times=None)
        done = probe(*UPDATE)
        assert (done.ended.code, methods(simulator).count("POST")) == (1, 0)
        assert done["unknown_job"] == ("differs", "progress job: 200, HTML; metric job: 200, HTML")
        assert done["missing_key"] == ("differs", "200, HTML")
        assert "Canary" not in done.ended.out

    def test_one_that_has_moved(self, probe: Callable[..., Probed], simulator: RunningSimulator) -> None:
        simulator.faults.add("redirect", status=301, location="https://canary.example/", times=None)
        done = probe()
        assert done["export_address"] == ("differs", "newer address: 301, empty; older address: 301, empty")
        assert all(request.status == 301 for request in simulator.world.requests)
        assert "canary" not in done.ended.out


class TestRequests:
    def test_read_only_by_default(self, run: Run, simulator: RunningSimulator) -> None:
        done = run("probe")
        assert done.code == 0
        assert methods(simulator) == ["GET"] * READ_ONLY
        assert done.err == (
            f"At most {READ_ONLY} requests go out, one after the other, 4 of them without the key or with a made-up "
            f"one. All of them only read.\n{READ_ONLY} requests were sent.\n"
        )

    def test_one_marked_update_where_it_is_wanted(self, run: Run, simulator: RunningSimulator) -> None:
        done = run("probe", *UPDATE)
        assert (done.code, methods(simulator).count("POST")) == (0, 1)
        [batch] = simulator.world.batches
        assert (batch.kind, batch.body.decode().splitlines()[1]) == (
            "progress",
            f"pat-nps,On Track,47.5,2026-01-05,{MARK}",
        )
        assert [entry.comment for entry in simulator.world.item("pat-nps").history] == [MARK]
        assert f"The marked update is job {batch.job_id}." in done.err
        assert batch.job_id not in done.out

    def test_only_the_last_go_without_the_key(self, probe: Callable[..., Probed], simulator: RunningSimulator) -> None:
        probe()
        statuses = [request.status for request in simulator.world.requests]
        assert statuses[-4:] == [401] * 4
        assert 401 not in statuses[:-4]
        sent = [request.headers.get("authorization", "-").split()[0] for request in simulator.world.requests]
        assert sent[:-4] == ["API-KEY"] * (READ_ONLY - 4)
        assert sent[-4] == "-"
        assert sent[-3] != "API-KEY"
        assert sent[-2:] == ["API-KEY"] * 2

    def test_without_a_plan(
        self, probe: Callable[..., Probed], simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = json.loads(simulator.connection())
        del connection["extra"]["plan_id"]
        monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connection))
        done = probe()
        assert (done.ended.code, len(simulator.world.requests)) == (0, 7)
        assert (done.document["requests_planned"], done.document["plan"]) == (7, "none")
        assert done["export_address"] == done["fields"] == ("not asked", "no plan was named")

    def test_the_limit_of_the_connection_holds(
        self, run: Run, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("airflow_provider_achieveit.api.rate._MINUTE", 0.5)
        connection = json.loads(simulator.connection())
        connection["extra"]["max_requests_per_minute"] = 20
        monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connection))
        assert "max_requests_per_minute" in run("probe", "-v").err

    def test_it_stops_where_it_is_asked_to(self, probe: Callable[..., Probed], simulator: RunningSimulator) -> None:
        simulator.faults.add(
            "status", path="/exports/", nth=4, status=429, headers={"Retry-After": "7"}, body="Canary", times=None
        )
        done = probe(*UPDATE)
        asked = len(simulator.world.requests)
        assert (done.ended.code, done.document["requests_sent"]) == (75, asked)
        assert simulator.world.requests[-1].status == 429
        assert methods(simulator).count("POST") == 0
        assert done["rate_limit"] == (
            "as expected",
            f"429, plain text of 6 characters at request {asked}; Retry-After: 7 seconds",
        )
        assert done["wrong_key"] == ("not asked", "AchieveIt asked for fewer requests")

    def test_a_caller_without_a_key_may_be_hung_up_on(
        self, probe: Callable[..., Probed], simulator: RunningSimulator
    ) -> None:
        simulator.faults.add("reset", nth=READ_ONLY - 3, times=None)
        done = probe()
        assert done.ended.code == 0
        assert done["missing_key"] == ("no answer", "no answer to: no header")
        assert done["wrong_key"] == ("no answer", "no answer to: page")

    def test_nobody_can_tell(self, probe: Callable[..., Probed], simulator: RunningSimulator) -> None:
        simulator.faults.add("reset", method="POST", after=True)
        done = probe(*UPDATE)
        assert (done.ended.code, done.document["updates_sent"], len(simulator.world.batches)) == (3, "unsure", 1)
        assert done["job_id"] == ("no answer", "no answer to: marked update")
        assert "look at the item's history" in done.ended.err

    def test_an_update_that_is_not_taken(self, probe: Callable[..., Probed], simulator: RunningSimulator) -> None:
        simulator.faults.add("status", method="POST", status=500, times=None)
        done = probe(*UPDATE)
        assert (done.ended.code, done.document["updates_sent"], methods(simulator).count("POST")) == (0, 0, 1)
        assert done["job_id"] == ("differs", "500, empty")

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (["--write-item", "pat-nps"], "--write-item needs --status and --as-of-date"),
            (["--status", "On Track"], "--status belongs to an update; give --write-item too"),
            (["--write-item", "pat-nps", "--status", "Purple", "--as-of-date", "2026-01-05"], "no such status"),
        ],
    )
    def test_what_cannot_be_meant(self, run: Run, simulator: RunningSimulator, options: list[str], told: str) -> None:
        done = run("probe", *options)
        assert (done.code, simulator.world.requests) == (2, [])
        assert told in done.err

    def test_nobody_is_there(self, probe: Callable[..., Probed], monkeypatch: pytest.MonkeyPatch) -> None:
        connection = {"conn_type": "achieveit", "host": "http://127.0.0.1:1", "password": "canary-key"}
        connection["extra"] = {"allow_http": True, "plan_id": "canary-plan"}  # type: ignore[assignment]
        monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connection))
        done = probe("--report", "probe.md")
        assert (done.ended.code, done.document["requests_sent"], done.document["stopped"]) == (75, 2, "no answers came")
        assert "cannot be reached" in done.ended.err
        text = done.ended.out + Path("probe.md").read_text(encoding="utf-8")
        assert "canary" not in text
        assert "127.0.0.1" not in text


class TestReport:
    def test_a_file_is_never_overwritten(self, run: Run, simulator: RunningSimulator) -> None:
        Path("probe.md").write_text("mine", encoding="utf-8")
        done = run("probe", "--report", "probe.md")
        assert (done.code, simulator.world.requests) == (2, [])
        assert "probe.md: File exists. It is never overwritten: choose another name" in done.err
        assert Path("probe.md").read_text(encoding="utf-8") == "mine"

    def test_it_has_all_answers_and_fields(self, run: Run, simulator: RunningSimulator) -> None:
        done = run("probe", "--report", "probe.md")
        text = Path("probe.md").read_text(encoding="utf-8")
        assert text.count("| 401 |") == 4
        assert "| currentValue | decimal | decimal as text (33), empty text (28) | 0 | as expected |" in text
        assert "currentValue" not in done.out

    def test_ctrl_c_leaves_what_was_seen(self, simulator: RunningSimulator, tmp_path: Path) -> None:
        simulator.faults.add("delay", path="take=1501", seconds=SECONDS)
        surroundings = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        command = (*MODULE, "probe", "--report", "probe.md")
        with started(*command, **PIPES, cwd=tmp_path, env=surroundings) as process:
            wait_until(lambda: any("take=1501" in request.query for request in simulator.world.requests))
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, out) == (130, "")
        assert f"error: Interrupted after 5 of {READ_ONLY} requests.\n" in err
        text = (tmp_path / "probe.md").read_text(encoding="utf-8")
        assert "| take_over_maximum | no answer | interrupted |" in text
        assert "| sort_keys | not asked | interrupted |" in text
        assert "| export_address | as expected |" in text

    def test_nothing_of_the_plan_is_told(
        self, run: Run, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        simulator.world.users = {"canary0key0of0a0user": User("Canary")}
        connection = json.loads(simulator.connection())
        connection |= {"password": "canary0key0of0a0user"}
        monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connection))
        whole = simulator.world.plans[DEMO_PLAN_ID]
        plan = simulator.world.plans["canary-plan"] = whole
        plan.id = "canary-plan"
        for item in plan.items:
            item.fields = marked(item.fields) | {"sequenceId": item.fields["sequenceId"], "Canary Field": "canary"}
            item.external_id = f"canary {item.external_id}"
        headers = dict.fromkeys(("Server", "Retry-After", "Set-Cookie", "X-Canary", "Location"), "canary")
        for path, body in (
            ("sortKey=name", "Canary's error"),
            ("sortKey=level", json.dumps({"Canary": "canary", "message": "canary", "errors": {"canary": 1}})),
            ("/status/", PROXY_PAGE),
        ):
            simulator.faults.add("status", path=path, status=400, headers=headers, body=body, times=None)
        update = (*UPDATE[:1], "canary pat-nps", *UPDATE[2:])
        run_text = run("probe", "canary-plan", *update, "-o", "json", "--report", "probe.md").out
        text = run_text + Path("probe.md").read_text(encoding="utf-8")
        assert "assignedToFullName" in text
        assert "canary" not in text.lower()
        assert "127.0.0.1" not in text


def marked(value: Any) -> Any:
    """The same with a canary in every text."""
    if isinstance(value, dict):
        return {name: marked(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [marked(entry) for entry in value]
    return f"canary {value}" if isinstance(value, str) else value
