"""The notifier, called by Airflow itself: on the worker and in the triggerer; an example shows the DAG processor."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowNotFoundException, task
from airflow.timetables.base import DagRunInfo
from pendulum import DateTime

from airflow_provider_achieveit.exceptions import AchieveItUnsureSubmissionError
from airflow_provider_achieveit.notifications.progress import AchieveItProgressNotifier
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.airflow_versions import AIRFLOW, needs_deadlines
from tests.dag_runs import TaskLog, run_dag
from tests.going_run import GoingRun, register

pytestmark = pytest.mark.usefixtures("airflow_db")
_numbers = itertools.count()

RUN = {
    "dag": DAG("nightly", schedule=None),
    "run_id": "manual__1",
    "logical_date": datetime(2026, 3, 4, 23, tzinfo=UTC),
}


def received(simulator: RunningSimulator) -> list[dict[str, str]]:
    return [
        row for batch in simulator.world.batches for row in csv.DictReader(io.StringIO(batch.body.decode(), newline=""))
    ]


def notifier(**options: Any) -> AchieveItProgressNotifier:
    return AchieveItProgressNotifier(**{"external_id": "pat-nps", "status": "On Track", "metric_value": 1, **options})


class TestCallbacksOfTasks:
    def test_one_notifier_tells_of_each_task_in_its_own_words(self, simulator: RunningSimulator) -> None:
        told = notifier(external_id="{{ task.task_id }}", metric_value="{{ ti.xcom_pull(task_ids=task.task_id) }}")
        callback = {"on_success_callback": told, "on_failure_callback": told, "retries": 0}
        with DAG(f"notified_{next(_numbers)}", schedule=None, default_args=callback) as dag:

            @task(task_id="pat-nps")
            def works() -> float:
                return 41.5

            @task(task_id="fin-margin", on_failure_callback=notifier(external_id="{{ task.task_id }}"))
            def breaks() -> float:
                raise RuntimeError("the key of something else, which is nobody's business")

            works() >> breaks()
        run = run_dag(dag, logical_date=datetime(2026, 3, 4, 23, 30, tzinfo=UTC))
        assert run.state == "failed"
        of_run = f"Airflow: DAG {dag.dag_id}, run {run.dag_run.run_id}"
        assert [tuple(row.values()) for row in received(simulator)] == [
            ("pat-nps", "On Track", "41.5", "2026-03-04", f"{of_run}, task pat-nps: success"),
            ("fin-margin", "On Track", "1", "2026-03-04", f"{of_run}, task fin-margin: failed"),
        ]
        assert [batch.filename.split(".")[:2] for batch in simulator.world.batches] == [
            [dag.dag_id, "pat-nps"],
            [dag.dag_id, "fin-margin"],
        ]

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            ({"status": "On Trakc"}, "status 'On Trakc': no such status"),
            ({"external_id": ""}, "external_id '': missing"),
            ({"as_of_date": "{{ '' }}"}, "as_of_date '': missing"),
            ({"metric_value": "{{ None }}"}, "metric_value 'None':"),
            ({"achieveit_conn_id": "nowhere"}, "There is no connection 'nowhere'"),
        ],
    )
    def test_what_cannot_be_sent_is_logged_and_the_run_goes_its_way(
        self, simulator: RunningSimulator, task_log: TaskLog, wrong: dict[str, str], told: str
    ) -> None:
        with DAG(f"notified_{next(_numbers)}", schedule=None) as dag:

            @task(on_success_callback=notifier(**wrong))
            def works() -> None: ...

            works()
        assert run_dag(dag).state == "success"
        assert told in task_log()
        assert simulator.world.requests == []


class TestCalledByHand:
    @needs_deadlines
    def test_a_run_without_dates_counts_for_today_and_nothing_unknown_is_told(
        self, simulator: RunningSimulator
    ) -> None:
        before = datetime.now(UTC).date()
        notifier(extra_statuses=["Parked"], status="parked")({})
        [row] = received(simulator)
        assert before <= date.fromisoformat(row["As Of Date"]) <= datetime.now(UTC).date()
        assert row["Status"] == "Parked"
        assert "Comment" not in row

    def test_what_was_given_is_sent(self, simulator: RunningSimulator) -> None:
        given = notifier(metric_value=Decimal("1.10"), as_of_date=date(2026, 1, 5), comment="")
        given({"dag": DAG("nightly", schedule=None), "run_id": "manual__1", "reason": "task_failure"})
        [row] = received(simulator)
        assert (row["Metric Value"], row["As Of Date"]) == ("1.10", "2026-01-05")
        assert "Comment" not in row

    def test_a_function_in_the_place_of_a_template(self, simulator: RunningSimulator) -> None:
        """Airflow 3.3 calls one."""
        notifier(comment=lambda context, jinja_env: f"about {context['run_id']}")(RUN)
        [row] = received(simulator)
        assert row["Comment"] == "about manual__1"

    def test_a_lost_answer_is_told_and_the_update_not_sent_again(self, simulator: RunningSimulator) -> None:
        simulator.faults.add("reset", method="POST", after=True)
        with pytest.raises(AchieveItUnsureSubmissionError, match="may or may not"):
            notifier().notify({})
        assert len(simulator.world.batches) == 1

    def test_statuses_that_are_none_are_refused_when_the_dag_is_parsed(self) -> None:
        with pytest.raises(ValueError, match="extra_statuses must be a list"):
            notifier(extra_statuses="Parked")


@needs_deadlines
class TestDeadlineAlerts:
    def test_a_missed_deadline_is_told_by_the_triggerer(self, simulator: RunningSimulator) -> None:
        told = {"external_id": "pat-nps", "status": "Off Track", "metric_value": "{{ 41 + 0.5 }}"}
        run = run_with_deadline(told)
        [event, end] = run.miss_deadline()
        assert (event["state"], end["state"]) == ("running", "success")
        [row] = received(simulator)
        assert (row["Status"], row["Metric Value"]) == ("Off Track", "41.5")
        assert row["As Of Date"] == "2026-03-04"
        assert row["Comment"].startswith(f"Airflow: DAG {run.dag.dag_id}, run {run.run_id}: deadline 2026-03-04 0")
        assert simulator.world.batches[0].filename.startswith(f"{run.dag.dag_id}.notifier.{run.run_id}.b0001.")

    def test_what_cannot_be_sent_fails_the_callback_with_its_reason(self, simulator: RunningSimulator) -> None:
        [_, end] = run_with_deadline({"external_id": "pat-nps", "status": "Late"}).miss_deadline()
        assert end["state"] == "failed"
        assert "The update was not sent: status 'Late': no such status" in end["body"]
        assert simulator.world.batches == []

    async def test_the_event_loop_goes_on_while_the_update_is_sent(self, simulator: RunningSimulator) -> None:
        """And so do its threads, which look up the hosts of other triggers."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        simulator.faults.add("delay", method="POST", after=True, seconds=1)
        sending = asyncio.ensure_future(_await(notifier()))
        while not simulator.world.batches:  # noqa: ASYNC110 - another thread fills them
            await asyncio.sleep(0.01)
        await asyncio.get_running_loop().getaddrinfo("localhost", 80)
        assert not sending.done()
        await sending

    async def test_a_connection_that_is_not_there_is_told(self, simulator: RunningSimulator) -> None:
        with pytest.raises(AirflowNotFoundException, match="nowhere"):
            await notifier(achieveit_conn_id="nowhere")


async def _await(told: Any) -> None:
    await told


def run_with_deadline(arguments: dict[str, Any]) -> GoingRun:
    """Make a run whose deadline lies in the past, and whose alert is the notifier with these arguments."""
    if AIRFLOW < (3, 2):
        from airflow.sdk.definitions.deadline import AsyncCallback, DeadlineAlert, DeadlineReference
    else:
        from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference

    with DAG(
        f"late_{next(_numbers)}",
        schedule=None,
        deadline=DeadlineAlert(
            reference=DeadlineReference.DAGRUN_LOGICAL_DATE,
            interval=timedelta(hours=1),
            callback=AsyncCallback(AchieveItProgressNotifier, arguments),
        ),
    ) as dag:

        @task
        def works() -> None: ...

        works()
    register(dag)
    return GoingRun(dag, "late", DagRunInfo.exact(DateTime(2026, 3, 4, 5, tzinfo=UTC)))
