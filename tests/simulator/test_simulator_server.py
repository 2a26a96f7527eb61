"""The queue, faults down to TCP, control addresses, pages, TLS, the state file and the command."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
import requests
import trustme

from airflow_provider_achieveit.api.contract import read_job_id
from airflow_provider_achieveit.api.failure import ApiError
from airflow_provider_achieveit.api.http import ApiResponse
from airflow_provider_achieveit.simulator.faults import KINDS, Fault
from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID, custom_plan, mutate
from airflow_provider_achieveit.simulator.server import running
from airflow_provider_achieveit.simulator.world import JobState, World

GOOD = "fin-margin,On Track,0.03,2026-01-05\n"
EXPORT = f"/exports/plans/{DEMO_PLAN_ID}"


# --- The queue --------------------------------------------------------------------------------------------------------


def test_a_job_waits_and_the_next_one_behind_it(simulator, client):
    simulator.world.settings.job_seconds = 3600
    first, second = client.submit("1.csv", GOOD), client.submit("2.csv", GOOD)
    assert client.get(f"/api/progressupdates/status/{first}").status_code == 202
    assert client.get(f"/api/progressupdates/status/{second}").status_code == 202
    assert simulator.world.jobs[second].state is JobState.RECEIVED
    assert simulator.world.item("fin-margin").history == []


def test_jobs_are_processed_in_their_order(simulator, client):
    jobs = [client.submit(f"{n}.csv", f"fin-margin,On Track,{n},2026-01-05\n") for n in range(10)]
    assert client.outcome(jobs[-1]).status_code == 200
    assert [entry.value for entry in simulator.world.item("fin-margin").history] == [str(n) for n in range(10)]


@pytest.mark.parametrize("path", ["/api/progressupdates/status/unknown", "/api/metricupdates/status/{job_id}"])
def test_an_unknown_job_is_404(client, path):
    job_id = client.submit("1.csv", GOOD)
    assert client.get(path.format(job_id=job_id)).status_code == 404


@pytest.mark.parametrize("form", ["text", "json_string", "jobId", "id", "jobID", "job_id"])
def test_the_job_id_comes_in_each_form(simulator, client, form):
    simulator.world.settings.job_id_form = form
    answer = client.post("/api/progressupdates/1.csv", data=GOOD.encode())
    (job_id,) = simulator.world.jobs
    assert answer.text == {"text": job_id, "json_string": f'"{job_id}"'}.get(form, json.dumps({form: job_id}))
    assert read_job_id(ApiResponse(200, {}, answer.content)) == job_id


def test_the_job_id_may_be_kept_back(simulator, client):
    simulator.world.settings.job_id_form = "none"
    answer = client.post("/api/progressupdates/1.csv", data=GOOD.encode())
    assert (answer.status_code, answer.content, len(simulator.world.jobs)) == (200, b"", 1)
    with pytest.raises(ApiError, match="no job id"):
        read_job_id(ApiResponse(200, {}, answer.content))


@pytest.mark.parametrize(
    ("form", "body"), [("text", "processed"), ("json", '{"status":"processed","message":""}'), ("empty", "")]
)
def test_the_state_of_a_job_comes_with_each_body(simulator, client, form, body):
    simulator.world.settings.status_body = form
    answer = client.outcome(client.submit("1.csv", GOOD))
    assert (answer.status_code, answer.text) == (200, body)


def test_a_wrong_key_may_be_403(simulator, client):
    simulator.world.settings.refused_key_status = 403
    assert client.get(EXPORT, headers={"Authorization": "API-KEY wrong"}).status_code == 403


# --- Faults -----------------------------------------------------------------------------------------------------------


def test_status_fault_with_headers_for_two_requests_from_the_second_on(simulator, client):
    simulator.faults.add(
        "status", path="^/exports/", status=429, headers={"Retry-After": "7"}, body="slow down", nth=2, times=2
    )
    answers = [client.get(EXPORT) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 200]
    assert (answers[1].headers["Retry-After"], answers[1].text) == ("7", "slow down")


def test_faults_match_method_and_query(simulator, client):
    rule = simulator.faults.add("status", method="get", path=r"skip=10\b", status=502, times=None)
    assert client.get(EXPORT + "?skip=1").status_code == 200
    assert client.get(EXPORT + "?skip=10").status_code == 502
    assert client.post(EXPORT + "?skip=10").status_code == 405
    assert rule.seen == 1


def test_reset_before_processing(simulator, client):
    simulator.faults.add("reset", method="POST")
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        client.post("/api/progressupdates/1.csv", data=GOOD.encode())
    assert simulator.world.jobs == {}
    assert [request.status for request in simulator.world.requests] == [None]
    assert client.outcome(client.submit("1.csv", GOOD)).status_code == 200


def test_reset_after_processing(simulator, client):
    simulator.faults.add("reset", method="POST", after=True)
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        client.post("/api/progressupdates/1.csv", data=GOOD.encode())
    (job_id,) = simulator.world.jobs
    assert client.outcome(job_id).status_code == 200
    assert len(simulator.world.item("fin-margin").history) == 1


@pytest.mark.parametrize("after", [False, True])
def test_a_bad_gateway_before_and_after_processing(simulator, client, after):
    simulator.faults.add("status", method="POST", status=502, after=after)
    assert client.post("/api/progressupdates/1.csv", data=GOOD.encode()).status_code == 502
    assert len(simulator.world.jobs) == after


def test_redirect(simulator, client):
    simulator.faults.add("redirect", status=301, location="https://elsewhere.example/")
    answer = client.post("/api/progressupdates/1.csv", data=GOOD.encode())
    assert (answer.status_code, answer.headers["Location"]) == (301, "https://elsewhere.example/")
    assert simulator.world.jobs == {}


def test_truncated_answer(simulator, client):
    simulator.faults.add("truncate", path="/exports/")
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        client.get(EXPORT)
    assert client.get(EXPORT).json()["totalCount"] == 61


def test_a_slow_answer_comes_whole_and_byte_by_byte(simulator, client):
    simulator.faults.add("slow", method="POST", seconds=0.002)
    began = time.monotonic()
    with client.post("/api/progressupdates/1.csv", data=GOOD.encode(), stream=True) as answer:
        assert time.monotonic() - began > 0.1, "the headers, too"
        assert answer.json() in simulator.world.jobs
    assert client.outcome(answer.json()).status_code == 200


def test_a_slow_answer_ends_when_its_client_leaves(simulator, client):
    simulator.faults.add("slow", method="POST", seconds=0.5)
    with pytest.raises(requests.ReadTimeout):
        client.post("/api/progressupdates/1.csv", data=GOOD.encode(), timeout=0.1)
    assert len(simulator.world.jobs) == 1
    assert client.get(EXPORT).status_code == 200


def test_a_delayed_answer_is_processed_or_not(simulator, client):
    simulator.faults.add("delay", method="POST", seconds=3600, after=True)
    with pytest.raises(requests.ReadTimeout):
        client.post("/api/progressupdates/late.csv", data=GOOD.encode(), timeout=1)
    simulator.faults.add("delay", method="POST", seconds=3600)
    with pytest.raises(requests.ReadTimeout):
        client.post("/api/progressupdates/never.csv", data=GOOD.encode(), timeout=1)
    assert [batch.filename for batch in simulator.world.batches] == ["late.csv"]


def test_faults_add_up(simulator, client):
    simulator.faults.add("delay", seconds=0.01)
    simulator.faults.add("mutate", changes=["insert"])
    simulator.faults.add("status", status=503)
    assert client.get(EXPORT).status_code == 503
    assert client.get(EXPORT).json()["totalCount"] == 62


def test_a_job_may_fail_on_the_servers_side(simulator, client):
    simulator.faults.add("fail_job", method="POST")
    answer = client.outcome(client.submit("1.csv", GOOD))
    assert answer.status_code == 500
    assert simulator.world.item("fin-margin").history == []
    assert client.outcome(client.submit("1.csv", GOOD)).status_code == 200


@pytest.mark.parametrize(
    ("changes", "total", "seen_twice", "missed"),
    [(["insert"], 62, 1, 0), (["delete"], 60, 0, 1), (["move"], 61, 0, 1), (["edit"], 61, 0, 0)],
)
def test_a_plan_that_changes_between_pages(simulator, client, changes, total, seen_twice, missed):
    before = {item.fields["id"] for item in simulator.world.items()}
    simulator.faults.add("mutate", path="skip=30", changes=changes, seed=3)
    first = client.get(EXPORT + "?take=30").json()
    second = client.get(EXPORT + "?skip=30&take=30").json()
    ids = [item["id"] for page in (first, second) for item in page["items"]]
    assert (first["totalCount"], second["totalCount"]) == (61, total)
    assert len(ids) - len(set(ids)) == seen_twice
    ids += [item["id"] for item in client.get(EXPORT + "?skip=60&take=30").json()["items"]]
    present = {item.fields["id"] for item in simulator.world.items()}
    assert len((before & present) - set(ids)) == missed


def test_changes_leave_a_proper_outline(simulator):
    plan = simulator.world.plans[DEMO_PLAN_ID]
    for seed in range(30):
        mutate(plan, ["insert", "delete", "move", "edit", "delete"], seed=seed)
    numbers = [item.fields["sequenceId"] for item in plan.items]
    assert numbers == sorted(set(numbers), key=lambda text: [int(part) for part in text.split(".")])
    assert all(number.count(".") == 0 or number.rpartition(".")[0] in numbers for number in numbers)
    assert [item.fields["rowNumber"] for item in plan.items] == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kind": "explode"}, "unknown kind"),
        ({"kind": "redirect"}, "location"),
        ({"kind": "status", "path": "("}, "regular expression"),
        ({"kind": "status", "nth": 0}, "count from 1"),
        ({"kind": "status", "code": 500}, "'code'"),
        ({"kind": "status", "status": 99}, "between 200 and 599"),
        ({"kind": "delay", "seconds": -1}, "negative"),
        ({"kind": "delay", "seconds": "long"}, "not supported"),
        ({"kind": "mutate", "changes": ["paint"]}, "'paint'"),
    ],
)
def test_a_wrong_rule_is_refused(simulator, client, options, told):
    with pytest.raises(ValueError, match=told):
        simulator.faults.add(**options)
    answer = client.post("/_simulator/faults", json=options)
    assert answer.status_code == 400
    assert told in answer.json()["detail"]


# --- Control addresses and pages --------------------------------------------------------------------------------------


def test_faults_over_http(client):
    rule = {"kind": "status", "status": 500, "path": "/exports/", "times": None}
    assert client.put("/_simulator/faults", json=[rule]).json() == [
        {**client.get("/_simulator/faults").json()[0], **rule}
    ]
    assert client.get(EXPORT).status_code == 500
    assert client.get("/_simulator/faults").json()[0]["seen"] == 1
    assert client.delete("/_simulator/faults").json() == []
    assert client.get(EXPORT).status_code == 200


def test_plans_over_http(client):
    made = client.put(
        "/_simulator/plans/mine", json={"name": "Mine", "items": [{"externalId": "k", "hasMetric": True}]}
    )
    assert made.json() == {"id": "mine", "name": "Mine", "items": 1}
    assert client.outcome(client.submit("1.csv", "k,At Risk,1.50,2026-01-05,ok\n")).status_code == 200
    plan = client.get("/_simulator/plans/mine").json()
    assert (
        plan["items"][0]["history"][0]["value"] == client.get("/exports/plans/mine").json()["items"][0]["currentValue"]
    )
    assert client.put("/_simulator/plans/many", json={"generate": 12, "seed": 3}).json()["items"] == 12
    assert client.post("/_simulator/plans/many/mutate", json={"changes": ["insert", "insert"]}).json()["items"] == 14
    assert [plan["id"] for plan in client.get("/_simulator/plans").json()] == [DEMO_PLAN_ID, "mine", "many"]
    assert client.delete("/_simulator/plans/many").status_code == 200
    assert client.get("/_simulator/plans/many").status_code == 404


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ({}, "items"),
        ({"items": [1]}, "items"),
        ({"generate": -1}, "generate"),
        ({"items": [{"externalId": "a"}, {"externalId": "a"}]}, "two items have the externalId 'a'"),
        ([], "list"),
    ],
)
def test_a_wrong_plan_is_refused(client, plan, told):
    answer = client.put("/_simulator/plans/mine", json=plan)
    assert answer.status_code == 400
    assert told in answer.json()["detail"]


def test_settings_and_users_over_http(client):
    assert client.patch("/_simulator/settings", json={"job_id_form": "text", "statuses": ["Good"]}).status_code == 200
    assert client.get("/_simulator/settings").json()["statuses"] == ["Good"]
    assert client.put("/_simulator/users", json={"new-key": {"name": "Ann", "plans": []}}).status_code == 200
    assert client.get(EXPORT).status_code == 401
    client.headers["Authorization"] = "API-KEY new-key"
    assert client.get(EXPORT).status_code == 403
    assert client.put("/_simulator/users", json={}).status_code == 400
    assert client.put("/_simulator/users", json={"a": {"name": "Ann"}, "b": {"name": "Ann"}}).status_code == 400


@pytest.mark.parametrize(
    "settings",
    [
        {"job_id_form": "xml"},
        {"color": 1},
        {"job_seconds": -1},
        {"job_seconds": "2"},
        {"statuses": "Good"},
        {"statuses": []},
        {"unknown_plan_status": 500},
        {"refused_key_status": 200},
        {"status_body": "xml"},
        {"unknown_sort_keys": ["id"]},
        {"export_addresses": ["old"]},
        5,
    ],
)
def test_wrong_settings_are_refused(simulator, client, settings):
    before = simulator.world.settings
    assert client.patch("/_simulator/settings", json=settings).status_code == 400
    assert simulator.world.settings == before


def test_what_was_received_is_shown_without_the_key(simulator, client):
    client.outcome(client.submit("1.csv", GOOD))
    client.outcome(client.submit("2.csv", b"\xff"))
    log = client.get("/_simulator/log").text
    assert simulator.api_key not in log
    first = json.loads(log)[0]
    assert (first["method"], first["path"], first["status"]) == ("POST", "/api/progressupdates/1.csv", 200)
    assert first["headers"]["authorization"] == "API-KEY ***"
    batches = client.get("/_simulator/batches").json()
    assert [batch["body"] for batch in batches] == [{"text": GOOD}, {"base64": "/w=="}]
    assert [job["state"] for job in client.get("/_simulator/jobs").json()] == ["processed", "refused"]
    assert client.delete("/_simulator/log").json() == []
    assert simulator.world.requests == []


def test_reset_goes_back_to_the_start(connect):
    with running(job_seconds=0.001) as simulator:
        client = connect(simulator)
        before = simulator.world.to_json()
        client.outcome(client.submit("1.csv", GOOD))
        simulator.faults.add("status")
        client.put("/_simulator/plans/more", json={"generate": 1})
        client.patch("/_simulator/settings", json={"job_seconds": 3600})
        assert client.post("/_simulator/reset").status_code == 200
        assert simulator.world.to_json() == before
        assert simulator.world.settings.job_seconds == 0.001
        assert client.get(EXPORT).status_code == 200


def test_the_page_shows_everything_and_escapes_it(connect):
    hostile = "<script>alert('x')</script>"
    item = {"externalId": "k<i>", "name": hostile, "hasMetric": True, "target": hostile, "statusName": hostile}
    with running(world=World([custom_plan("p", {"name": hostile, "items": [item]})])) as simulator:
        client = connect(simulator)
        client.outcome(client.submit("%3Cb%3E.csv", f"k<i>,At Risk,7,2026-01-05,{hostile}\n"))
        client.outcome(client.submit("2.csv", f"{hostile},At Risk,7,2026-01-05\n"))
        page = client.get("/").text
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 6
    for shown in ("k&lt;i&gt;", "&lt;b&gt;.csv", "At Risk", "processed", "refused", "no plan item has the external id"):
        assert shown in page
    assert not re.search(r"(src|href)=.?(https?:)?//", page)


def test_the_page_of_a_great_plan_stays_small(client):
    client.put("/_simulator/plans/great", json={"generate": 3000})
    page = client.get("/").text
    assert "3,000 items · the first 300 are shown" in page
    assert page.count("<tr ") < 400


def test_openapi_page_and_document(client):
    paths = client.get("/swagger/v1/swagger.json").json()["paths"]
    assert sorted(paths) == [
        "/api/metricupdates/status/{job_id}",
        "/api/metricupdates/{filename}",
        "/api/progressupdates/status/{job_id}",
        "/api/progressupdates/{filename}",
        "/exports/plans/{plan_id}",
        "/plans/{plan_id}/items",
    ]
    page = client.get("/swagger/").text
    assert all(path in page for path in paths)
    assert "sortKey" in page
    assert "indentedName" in page
    assert not re.search(r"(src|href)=.?(https?:)?//", page)


# --- TLS --------------------------------------------------------------------------------------------------------------


def test_tls_is_verified_by_its_own_ca(tmp_path, connect):
    ca_file = tmp_path / "ca.pem"
    with running(tls=True, ca_file=ca_file, tls_names=["simulator"]) as simulator:
        assert simulator.url.startswith("https://127.0.0.1:")
        client = connect(simulator)
        client.verify = str(simulator.ca_file)
        assert client.get(EXPORT).status_code == 200
        client.base = client.base.replace("127.0.0.1", "localhost")
        assert client.get(EXPORT).status_code == 200
        stranger = connect(simulator)
        with pytest.raises(requests.exceptions.SSLError, match="certificate verify failed"):
            stranger.get(EXPORT)
        extra = json.loads(simulator.connection())["extra"]
        assert extra == {"verify": str(ca_file), "plan_id": DEMO_PLAN_ID}


def test_reset_over_tls(connect):
    with running(tls=True) as simulator:
        client = connect(simulator)
        client.verify = str(simulator.ca_file)
        simulator.faults.add("reset")
        with pytest.raises(requests.ConnectionError):
            client.get(EXPORT)
        assert client.get(EXPORT).status_code == 200
    assert simulator.ca_file is not None
    assert not simulator.ca_file.exists()


def test_an_earlier_connection_goes_on_after_a_restart(tmp_path, connect, kept):
    with running(tls=True, **kept) as simulator:
        ca_file, first = simulator.ca_file, simulator.ca_file.read_bytes()
        assert ca_file.parent == tmp_path
    copied = tmp_path / "copied.pem"
    copied.write_bytes(first)
    with running(tls=True, tls_names=["more.example"], **kept) as simulator:
        client = connect(simulator)
        client.verify = str(copied)
        assert client.get(EXPORT).status_code == 200
    assert ca_file.read_bytes() == first
    assert ca_file.with_name(f"{ca_file.name}.key").stat().st_mode & 0o777 == 0o600


@pytest.fixture(params=["ca_file", "state_file"])
def kept(request, tmp_path):
    """The options that make the CA last."""
    return {request.param: tmp_path / "kept.pem"}


@pytest.mark.parametrize("spoilt", ["key gone", "key of another", "key torn", "certificate torn", "expired"])
def test_a_ca_that_is_of_no_use_is_replaced(tmp_path, connect, monkeypatch, spoilt):
    ca_file, key_file = tmp_path / "ca.pem", tmp_path / "ca.pem.key"
    with monkeypatch.context() as patched:
        if spoilt == "expired":
            patched.setattr(trustme, "DEFAULT_EXPIRY", datetime(2020, 1, 1))
        authority = trustme.CA()
    ca_file.write_bytes(authority.cert_pem.bytes())
    key_file.write_bytes(authority.private_key_pem.bytes())
    if spoilt == "key gone":
        key_file.unlink()
    elif spoilt == "key of another":
        key_file.write_bytes(trustme.CA().private_key_pem.bytes())
    elif spoilt != "expired":
        torn = key_file if spoilt == "key torn" else ca_file
        torn.write_bytes(torn.read_bytes()[:50])
    with running(tls=True, ca_file=ca_file) as simulator:
        client = connect(simulator)
        client.verify = str(ca_file)
        assert client.get(EXPORT).status_code == 200
    assert ca_file.read_bytes() != authority.cert_pem.bytes()
    assert key_file.stat().st_mode & 0o777 == 0o600


# --- State file -------------------------------------------------------------------------------------------------------


def test_the_state_survives_and_waiting_jobs_go_on(tmp_path, connect):
    state = tmp_path / "state.json"
    with running(state_file=state, job_seconds=0) as simulator:
        client = connect(simulator)
        client.put("/_simulator/plans/mine", json={"items": [{"externalId": "k", "name": "Grüße & <b>"}]})
        done = client.submit("1.csv", "k,At Risk,,2026-01-05,ok 📉\n")
        assert client.outcome(done).status_code == 200
        simulator.world.settings.job_seconds = 3600
        waiting = client.submit("2.csv", GOOD)
        # What was answered is on disk already: a killed simulator loses no job.
        saved = json.loads(state.read_text())
        assert [job["job_id"] for job in saved["jobs"]] == [done, waiting]
        exported = client.get("/exports/plans/mine").json()
    with running(state_file=state, job_seconds=0) as simulator:
        client = connect(simulator)
        assert client.get("/exports/plans/mine").json() == exported
        assert client.get(f"/api/progressupdates/status/{done}").status_code == 200
        assert client.outcome(waiting).status_code == 200
        assert [batch.body for batch in simulator.world.batches] == [
            "k,At Risk,,2026-01-05,ok 📉\n".encode(),
            GOOD.encode(),
        ]
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"settings": {"x": 1}}'])
def test_a_broken_state_file_is_told_and_kept(tmp_path, content):
    state = tmp_path / "state.json"
    state.write_text(content)
    with pytest.raises(ValueError, match=r"state\.json"), running(state_file=state):
        pass
    assert state.read_text() == content


# --- The command ------------------------------------------------------------------------------------------------------

COMMAND = [sys.executable, "-m", "airflow_provider_achieveit.simulator"]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_command_starts_and_stops(tmp_path, stop):
    state, ca_file = tmp_path / "state.json", tmp_path / "ca.pem"
    options = ["--port", "0", "--tls", "--ca-file", str(ca_file), "--state", str(state), "--api-key", "my key"]
    process = subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        started = [process.stdout.readline() for _ in range(5)]
        variable = re.search(r"AIRFLOW_CONN_ACHIEVEIT_DEFAULT='(.*)'$", started[3])
        assert variable, started
        connection = json.loads(variable[1])
        assert (connection["conn_type"], connection["password"]) == ("achieveit", "my key")
        assert str(ca_file) in started[2]
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(
                f"{connection['host']}/exports/plans/{connection['extra']['plan_id']}",
                headers={"Authorization": f"API-KEY {connection['password']}"},
                verify=connection["extra"]["verify"],
                timeout=30,
            )
        assert answer.json()["totalCount"] == 61
    finally:
        process.send_signal(stop)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (0, "", "")
    assert json.loads(state.read_text())["users"] == {"my key": {"name": "API Account", "plans": None}}


def test_the_command_says_that_the_port_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([*COMMAND, "--port", str(port)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--state", "/nope/x.json"], "'/nope/x.json'"),
        (["--tls", "--state", "/nope/x.json"], "'/nope/x.json'"),
        (["--tls", "--ca-file", "/nope/ca.pem"], "'/nope/ca.pem.key'"),
    ],
)
def test_the_command_names_the_file_that_it_cannot_write(options, told):
    command = [*COMMAND, "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"The simulator cannot start: [Errno 2] No such file or directory: {told}\n"


def test_the_help_tells_how_to_make_it_misbehave(simulator, client):
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=60, check=True)
    example = re.search(r"curl -X POST .*\\\n.*", done.stdout)
    assert example
    curl = shlex.split(example[0])
    header, body = curl[curl.index("-H") + 1], curl[curl.index("-d") + 1]
    address = curl[3].removeprefix("http://127.0.0.1:8400")
    assert client.post(address, data=body, headers=dict([header.split(": ")])).status_code == 200
    job_id = client.submit("1.csv", GOOD)
    asked = [client.get(f"/api/progressupdates/status/{job_id}").status_code for _ in range(2)]
    assert (asked, client.outcome(job_id).status_code) == ([429, 429], 200)
    for path in re.findall(r"^  (/\S*)", done.stdout, re.MULTILINE):
        assert path == "/_simulator/" or client.get(path).status_code == 200
    assert all(kind in done.stdout for kind in KINDS)


def test_the_command_says_that_there_is_no_such_port():
    done = subprocess.run([*COMMAND, "--port", "70000"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "port 70000" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "trustme"])
def test_the_command_says_what_is_not_installed(module):
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from airflow_provider_achieveit.simulator.__main__ import main\n"
        "main(['--port', '0', '--tls'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "airflow-provider-achieveit[simulator]" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_run_beside_each_other(connect):
    with running() as one, running() as two:
        assert one.url != two.url
        client = connect(one)
        client.outcome(client.submit("1.csv", GOOD))
        assert (len(one.world.jobs), len(two.world.jobs)) == (1, 0)


def test_fault_defaults_act_once():
    fault = Fault("status")
    assert [fault.meets("GET", "/") for _ in range(3)] == [True, False, False]


def test_nothing_is_left_behind(tmp_path: Path):
    with running(state_file=tmp_path / "s.json") as simulator:
        host, port = simulator.url.removeprefix("http://").split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5).close()
