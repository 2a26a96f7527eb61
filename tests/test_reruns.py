"""Every row of the table in docs/delivery.md: what a retry, a clear and a backfill do, by what the account says.

The server's history is the judge: each update once, or what the row says. Killed processes are in ``tests/crashes``;
here a try ends at the same places by an exception, and the same Airflow runs the next one.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseHook, task
from airflow.utils.state import DagRunState

from airflow_provider_achieveit.api.client import AchieveItClient
from airflow_provider_achieveit.exceptions import (
    AchieveItJobRefusedError,
    AchieveItJobTimeoutError,
    AchieveItUnavailableError,
    AchieveItUnsureSubmissionError,
)
from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
from airflow_provider_achieveit.simulator.server import RunningSimulator
from airflow_provider_achieveit.stores.records import BatchState, SubmissionStore
from tests.airflow_versions import needs_nested_tasks, needs_task_state_store
from tests.going_run import GoingRun

pytestmark = pytest.mark.usefixtures("airflow_db")

DELIVERY = Path(__file__).parents[1] / "docs" / "delivery.md"
_numbers = itertools.count()
Rows = list[dict[str, Any]]


def rows(*values: int, first_day: int = 1) -> Rows:
    """Return updates of one item, one a day; with batch_size=1 each is a batch."""
    return [
        {"external_id": "pat-nps", "status": "On Track", "metric_value": value, "as_of_date": f"2026-01-{day:02}"}
        for day, value in enumerate(values, start=first_day)
    ]


class Bench:
    """A DAG of one submit task, its run, and what the server has got.

    :param simulator: the server.
    :param ledger: arguments that switch the ledger on, if it is.
    """

    def __init__(self, simulator: RunningSimulator, ledger: dict[str, Any]) -> None:
        self.simulator = simulator
        self.ledger = ledger
        self.dag_id = f"reruns_{next(_numbers)}"
        self.run: GoingRun | None = None

    def dag(self, source: Rows, **options: Any) -> DAG:
        options = {"batch_size": 1, "deferrable": False, "retries": 0, "poll_interval": 0.05, **self.ledger, **options}
        with DAG(self.dag_id, schedule=None) as dag:
            AchieveItSubmitProgressUpdatesOperator(
                task_id="push", rows=source, retry_delay=timedelta(0), retry_policy=None, **options
            )
        return dag

    def push(self, source: Rows, *, run_id: str = "run", **options: Any) -> str:
        """Run the task, or bring a cleared one to its end, as the DAG is now; return its state."""
        dag = self.dag(source, **options)
        if self.run is None or self.run.run_id != run_id:
            self.run = GoingRun(dag, run_id)
        self.run.go_on(dag)
        return str(self.run.instance("push").state)

    def clear(self) -> None:
        assert self.run is not None
        self.run.clear()

    @property
    def error(self) -> BaseException:
        assert self.run is not None
        error = self.run.errors["push", -1]
        assert error is not None
        return error

    @property
    def result(self) -> dict[str, Any]:
        assert self.run is not None
        result: dict[str, Any] = self.run.xcom("push")
        return result

    @property
    def applied(self) -> list[str]:
        """The values in the item's history, in the order they were applied."""
        return [str(entry.value) for entry in self.simulator.world.item("pat-nps").history]

    @property
    def posts(self) -> int:
        return len([request for request in self.simulator.world.requests if request.method == "POST"])

    def job_ids(self) -> list[str]:
        return list(self.simulator.world.jobs)

    def hand(self, state: str) -> None:
        """Do what docs/delivery.md tells a person to do with an unsure batch."""
        if self.ledger:
            BaseHook.get_connection("ledger").get_hook().run(
                f"update achieveit_submissions set state = '{state}' where state = 'sending'"
            )
            return
        from airflow.models.task_state_store import TaskStateStoreModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            of_dag = TaskStateStoreModel.dag_id == self.dag_id
            for entry in session.scalars(select(TaskStateStoreModel).where(of_dag)):
                if '"sending"' in entry.value:
                    assert entry.key in str(self.error), "the error names it"
                    entry.value = json.dumps({"state": state})


