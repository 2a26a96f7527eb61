"""Many seeded schedules of faults, through the operators as Airflow runs them.

What a task says (its state, its error, its XComs) is held against what the server has written down. The rules are
one-sided, so that a busy machine, whose timeouts end requests that no fault touched, breaks none of them.
"""

from __future__ import annotations

import io
import json
import logging
import random
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_achieveit.exceptions import (
    AchieveItError,
    AchieveItJobFailedError,
    AchieveItJobRefusedError,
    AchieveItJobTimeoutError,
    AchieveItRequestError,
    AchieveItUnavailableError,
    AchieveItUnsureSubmissionError,
)
from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
from airflow_provider_achieveit.simulator.server import RunningSimulator, running
from airflow_provider_achieveit.simulator.world import Job, JobState, ReceivedRequest
from airflow_provider_achieveit.triggers.job import AchieveItJobTrigger
from tests.airflow_versions import AIRFLOW
from tests.dag_runs import run_dag, without_masked
from tests.depth import depth
from tests.fault_schedules import OtherHost, Schedule, schedule

pytestmark = pytest.mark.usefixtures("airflow_db")

CHUNKS, CHUNK = depth(8, short=2), 8
"""64 schedules in all; a chunk is one test, whose runs share the wait for requests that come late."""
KEY = "campaign-" + "key-0123456789"
"""Nobody else's, and in two parts: Airflow keeps the source of a DAG, such as this file, in its database."""
TIMEOUT = 0.2
WAIT = 1.5
NOT_TAKEN = (429, 500, 503)
"""Answers to a POST after which the same batch may be sent again."""


@dataclass
class Told:
    """One run: what was done to it, what it said, and what the server knows of it."""

    seed: int
    faults: Schedule
    options: dict[str, Any]
    state: str = ""
    tries: int = 0
    result: dict[str, Any] | None = None
    job_ids: list[str] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    ever_told: set[str] = field(default_factory=set)
    ended: float = 0.0
    posts: dict[str, list[ReceivedRequest]] = field(default_factory=dict)
    jobs: dict[str, list[Job]] = field(default_factory=dict)

    def has(self, kind: str, method: str, **how: Any) -> bool:
        """Tell whether the schedule has such a fault."""
        return any(
            name == kind and fault["method"] == method and all(fault.get(key) in wanted for key, wanted in how.items())
            for name, fault in self.faults
        )

    @property
    def took(self) -> float:
        """Seconds from the first POST to the end; before it, Airflow may have had to wake up."""
        began = min(request.received_at for posts in self.posts.values() for request in posts)
        return self.ended - datetime.fromisoformat(began).timestamp()

    @property
    def taken_but_denied(self) -> bool:
        """The server took a batch and said that it did not: nobody can know better."""
        return self.has("status", "POST", status=(500, 503), after=(True,))

    @property
    def wrong_about_jobs(self) -> bool:
        """The server said of a job that it was applied, refused or (three times) failed, and it was not so."""
        failed = [how["times"] or 3 for _, how in self.faults if (how["method"], how.get("status")) == ("GET", 500)]
        return self.has("status", "GET", status=(200, 400)) or sum(failed) >= 3


@pytest.fixture(scope="module")
def server() -> Iterator[RunningSimulator]:
    with running(job_seconds=0.02) as simulator:
        simulator.world.users[KEY] = simulator.world.users.pop(simulator.api_key)
        yield simulator


@pytest.fixture
def other_host() -> Iterator[OtherHost]:
    host = OtherHost()
    yield host
    host.close()


