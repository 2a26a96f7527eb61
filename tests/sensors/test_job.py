"""The sensor, run by Airflow against the simulator."""

from __future__ import annotations

import itertools
import time
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowSensorTimeout

from airflow_provider_achieveit.exceptions import (
    AchieveItAuthError,
    AchieveItJobFailedError,
    AchieveItJobRefusedError,
    AchieveItJobTimeoutError,
    AchieveItRequestError,
)
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.sensors.job import AchieveItJobSensor
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.dag_runs import run_dag

pytestmark = pytest.mark.usefixtures("airflow_db")
_numbers = itertools.count()

GOOD = b"External ID,Status,Metric Value,As Of Date\npat-nps,On Track,41,2026-01-05"
BAD = b"External ID\nnope"
both_ways = pytest.mark.parametrize("deferrable", [False, True])


def submit(body: bytes = GOOD) -> str:
    return AchieveItHook().submit_updates(kind="progress", filename="a.csv", body=body)


def wait(job_id: Any, **options: Any) -> tuple[str, BaseException | None]:
    """Run a DAG of one sensor; return the task's state and its last error."""
    errors: list[BaseException] = []
    with DAG(f"sensor_{next(_numbers)}", schedule=None) as dag:
        AchieveItJobSensor(
            task_id="wait",
            job_id=job_id,
            retry_delay=timedelta(0),
            on_failure_callback=lambda context: errors.append(context["exception"]),
            **{"poke_interval": 0.05, "timeout": 20, **options},
        )
    return run_dag(dag).task_state("wait"), errors[-1] if errors else None


@both_ways
def test_waits_for_all(simulator: RunningSimulator, deferrable: bool) -> None:
    simulator.world.settings.job_seconds = 0.2
    jobs = [submit(), submit()]
    assert wait(jobs, deferrable=deferrable) == ("success", None)
    assert all(job.done for job in simulator.world.jobs.values())


@both_ways
def test_refused(simulator: RunningSimulator, deferrable: bool) -> None:
    job = submit(BAD)
    state, error = wait(job, deferrable=deferrable, retries=2)
    assert state == "failed"
    assert isinstance(error, AchieveItJobRefusedError)
    assert error.job_id == job


@both_ways
def test_one_500_is_no_failure_and_three_are(simulator: RunningSimulator, deferrable: bool) -> None:
    job = submit()
    simulator.faults.add("status", method="GET", status=500, times=2)
    assert wait(job, deferrable=deferrable)[0] == "success"
    simulator.faults.add("status", method="GET", status=500, times=None)
    state, error = wait(job, deferrable=deferrable)
    assert state == "failed"
    assert isinstance(error, AchieveItJobFailedError)
    assert not isinstance(error, AchieveItJobRefusedError)


@both_ways
def test_the_timeout(simulator: RunningSimulator, deferrable: bool) -> None:
    simulator.world.settings.job_seconds = 60
    state, error = wait(submit(), deferrable=deferrable, timeout=0.3)
    assert state == "failed"
    assert isinstance(error, AchieveItJobTimeoutError if deferrable else AirflowSensorTimeout)


def test_execution_timeout_holds_while_deferred(simulator: RunningSimulator) -> None:
    simulator.world.settings.job_seconds = 60
    state, error = wait(submit(), deferrable=True, timeout=60, execution_timeout=timedelta(seconds=0.5))
    assert state == "failed"
    assert isinstance(error, AchieveItJobTimeoutError)


def test_the_wrong_kind_is_guessed_at(simulator: RunningSimulator) -> None:
    """Deferred: without, the timeout is Airflow's own error, which cannot tell."""
    _, error = wait(submit(), kind="metric", deferrable=True, timeout=0.3)
    assert "of this kind of updates?" in str(error)


@both_ways
def test_a_job_seen_applied_is_not_asked_about_again(simulator: RunningSimulator, deferrable: bool) -> None:
    first = submit()
    while not simulator.world.jobs[first].done:
        time.sleep(0.01)
    simulator.world.settings.job_seconds = 0.3
    second = submit()
    simulator.faults.add("status", method="GET", path=first, nth=2, times=None, status=403)
    assert wait([first, second], deferrable=deferrable) == ("success", None)


@both_ways
def test_soft_fail(simulator: RunningSimulator, deferrable: bool) -> None:
    assert wait(submit(BAD), deferrable=deferrable, soft_fail=True)[0] == "skipped"


@both_ways
def test_a_refused_key_is_asked_with_once(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", simulator.connection().replace(simulator.api_key, "wrong"))
    state, error = wait(["a", "b", "c"], deferrable=deferrable)
    assert state == "failed"
    assert isinstance(error, AchieveItAuthError)
    # The asynchronous wait asks about all jobs of a round at once.
    assert len(simulator.world.requests) == (3 if deferrable else 1)


@both_ways
def test_nothing_was_sent_so_there_is_nothing_to_wait_for(deferrable: bool) -> None:
    assert wait([], deferrable=deferrable) == ("success", None)


@both_ways
def test_lists_of_lists_and_their_text(simulator: RunningSimulator, deferrable: bool) -> None:
    jobs = [submit(), submit()]
    assert wait([[jobs[0]], [], [jobs[1]]], deferrable=deferrable) == ("success", None)
    assert wait(str(jobs), deferrable=deferrable) == ("success", None)
    assert all(
        f"/status/{job}" in {r.path.removeprefix("/api/progressupdates") for r in simulator.world.requests}
        for job in jobs
    )


@both_ways
@pytest.mark.parametrize("job_id", ["", [None], [""], [7], "None, please", "{'a': 1}", "[oops"])
def test_what_is_no_job_id(deferrable: bool, job_id: Any) -> None:
    state, error = wait(job_id, deferrable=deferrable)
    assert state == "failed"
    assert isinstance(error, AchieveItRequestError)
    assert "job_id" in str(error)


def test_rescheduled_looks_confirm_a_failure(simulator: RunningSimulator) -> None:
    """Every look of this mode is another process: none remembers what the one before saw."""
    job = submit()
    simulator.faults.add("status", method="GET", status=500, times=2)
    assert wait(job, mode="reschedule")[0] == "success"