@pytest.fixture(params=[pytest.param("task state store", marks=needs_task_state_store), "ledger"])
def bench(
    request: pytest.FixtureRequest, simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Bench:
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "ledger.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(connection))
    return Bench(simulator, {"ledger_conn_id": "ledger"} if request.param == "ledger" else {})


@pytest.fixture
def with_ledger(bench: Bench) -> Bench:
    if not bench.ledger:
        pytest.skip("the row is about the ledger")
    return bench


@pytest.fixture
def with_task_state(bench: Bench) -> Bench:
    if bench.ledger:
        pytest.skip("the row is about the task state store")
    return bench


@pytest.fixture
def die(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """End the try where ``owner.name`` is called, or right after, for the n-th time; once."""

    def arrange(owner: Any, name: str, *, nth: int = 1, after: bool = False) -> None:
        real = getattr(owner, name)
        calls = itertools.count(1)

        def dying(*args: Any, **options: Any) -> Any:
            now = next(calls) == nth
            if now and not after:
                raise RuntimeError("the worker is gone")
            result = real(*args, **options)
            if now:
                raise RuntimeError("the worker is gone")
            return result

        monkeypatch.setattr(owner, name, dying)

    return arrange


@pytest.fixture
def slow_jobs(simulator: RunningSimulator) -> Iterator[Callable[[float], None]]:
    def slow(seconds: float) -> None:
        simulator.world.settings.job_seconds = seconds

    yield slow
    slow(0)


def store_of(bench: Bench) -> type[SubmissionStore]:
    if bench.ledger:
        from airflow_provider_achieveit.stores.ledger import Ledger

        return Ledger
    from airflow_provider_achieveit.stores.task_state import TaskStateStore

    return TaskStateStore


class TestRetry:
    @pytest.mark.parametrize("after", [False, True])
    def test_r1_died_before_anything_was_sent(self, bench: Bench, die: Callable[..., None], after: bool) -> None:
        die(store_of(bench), "plan", after=after)
        assert bench.push(rows(1, 2), retries=1) == "success"
        assert bench.applied == ["1", "2"]

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_r2_died_between_two_batches(self, bench: Bench, die: Callable[..., None], deferrable: bool) -> None:
        die(store_of(bench), "claim", nth=2)
        assert bench.push(rows(1, 2, 3), retries=1, deferrable=deferrable) == "success"
        assert (bench.applied, bench.posts) == (["1", "2", "3"], 3)
        assert bench.result["rows_submitted"] == 3

    @pytest.mark.parametrize(("after", "taken"), [(False, 0), (True, 1)])
    @pytest.mark.parametrize("on_unsure", ["fail", "resubmit"])
    def test_r3_died_around_the_post(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, after: bool, taken: int, on_unsure: str
    ) -> None:
        real = AchieveItClient.submit

        class Gone(BaseException):
            """As a killed worker: nothing behind it is done."""

        def gone(client: AchieveItClient, *args: Any) -> str:
            monkeypatch.setattr(AchieveItClient, "submit", real)
            if after:
                real(client, *args)
            raise Gone

        monkeypatch.setattr(AchieveItClient, "submit", gone)
        state = bench.push(rows(1, 2), retries=3, on_unsure=on_unsure)
        if on_unsure == "resubmit":
            assert (state, bench.applied) == ("success", ["1"] * taken + ["1", "2"])
            return
        assert state == "failed"
        assert isinstance(bench.error, AchieveItUnsureSubmissionError)
        for told in ("b0001", "1 rows", "sha256", "20", "history of the items", "set the batch's state to 'applied'"):
            assert told in str(bench.error)
        assert bench.applied == ["1"] * taken + ["2"]

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_r4_died_while_it_waited(self, bench: Bench, die: Callable[..., None], deferrable: bool) -> None:
        name = "defer" if deferrable else "_wait"
        die(AchieveItSubmitProgressUpdatesOperator, name)
        assert bench.push(rows(1, 2), retries=1, deferrable=deferrable) == "success"
        assert (bench.applied, bench.posts) == (["1", "2"], 2)
        assert bench.result["rows_submitted"] == 2

    def test_r4_the_clock_of_the_first_try_goes_on(self, bench: Bench, slow_jobs: Callable[[float], None]) -> None:
        slow_jobs(60)
        real = AchieveItSubmitProgressUpdatesOperator._deadline
        deadlines: list[float] = []

        def remembering(operator: Any, *args: Any) -> float:
            deadlines.append(real(operator, *args))
            if len(deadlines) == 1:
                raise RuntimeError("the worker is gone")
            return deadlines[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AchieveItSubmitProgressUpdatesOperator, "_deadline", remembering)
            assert bench.push(rows(1), retries=1, wait_timeout=0.5) == "failed"
        assert isinstance(bench.error, AchieveItJobTimeoutError)
        assert deadlines[0] == pytest.approx(deadlines[1], abs=0.001)
        assert bench.posts == 1

    def test_r5_failed_while_deferred(self, bench: Bench, die: Callable[..., None]) -> None:
        from airflow_provider_achieveit.operators import updates

        die(updates, "read_event")
        assert bench.push(rows(1, 2), retries=1, deferrable=True) == "success"
        assert (bench.applied, bench.posts) == (["1", "2"], 2)

    @pytest.mark.parametrize("deferrable", [False, True])
    @pytest.mark.parametrize("after", [False, True])
    def test_r6_died_after_the_event(
        self, bench: Bench, die: Callable[..., None], deferrable: bool, after: bool
    ) -> None:
        die(AchieveItSubmitProgressUpdatesOperator, "_finish", after=after)
        assert bench.push(rows(1, 2), retries=1, deferrable=deferrable) == "success"
        assert (bench.applied, bench.posts) == (["1", "2"], 2)
        counts = bench.result["rows_submitted"], bench.result["rows_unchanged"]
        assert counts == ((0, 2) if after else (2, 0))

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_r7_a_job_failed(self, bench: Bench, deferrable: bool) -> None:
        bench.simulator.faults.add("fail_job", nth=2)
        assert bench.push(rows(1, 2), retries=1, deferrable=deferrable) == "success"
        assert (bench.applied, bench.posts) == (["1", "2"], 3)

    def test_r8_a_job_was_refused(self, bench: Bench) -> None:
        assert bench.push([{**rows(1)[0], "external_id": "nobody"}], retries=3) == "failed"
        assert isinstance(bench.error, AchieveItJobRefusedError)
        assert bench.posts == 1

    @pytest.mark.parametrize("status", [429, 503, 500])
    def test_r9_it_could_not_be_queued(self, bench: Bench, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
        monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
        bench.simulator.faults.add("status", method="POST", status=status, nth=2, times=6)
        assert bench.push(rows(1, 2), retries=1) == "success"
        assert bench.applied == ["1", "2"]

    def test_r10_the_source_gives_other_rows(
        self, bench: Bench, die: Callable[..., None], slow_jobs: Callable[[float], None]
    ) -> None:
        slow_jobs(1.0)
        die(AchieveItSubmitProgressUpdatesOperator, "_wait")
        source = rows(1)

        def changing(context: Any) -> None:
            source[0]["metric_value"] = 2

        assert bench.push(source, retries=1, on_retry_callback=changing) == "success"
        assert bench.applied == ["1", "2"], "in this order, although the first still ran"

    @pytest.mark.parametrize("job_seconds", [0.0, 60.0])
    def test_r11_no_triggerer(
        self, bench: Bench, slow_jobs: Callable[[float], None], monkeypatch: pytest.MonkeyPatch, job_seconds: float
    ) -> None:
        slow_jobs(job_seconds)

        def nobody_home(run: GoingRun, instance: Any) -> None:
            run.let_deferral_time_out(instance)

        monkeypatch.setattr(GoingRun, "_trigger", nobody_home)
        state = bench.push(rows(1), deferrable=True, wait_timeout=0.2)
        assert bench.posts == 1
        if job_seconds:
            assert isinstance(bench.error, AchieveItJobTimeoutError)
            assert bench.job_ids()[0] in str(bench.error)
        else:
            assert (state, bench.applied) == ("success", ["1"])

    def test_r11_without_an_account_the_jobs_are_named(
        self, bench: Bench, slow_jobs: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.ledger = {}
        monkeypatch.setattr(GoingRun, "_trigger", lambda run, instance: run.let_deferral_time_out(instance))
        assert bench.push(rows(1), deferrable=True, wait_timeout=0.2, durable=False) == "failed"
        assert isinstance(bench.error, AchieveItJobTimeoutError)
        assert bench.job_ids()[0] in str(bench.error)


class TestClear:
    def test_c1_nothing_is_sent_again(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        bench.push(rows(1, 2))
        bench.clear()
        with caplog.at_level("INFO"):
            assert bench.push(rows(1, 2)) == "success"
        assert bench.posts == 2
        assert (bench.result["rows_submitted"], bench.result["rows_unchanged"]) == (0, 2)
        assert caplog.text.count("not sent again") == 2

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_c2_a_job_that_runs_is_awaited(
        self, bench: Bench, slow_jobs: Callable[[float], None], deferrable: bool
    ) -> None:
        slow_jobs(0.8)
        assert bench.push(rows(1), wait_timeout=0.2) == "failed"
        bench.clear()
        assert bench.push(rows(1), deferrable=deferrable) == "success"
        assert (bench.applied, bench.posts) == (["1"], 1)

    def test_c2_a_job_that_ended_meanwhile_is_found(self, bench: Bench, slow_jobs: Callable[[float], None]) -> None:
        assert bench.push(rows(1), wait_for_completion=False) == "success"
        bench.clear()
        assert bench.push(rows(1)) == "success"
        assert (bench.applied, bench.posts, bench.result["rows_unchanged"]) == (["1"], 1, 1)

    def test_c2_a_deferred_task_is_cleared(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        class StoppedError(Exception):
            pass

        def stopped(run: GoingRun, instance: Any) -> None:
            raise StoppedError

        with monkeypatch.context() as patch:
            patch.setattr(GoingRun, "_trigger", stopped)
            with pytest.raises(StoppedError):
                bench.push(rows(1, 2), deferrable=True)
        bench.clear()
        assert bench.push(rows(1, 2), deferrable=True) == "success"
        assert (bench.applied, bench.posts) == (["1", "2"], 2)

    def test_c3_what_was_refused_is_sent_again(self, bench: Bench) -> None:
        source = [{**rows(1)[0], "external_id": "new-kpi"}]
        assert bench.push(source) == "failed"
        bench.simulator.world.item("pat-nps").external_id = "new-kpi"
        bench.clear()
        assert bench.push(source) == "success"
        assert bench.posts == 2

    def test_c3_what_failed_is_sent_again(self, bench: Bench) -> None:
        bench.simulator.faults.add("fail_job")
        assert bench.push(rows(1)) == "failed"
        bench.clear()
        assert bench.push(rows(1)) == "success"
        assert bench.applied == ["1"]

    @pytest.mark.parametrize("on_unsure", ["fail", "resubmit"])
    def test_c4_an_unsure_batch(self, bench: Bench, on_unsure: str) -> None:
        bench.simulator.faults.add("reset", method="POST", after=True)
        assert bench.push(rows(1, 2)) == "failed"
        bench.clear()
        state = bench.push(rows(1, 2), on_unsure=on_unsure)
        if on_unsure == "fail":
            assert isinstance(bench.error, AchieveItUnsureSubmissionError)
            assert (state, bench.applied) == ("failed", ["1", "2"])
        else:
            assert (state, bench.applied) == ("success", ["1", "2", "1"])

    def test_c5_other_rows_are_sent(self, bench: Bench) -> None:
        bench.push(rows(1, 2, 3))
        bench.clear()
        assert bench.push(rows(1, 5, 3)) == "success"
        assert bench.applied == ["1", "2", "3", "5"]
        assert (bench.result["rows_submitted"], bench.result["rows_unchanged"]) == (1, 2)

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_c6_jobs_of_the_old_rows_are_awaited_first(
        self, bench: Bench, slow_jobs: Callable[[float], None], deferrable: bool
    ) -> None:
        slow_jobs(1.0)
        bench.push(rows(1), wait_for_completion=False)
        bench.clear()
        assert bench.push(rows(2), deferrable=deferrable) == "success"
        assert bench.applied == ["1", "2"]
        posts = [request.received_at for request in bench.simulator.world.requests if request.method == "POST"]
        assert posts[1] > str(next(iter(bench.simulator.world.jobs.values())).finished_at)

    def test_c6_old_jobs_that_do_not_end(self, bench: Bench, slow_jobs: Callable[[float], None]) -> None:
        slow_jobs(60)
        bench.push(rows(1), wait_for_completion=False)
        bench.clear()
        assert bench.push(rows(2), wait_timeout=0.3) == "failed"
        assert isinstance(bench.error, AchieveItJobTimeoutError)
        assert "Nothing was sent by this one" in str(bench.error)
        assert bench.posts == 1

    @pytest.mark.parametrize("on_unsure", ["fail", "resubmit"])
    def test_c7_other_rows_after_an_unsure_batch(self, bench: Bench, on_unsure: str) -> None:
        bench.simulator.faults.add("reset", method="POST", after=True)
        assert bench.push(rows(1)) == "failed"
        bench.clear()
        state = bench.push(rows(2), on_unsure=on_unsure)
        if on_unsure == "fail":
            assert isinstance(bench.error, AchieveItUnsureSubmissionError)
            assert (state, bench.posts) == ("failed", 1)
        else:
            assert (state, bench.applied) == ("success", ["1", "2"])
            bench.clear()
            assert bench.push(rows(2)) == "success", "it is not asked about again"

    def test_c8_rows_that_are_what_they_were(self, bench: Bench) -> None:
        for source in (rows(1, 2), rows(1, 5), rows(1, 2)):
            assert bench.push(source) == "success"
            bench.clear()
        assert bench.applied == ["1", "2", "5", "2"]
        assert bench.push(rows(1, 2)) == "success"
        assert bench.posts == 4

    def test_c9_always(self, bench: Bench, slow_jobs: Callable[[float], None], die: Callable[..., None]) -> None:
        slow_jobs(0.6)
        bench.push(rows(1, 2), resubmit="always", wait_for_completion=False, retries=1)
        bench.clear()
        die(AchieveItSubmitProgressUpdatesOperator, "_wait")
        assert bench.push(rows(1, 2), resubmit="always", retries=1) == "success"
        assert bench.applied == ["1", "2", "1", "2"]

    @pytest.mark.parametrize(("state", "applied"), [("applied", ["2", "3"]), ("planned", ["2", "3", "1"])])
    def test_c10_a_person_has_looked(self, bench: Bench, state: str, applied: list[str]) -> None:
        bench.simulator.faults.add("status", method="POST", status=502)
        assert bench.push(rows(1, 2, 3)) == "failed"
        bench.hand(state)
        bench.clear()
        assert bench.push(rows(1, 2, 3)) == "success"
        assert bench.applied == applied

    def test_c11_another_connection_is_another_achieveit(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_PRODUCTION", bench.simulator.connection())
        bench.push(rows(1))
        bench.clear()
        assert bench.push(rows(1), achieveit_conn_id="achieveit_production") == "success"
        assert bench.posts == 2

    def test_c11_another_host_is_another_achieveit(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection that led to the simulator, say, then to the tenant, and back."""
        connection = bench.simulator.connection()
        for host, posts in (("127.0.0.1", 1), ("localhost", 2), ("127.0.0.1", 2)):
            monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", connection.replace("127.0.0.1", host))
            for _ in range(2):
                assert bench.push(rows(1)) == "success"
                assert bench.posts == posts
                bench.clear()

    def test_c12_jobs_of_rows_that_are_gone_are_awaited(self, bench: Bench, slow_jobs: Callable[[float], None]) -> None:
        slow_jobs(0.6)
        bench.push(rows(1), wait_for_completion=False)
        bench.clear()
        assert bench.push([], on_empty="succeed") == "success"
        assert [str(job.state) for job in bench.simulator.world.jobs.values()] == ["processed"]

    def test_c12_an_unsure_batch_of_rows_that_are_gone(self, bench: Bench) -> None:
        bench.simulator.faults.add("reset", method="POST", after=True)
        bench.push(rows(1))
        bench.clear()
        assert bench.push([]) == "failed"
        assert isinstance(bench.error, AchieveItUnsureSubmissionError)


def mapped(bench: Bench, *sources: Rows, **options: Any) -> DAG:
    """Return a DAG that maps the submit task over these sources."""
    with DAG(bench.dag_id, schedule=None) as dag:

        @task
        def upstream() -> list[Rows]:
            return list(sources)

        AchieveItSubmitProgressUpdatesOperator.partial(
            task_id="push",
            deferrable=False,
            poll_interval=0.05,
            retry_delay=timedelta(0),
            **{**bench.ledger, "retries": 0, **options},
        ).expand(rows=upstream())
    return dag


class TestMapped:
    def test_m1_another_order_with_a_ledger(self, with_ledger: Bench, slow_jobs: Callable[[float], None]) -> None:
        dag = mapped(with_ledger, rows(1), rows(2), rows(3))
        run = GoingRun(dag)
        assert run.go_on(dag) == DagRunState.SUCCESS
        run.clear()
        assert run.go_on(mapped(with_ledger, rows(3), rows(1), rows(2))) == DagRunState.SUCCESS
        assert with_ledger.posts == 3
        slow_jobs(0.5)
        run.clear()
        run.go_on(mapped(with_ledger, rows(3), rows(4), wait_for_completion=False))
        run.clear()
        assert run.go_on(mapped(with_ledger, rows(4), rows(3))) == DagRunState.SUCCESS
        assert with_ledger.posts == 4
        assert sorted(with_ledger.applied) == ["1", "2", "3", "4"]

    def test_m2_another_order_with_the_task_state_store(self, with_task_state: Bench) -> None:
        dag = mapped(with_task_state, rows(1), rows(2), rows(3))
        run = GoingRun(dag)
        run.go_on(dag)
        run.clear()
        assert run.go_on(mapped(with_task_state, rows(2), rows(1), rows(3))) == DagRunState.SUCCESS
        assert with_task_state.applied == ["1", "2", "3", "2", "1"], "never lost, never taken for another's"

    @needs_nested_tasks
    def test_m3_the_same_rows_twice_at_once(self, with_ledger: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """While index 0 sends, index 1 finds the claim; its retry finds the job."""
        real = AchieveItClient.submit
        errors: list[BaseException | None] = []
        dag = mapped(with_ledger, rows(1), rows(1), retries=2)
        run = GoingRun(dag)

        def meanwhile(client: AchieveItClient, *args: Any) -> str:
            monkeypatch.setattr(AchieveItClient, "submit", real)
            [other] = [i for i in run.instances() if i.map_index == 1]
            run._work(other)
            errors.append(run.errors["push", 1])
            return real(client, *args)

        monkeypatch.setattr(AchieveItClient, "submit", meanwhile)
        assert run.go_on(dag) == DagRunState.SUCCESS
        assert isinstance(errors[0], AchieveItUnavailableError)
        assert "another process of this run" in str(errors[0])
        assert with_ledger.applied == ["1"]


class TestBackfill:
    def test_b1_every_run_has_an_account_of_its_own(self, bench: Bench) -> None:
        for run_id in ("manual__1", "manual__2", "backfill__1"):
            assert bench.push(rows(1), run_id=run_id) == "success"
        assert bench.posts == 3

    def test_b2_a_run_that_is_reprocessed_is_a_cleared_one(self, bench: Bench) -> None:
        """Airflow's backfill clears the run it finds (airflow.models.backfill, reprocess_behavior)."""
        bench.push(rows(1), run_id="scheduled__1")
        assert bench.run is not None
        bench.run.clear_run()
        assert bench.push(rows(1), run_id="scheduled__1") == "success"
        assert bench.posts == 1
        bench.run.clear_run()
        assert bench.push(rows(2), run_id="scheduled__1") == "success"
        assert bench.posts == 2

    def test_b3_a_run_made_again(self, bench: Bench) -> None:
        bench.push(rows(1))
        assert bench.run is not None
        bench.run.delete()
        assert bench.push(rows(1)) == "success"
        assert bench.posts == (1 if bench.ledger else 2)


def test_every_row_of_the_table_is_tested() -> None:
    told = set(re.findall(r"^\| ([RCMB]\d+) \|", DELIVERY.read_text(encoding="utf-8"), re.MULTILINE))
    tested = {
        name.split("_")[1].upper()
        for suite in (TestRetry, TestClear, TestMapped, TestBackfill)
        for name in vars(suite)
        if re.match(r"test_[rcmb]\d", name)
    }
    assert told == tested


def test_the_states_of_the_page_are_the_states() -> None:
    [line] = re.findall(r"^planned → .*$", DELIVERY.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"[a-z]+", line.replace("(job id)", ""))) == {state.value for state in BatchState}