@pytest.fixture
def serialized(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every trigger of a deferred task, as it would stand in Airflow's database."""
    seen: list[str] = []
    serialize = AchieveItJobTrigger.serialize
    init = AchieveItJobTrigger.__init__

    def kept(self: AchieveItJobTrigger, **arguments: Any) -> None:
        init(self, **arguments)
        seen.append(json.dumps(serialize(self)))

    monkeypatch.setattr(AchieveItJobTrigger, "__init__", kept)
    return seen


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """All that any logger says, at DEBUG, with Airflow's own masking of secrets taken away."""
    package = "airflow.sdk._shared"
    if AIRFLOW < (3, 1):
        package = "airflow.utils.log" if AIRFLOW < (3,) else "airflow.sdk.execution_time"
    monkeypatch.setattr(f"{package}.secrets_masker.SecretsMasker.add_mask", lambda *_: None)
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    # It tells every look at its dictionary.
    monkeypatch.setattr(logging.getLogger("cron_descriptor"), "propagate", False)
    yield text
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_what_a_task_says_is_what_happened(
    chunk: int,
    server: RunningSimulator,
    other_host: OtherHost,
    serialized: list[str],
    logged: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    account: dict[str, Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    connection = json.loads(server.connection())
    extra = {"timeout": TIMEOUT, "connect_timeout": 2, "max_retries": 2, "allow_http": True}
    monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connection | {"password": KEY, "extra": extra}))
    # Each run would read all example DAGs again.
    monkeypatch.setattr("airflow.settings.DAGS_FOLDER", str(tmp_path))
    # The pauses before repeats are no part of the rules here.
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda seconds: None))
    with server.world.lock:
        server.world.jobs.clear()
        server.world.requests.clear()

    runs = [play(seed, server, other_host.url, account) for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK)]
    time.sleep(0.5)  # a request that was delayed is processed after its client has gone
    for told in runs:
        look_up(told, server)
        try:
            check(told)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{told}") from error

    assert other_host.received == [], "neither the key nor anything else goes to another host"
    assert not [request for request in server.world.requests if "after-POST" in request.path], "no POST is redirected"
    assert len(serialized) >= len([1 for told in runs if told.options["deferrable"] and told.state == "success"])
    errors = [line for told in runs for error in told.errors for line in traceback.format_exception(error)]
    printed = capfd.readouterr()
    said = [logged.getvalue(), without_masked(printed.out), printed.err]
    assert not_in("".join([*said, *errors, *serialized, str([told.result for told in runs])]))
    assert not_in(everything_kept())


def play(seed: int, server: RunningSimulator, other: str, account: dict[str, Any]) -> Told:
    """Run a task under the faults of a seed, to its end."""
    rng = random.Random(seed)
    faults = schedule(rng, other, key=KEY)
    options = {
        "deferrable": bool(seed % 2),
        "on_unsure": rng.choice(["fail", "fail", "resubmit"]),
        "retries": rng.randint(0, 2),
        "rows": [
            {"external_id": "pat-nps", "status": "On Track", "metric_value": row, "as_of_date": f"2026-01-0{row + 1}"}
            for row in range(rng.randint(1, 3))
        ],
    }
    told = Told(seed, faults, options)
    if rng.random() < 0.1:
        options["rows"][-1]["external_id"] = "nobody"  # AchieveIt refuses its batch

    def keep(context: Any) -> None:
        told.errors.append(context["exception"])
        # A later try tells only those that are not applied yet.
        told.ever_told.update(context["ti"].xcom_pull(task_ids="push", key="job_ids") or [])

    with DAG(f"faults_{seed}", schedule=None) as dag:
        AchieveItSubmitProgressUpdatesOperator(
            task_id="push",
            batch_size=1,
            poll_interval=0.02,
            wait_timeout=WAIT,
            retry_delay=timedelta(0),
            on_failure_callback=keep,
            on_retry_callback=keep,
            **options,
            **account,
        )
    for kind, how in faults:
        server.faults.add(kind, **how)
    try:
        run = run_dag(dag)
    finally:
        server.faults.clear()
    told.ended = time.time()
    told.state, told.tries = run.task_state("push"), run.task("push").try_number
    told.result, told.job_ids = run.xcom("push"), run.xcom("push", "job_ids")
    return told


def look_up(told: Told, server: RunningSimulator) -> None:
    """Add what the server knows: the POSTs and the jobs of each batch, in their order."""
    mine = f"faults_{told.seed}."
    for request in list(server.world.requests):
        filename = request.path.rpartition("/")[2]
        if request.method == "POST" and filename.startswith(mine):
            told.posts.setdefault(filename, []).append(request)
    for job in list(server.world.jobs.values()):
        if job.filename.startswith(mine):
            told.jobs.setdefault(job.filename, []).append(job)


def check(told: Told) -> None:
    """Hold what a task said against what the server knows."""
    check_sending(told)
    check_tries(told)
    if told.state == "success":
        check_success(told)
    else:
        assert told.state == "failed"
        assert told.result is None
        check_error(told)
    known = {job.job_id for jobs in told.jobs.values() for job in jobs}
    assert set(told.job_ids) <= known, "a job id that the server has never given"


