"""The default retry policy, as Airflow itself applies it to tasks that fail."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator

from airflow_provider_achieveit.exceptions import AchieveItError, AchieveItUnavailableError
from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator
from airflow_provider_achieveit.operators.updates import (
    AchieveItSubmitMetricUpdatesOperator,
    AchieveItSubmitProgressUpdatesOperator,
)
from airflow_provider_achieveit.retry_policy import DEFAULT_RETRY_POLICY
from airflow_provider_achieveit.sensors.job import AchieveItJobSensor
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.airflow_versions import AIRFLOW, needs_retry_policies
from tests.dag_runs import FinishedRun, run_dag

if AIRFLOW >= (3, 3):
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryPolicy, RetryRule
    from airflow.serialization.serialized_objects import DagSerialization

    from airflow_provider_achieveit.retry_policy import AchieveItRetryPolicy

pytestmark = [needs_retry_policies, pytest.mark.usefixtures("airflow_db")]
_numbers = itertools.count()

ROW = {"external_id": "pat-nps", "status": "On Track", "metric_value": 1, "as_of_date": "2026-01-05"}
FACES: dict[type[BaseOperator], dict[str, Any]] = {
    AchieveItSubmitProgressUpdatesOperator: {"rows": [ROW]},
    AchieveItSubmitMetricUpdatesOperator: {"rows": [ROW]},
    AchieveItExportPlanOperator: {"plan_id": "p", "conn_id": "warehouse"},
    AchieveItJobSensor: {"job_id": "j"},
}
every_face = pytest.mark.parametrize("face", FACES)


class NotRetryableError(AchieveItError):
    """An error that Airflow by itself would retry."""


class FailingOperator(AchieveItSubmitProgressUpdatesOperator):
    """Fails in the way the test wants."""

    raises: Callable[[], BaseException]

    def execute(self, context: Any) -> Any:
        raise type(self).raises()


@pytest.fixture
def tries(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSimulator]:
    """A simulator of whose faults each costs a try of the task."""
    connection = json.loads(simulator.connection())
    connection["extra"]["max_retries"] = 0
    monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connection))
    return simulator


def run(operator: Callable[..., Any], *, default_args: dict[str, Any] | None = None, **options: Any) -> FinishedRun:
    with DAG(f"retry_{next(_numbers)}", schedule=None, default_args=default_args or {}) as dag:
        operator(task_id="task", **{"retry_delay": timedelta(0), "deferrable": False} | options)
    return run_dag(dag)


def moments_of_posts(simulator: RunningSimulator) -> list[float]:
    requests = [request for request in simulator.world.requests if request.method == "POST"]
    return [datetime.fromisoformat(request.received_at).timestamp() for request in requests]


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_key_that_is_not_accepted_costs_one_try(tries: RunningSimulator, deferrable: bool) -> None:
    tries.faults.add("status", status=401, times=None)
    done = run(AchieveItSubmitProgressUpdatesOperator, rows=[ROW], retries=3, deferrable=deferrable)
    assert (done.task_state("task"), done.task("task").try_number) == ("failed", 1)
    assert len(tries.world.requests) == 1


@pytest.mark.parametrize(("retryable", "attempts"), [(False, 1), (True, 3)])
def test_what_is_not_retryable_fails_at_once_also_where_airflow_would_retry(
    monkeypatch: pytest.MonkeyPatch, retryable: bool, attempts: int
) -> None:
    error = NotRetryableError("the plan is archived", retryable=retryable)
    monkeypatch.setattr(FailingOperator, "raises", lambda: error, raising=False)
    done = run(FailingOperator, rows=[ROW], retries=2)
    assert (done.task_state("task"), done.task("task").try_number) == ("failed", attempts)


def test_the_next_try_comes_when_achieveit_asked_for_it(tries: RunningSimulator) -> None:
    tries.faults.add("status", method="POST", status=503, headers={"Retry-After": "2"})
    done = run(AchieveItSubmitProgressUpdatesOperator, rows=[ROW], retries=1, poll_interval=0.05)
    assert done.task_state("task") == "success"
    first, second = moments_of_posts(tries)
    assert second - first >= 2


def test_the_next_try_is_written_down_for_the_scheduler(
    tries: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler takes the time of the next try from the row of the task, with the reason beside it."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    class LookedAtError(BaseException):
        """Ends the run when it begins to wait for the next try."""

    sleep = time.sleep

    def look(seconds: float) -> None:
        if seconds == 1:
            raise LookedAtError
        sleep(seconds)

    tries.faults.add("status", method="POST", status=429, headers={"Retry-After": "1800"}, times=None)
    name = f"retry_{next(_numbers)}"
    with DAG(name, schedule=None) as dag:
        AchieveItSubmitProgressUpdatesOperator(task_id="task", rows=[ROW], retries=1, deferrable=False)
    monkeypatch.setattr(time, "sleep", look)
    with pytest.raises(LookedAtError):
        run_dag(dag)
    with create_session() as session:
        row = session.scalars(select(TaskInstance).where(TaskInstance.dag_id == name)).one()
        assert row.state == "up_for_retry"
        assert row.next_retry_datetime() - row.end_date == timedelta(seconds=1800)
        assert row.retry_reason == "HTTP 429, AchieveIt asked to wait 1800 s"


def test_a_policy_of_the_users_own_wins(tries: RunningSimulator) -> None:
    at_once = ExceptionRetryPolicy(rules=[RetryRule(exception=AchieveItUnavailableError, action=RetryAction.FAIL)])
    tries.faults.add("status", method="POST", status=503, times=None)
    for options in ({"retry_policy": at_once}, {"default_args": {"retry_policy": at_once}}):
        done = run(AchieveItSubmitProgressUpdatesOperator, rows=[ROW], retries=3, **options)
        assert (done.task_state("task"), done.task("task").try_number) == ("failed", 1)


def test_none_is_airflows_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FailingOperator, "raises", lambda: NotRetryableError("x"), raising=False)
    done = run(FailingOperator, rows=[ROW], retries=1, retry_policy=None)
    assert done.task("task").try_number == 2


@every_face
def test_every_operator_and_sensor_has_it(face: type[BaseOperator]) -> None:
    own = ExceptionRetryPolicy(rules=[])
    assert face(task_id="a", **FACES[face]).retry_policy is DEFAULT_RETRY_POLICY
    assert face(task_id="b", **FACES[face], retry_policy=own).retry_policy is own
    assert face(task_id="c", **FACES[face], retry_policy=None).retry_policy is None
    with DAG("d", schedule=None, default_args={"retry_policy": own}):
        assert face(task_id="e", **FACES[face]).retry_policy is own


@every_face
def test_it_outlives_mapping_and_serialisation(face: type[BaseOperator]) -> None:
    own = ExceptionRetryPolicy(rules=[])
    [(name, value), *others] = FACES[face].items()
    with DAG("mapped", schedule=None) as dag:
        face(task_id="plain", **FACES[face])
        face.partial(task_id="mapped", **dict(others)).expand(**{name: [value, value]})
        face.partial(task_id="own", retry_policy=own, **dict(others)).expand(**{name: [value, value]})
    for task_id, policy in (("mapped", DEFAULT_RETRY_POLICY), ("own", own)):
        assert dag.get_task(task_id).unmap({name: value}).retry_policy is policy
    for task in DagSerialization.from_json(DagSerialization.to_json(dag)).tasks:
        assert task.has_retry_policy


def test_a_mapped_task_is_retried_when_achieveit_asked_for_it(tries: RunningSimulator) -> None:
    tries.faults.add("status", method="POST", status=503, headers={"Retry-After": "2"})
    with DAG(f"retry_{next(_numbers)}", schedule=None) as dag:
        AchieveItSubmitProgressUpdatesOperator.partial(
            task_id="task", retries=1, retry_delay=timedelta(0), deferrable=False, poll_interval=0.05
        ).expand(rows=[[ROW]])
    assert run_dag(dag).task_state("task", map_index=0) == "success"
    first, second = moments_of_posts(tries)
    assert second - first >= 2


def decided(asked: float | None, *, retry_delay: float, try_number: int = 1, **options: Any) -> float | None:
    """Return the seconds the policy asks for, or None where it leaves them to Airflow."""
    error = AchieveItUnavailableError("busy", status=503, retryable=True, retry_after=asked)
    task = BaseOperator(task_id="t", retry_delay=timedelta(seconds=retry_delay), **options)
    decision = AchieveItRetryPolicy().evaluate(error, try_number, 3, context={"task": task})  # type: ignore[typeddict-item]
    assert decision.action is (RetryAction.DEFAULT if decision.retry_delay is None else RetryAction.RETRY)
    return None if decision.retry_delay is None else decision.retry_delay.total_seconds()


def test_a_retry_never_comes_sooner_than_the_task_says() -> None:
    """Else tries that were meant to last over an outage would be used up in seconds."""
    assert decided(30, retry_delay=300) is None
    assert decided(400, retry_delay=300) == 400
    assert decided(400, retry_delay=100, retry_exponential_backoff=2, try_number=2) == 400
    assert decided(400, retry_delay=100, retry_exponential_backoff=2, try_number=4) is None
    assert decided(400, retry_delay=100, retry_exponential_backoff=2, try_number=10_000) is None


def test_the_longest_delay_of_the_task_holds() -> None:
    assert decided(400, retry_delay=10, max_retry_delay=60) == 60


@pytest.mark.parametrize("asked", [None, 0])
def test_nothing_asked_is_airflows_own_delay(asked: float | None) -> None:
    assert decided(asked, retry_delay=0) is None


def test_what_is_not_ours_is_left_to_airflow() -> None:
    assert AchieveItRetryPolicy().evaluate(ValueError("x"), 1, 3).action is RetryAction.DEFAULT


def test_it_works_without_a_context() -> None:
    error = AchieveItUnavailableError("busy", retryable=True, retry_after=7)
    assert AchieveItRetryPolicy().evaluate(error, 1, 3).retry_delay == timedelta(seconds=7)


def test_it_can_be_stored() -> None:
    stored = json.loads(json.dumps(AchieveItRetryPolicy().serialize()))
    assert isinstance(AchieveItRetryPolicy.deserialize(stored), RetryPolicy)