def check_sending(told: Told) -> None:
    """No batch is sent again, or applied twice, where the rules do not allow it."""
    resubmit = told.options["on_unsure"] == "resubmit"
    for filename, posts in told.posts.items():
        jobs = told.jobs.get(filename, [])
        failed = told.wrong_about_jobs or any(job.state is JobState.FAILED for job in jobs)
        for before in posts[:-1]:
            assert before.status in NOT_TAKEN or resubmit or failed, f"sent again after {before.status}"
        applied = [job for job in jobs if job.state is JobState.PROCESSED]
        allowed = resubmit or told.taken_but_denied or told.wrong_about_jobs
        assert len(applied) <= 1 or allowed, "applied twice"
        assert len(posts) <= 3 * told.tries * (2 if resubmit else 1), "more POSTs than repeats are allowed"


def check_tries(told: Told) -> None:
    """Only what a retry may mend is retried, all of it is, and every try ends in its time."""
    for error in told.errors:
        assert isinstance(error, AchieveItError), repr(error)
    assert all(error.retryable for error in told.errors[:-1])  # type: ignore[attr-defined]
    if told.state == "failed":
        assert len(told.errors) == told.tries
        last = told.errors[-1]
        assert not last.retryable or told.tries == told.options["retries"] + 1  # type: ignore[attr-defined]
    posts = sum(len(posts) for posts in told.posts.values())
    # Each POST may drip for ten timeouts, each try wait to its deadline; the last look may take a second.
    assert told.took < 10 * TIMEOUT * posts + told.tries * (WAIT + 3) + 10, "it outlived its deadline"


def check_success(told: Told) -> None:
    """All rows are accounted for, every batch has a job that the server knows, and these are applied."""
    assert told.result is not None
    rows = len(told.options["rows"])
    assert told.result["rows_read"] == rows
    assert told.result["rows_submitted"] + told.result["rows_unchanged"] == rows
    assert told.result["rows_rejected"] == 0
    assert told.result["batch_count"] == len(told.result["batches"]) == rows
    for batch in told.result["batches"]:
        assert batch["state"] == "applied"
        [job] = [job for job in told.jobs[batch["filename"]] if job.job_id == batch["job_id"]]
        assert job.state is JobState.PROCESSED or told.wrong_about_jobs, "told as applied, and it is not"


def check_error(told: Told) -> None:
    """The error says the truth about what is at the server."""
    last = told.errors[-1]
    states = {job.state for jobs in told.jobs.values() for job in jobs}
    if isinstance(last, AchieveItUnsureSubmissionError):
        unsure = [name for name in told.posts if name in str(last)]
        assert unsure, "the error names the batches"
        lost = [post for name in unsure for post in told.posts[name] if post.status not in NOT_TAKEN]
        assert lost or "no usable answer" in str(last), "nothing was lost, yet the task is not sure"
        return
    # All others say: what I have not told as a job is not there.
    for filename, jobs in told.jobs.items():
        untold = [job for job in jobs if job.job_id not in told.ever_told and job.state is not JobState.FAILED]
        allowed = told.taken_but_denied or told.wrong_about_jobs or told.options["on_unsure"] == "resubmit"
        assert not untold or allowed, f"{filename} is there, and nobody was told"
    if isinstance(last, AchieveItJobRefusedError):
        assert JobState.REFUSED in states or told.wrong_about_jobs
    elif isinstance(last, AchieveItJobFailedError):
        assert JobState.FAILED in states or told.wrong_about_jobs
    elif isinstance(last, AchieveItJobTimeoutError):
        assert told.job_ids
    elif isinstance(last, AchieveItUnavailableError):
        assert last.status in (*NOT_TAKEN, None)
    else:
        assert isinstance(last, AchieveItError)
        refused = ("status", "redirect")
        assert any(kind in refused for kind, _ in told.faults), "refused without a reason"
        assert last.status in (400, 401, 403, 301, 302, 303, 307, 308) or isinstance(last, AchieveItRequestError)


def not_in(text: str) -> bool:
    """Tell whether the key is nowhere in a text; without the text itself, which would fill pages of a report."""
    return KEY not in text


def everything_kept() -> str:
    """Return all bytes of Airflow's metadata database (XComs, rendered fields, states) and of the tasks' log files."""
    from airflow import settings

    assert settings.engine is not None
    home = Path(str(settings.engine.url.database)).parent
    return "".join(path.read_bytes().decode("latin-1") for path in home.rglob("*") if path.is_file())
