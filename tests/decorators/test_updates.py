"""Functions that give rows, run as tasks by Airflow itself against the simulator."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.providers.common.compat.sdk import DAG, AirflowSkipException, task
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_provider_achieveit.exceptions import AchieveItInvalidRowsError, AchieveItUnsureSubmissionError
from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.asset_events import events_of
from tests.dag_runs import FinishedRun, run_dag
from tests.going_run import GoingRun, register

pytestmark = pytest.mark.usefixtures("airflow_db")
_numbers = itertools.count()

GOOD = {"external_id": "pat-nps", "status": "On Track", "metric_value": "41.50", "as_of_date": "2026-01-05"}
Calls = list[Any]


def progress(**options: Any) -> Any:
    """The decorator, as a DAG file finds it, with options for a fast test."""
    return task.achieveit_progress_updates(
        **{"poll_interval": 0.05, "deferrable": False, "retry_delay": timedelta(0), **options}
    )


def one_task(function: Callable[..., Any], *args: Any, **options: Any) -> DAG:
    with DAG(f"function_{next(_numbers)}", schedule=None) as dag:
        progress(task_id="push", **options)(function)(*args)
    return dag


def push(function: Callable[..., Any], *args: Any, **options: Any) -> tuple[FinishedRun, list[BaseException]]:
    errors: list[BaseException] = []
    told = {"on_failure_callback": lambda context: errors.append(context["exception"])}
    return run_dag(one_task(function, *args, **told, **options)), errors


def received(simulator: RunningSimulator) -> list[dict[str, str]]:
    return [
        row for batch in simulator.world.batches for row in csv.DictReader(io.StringIO(batch.body.decode(), newline=""))
    ]


def rendered(run: FinishedRun) -> dict[str, Any]:
    """What Airflow shows as the task's rendered fields."""
    with create_session() as session:
        of_run = RenderedTaskInstanceFields.dag_id == run.dag_run.dag_id
        [fields] = session.scalars(select(RenderedTaskInstanceFields.rendered_fields).where(of_run))
        return dict(fields)


class TestWhatAFunctionMayReturn:
    def test_a_list_of_dicts_of_which_no_text_is_a_template(self, simulator: RunningSimulator) -> None:
        run, _ = push(lambda: [{**GOOD, "comment": "{{ ds }} .sql"}])
        assert run.xcom("push")["rows_submitted"] == 1
        assert [row["Comment"] for row in received(simulator)] == ["{{ ds }} .sql"]
        assert "op_args" in rendered(run)
        assert "pat-nps" not in str(rendered(run))

    def test_a_dataframe(self, simulator: RunningSimulator) -> None:
        frame = pd.DataFrame({"kpi": ["pat-nps", "fin-margin"], "value": [1.5, 2]})
        run, _ = push(
            lambda: frame.assign(status="On Track"),
            columns={"external_id": "kpi", "status": "status", "metric_value": "value"},
            as_of_date="2026-01-05",
        )
        assert run.state == "success"
        assert [(row["External ID"], row["Metric Value"]) for row in received(simulator)] == [
            ("pat-nps", "1.5"),
            ("fin-margin", "2.0"),
        ]

    def test_a_generator(self, simulator: RunningSimulator) -> None:
        def weeks() -> Iterator[dict[str, Any]]:
            for day in ("2026-01-05", "2026-01-12", "2026-01-19"):
                yield {**GOOD, "as_of_date": day}

        run, _ = push(weeks, batch_size=2)
        assert (run.xcom("push")["rows_submitted"], run.xcom("push")["batch_count"]) == (3, 2)
        assert len(simulator.world.item("pat-nps").history) == 3

    def test_metric_updates_have_no_status(self, simulator: RunningSimulator) -> None:
        with DAG(f"function_{next(_numbers)}", schedule=None) as dag:

            @task.achieveit_metric_updates(poll_interval=0.05, as_of_date="2026-01-05")
            def push() -> list[dict[str, Any]]:
                return [{"external_id": "fin-margin", "metric_value": 7}]

            push()
        assert run_dag(dag).xcom("push")["kind"] == "metric"
        [batch] = simulator.world.batches
        assert str(batch.kind) == "metric"

    @pytest.mark.parametrize(("on_empty", "state"), [("skip", "skipped"), ("succeed", "success"), ("fail", "failed")])
    def test_no_rows_are_an_empty_source(self, simulator: RunningSimulator, on_empty: str, state: str) -> None:
        run, _ = push(lambda: iter(()), on_empty=on_empty)
        assert run.task_state("push") == state
        assert simulator.world.batches == []

    @pytest.mark.parametrize(
        ("returned", "told"),
        [(None, "returned None"), ({"external_id": "pat-nps"}, "a list of mappings"), (["pat-nps"], "row 1")],
    )
    def test_anything_else_is_told_and_not_retried(self, simulator: RunningSimulator, returned: Any, told: str) -> None:
        calls: Calls = []
        run, errors = push(lambda: calls.append(1) or returned, retries=2)
        assert run.task_state("push") == "failed"
        assert isinstance(errors[-1], AchieveItInvalidRowsError)
        assert told in str(errors[-1])
        assert "nothing was sent" in str(errors[-1])
        assert len(calls) == 1
        assert simulator.world.batches == []

    def test_rejected_rows_are_told_and_counted(self, simulator: RunningSimulator) -> None:
        rows = [GOOD, {**GOOD, "external_id": "a,b"}]
        run, errors = push(lambda: rows)
        assert "a comma" in str(errors[-1])
        assert simulator.world.batches == []
        run, _ = push(lambda: rows, on_invalid="skip")
        result = run.xcom("push")
        assert (result["rows_read"], result["rows_submitted"], result["rows_rejected"]) == (2, 1, 1)


class TestAsAnyOtherTaskFlowTask:
    def test_takes_arguments_templates_and_the_context(self, simulator: RunningSimulator) -> None:
        def rows(first: str, *, second: str, ti: Any = None, params: Any = None) -> list[dict[str, Any]]:
            return [{**GOOD, "comment": f"{first} {second} {ti.task_id} {params['third']}"}]

        with DAG(f"function_{next(_numbers)}", schedule=None, params={"third": 3}) as dag:

            @task
            def upstream() -> str:
                return "{{ not a template }}"

            progress(task_id="push")(rows)(upstream(), second="{{ task.task_id }}.sql")
        assert run_dag(dag).state == "success"
        assert [row["Comment"] for row in received(simulator)] == ["{{ not a template }} push.sql push 3"]

    def test_is_mapped(self, simulator: RunningSimulator) -> None:
        def rows(kpi: str, day: str) -> list[dict[str, Any]]:
            return [{**GOOD, "external_id": kpi, "as_of_date": day}]

        with DAG(f"function_{next(_numbers)}", schedule=None) as dag:
            pushed = progress(task_id="push")(rows).partial(day="2026-01-05").expand(kpi=["pat-nps", "fin-margin"])

            @task
            def total(results: Any) -> int:
                return sum(result["rows_submitted"] for result in results)

            total(pushed)
        run = run_dag(dag)
        assert run.xcom("total") == 2
        assert {row["External ID"] for row in received(simulator)} == {"pat-nps", "fin-margin"}
        assert run.xcom("push", "job_ids", map_index=0) != run.xcom("push", "job_ids", map_index=1)

    def test_its_plan_is_an_asset_too(self, simulator: RunningSimulator) -> None:
        run, _ = push(lambda: [GOOD], emit_asset=True, plan_id=DEMO_PLAN_ID)
        assert run.state == "success"
        [event] = events_of(run.dag_run.dag_id)
        assert event.extra["rows_submitted"] == 1

    def test_multiple_outputs_are_the_result_s(self, simulator: RunningSimulator) -> None:
        run, _ = push(lambda: [GOOD], multiple_outputs=True)
        assert run.xcom("push", "rows_submitted") == 1

    def test_default_args_of_the_dag_are_no_source(self, simulator: RunningSimulator) -> None:
        defaults = {"conn_id": "warehouse", "path_conn_id": "lake", "batch_size": 1}
        with DAG(f"function_{next(_numbers)}", schedule=None, default_args=defaults) as dag:
            progress(task_id="push")(lambda: [GOOD, {**GOOD, "external_id": "fin-margin"}])()
        assert run_dag(dag).xcom("push")["batch_count"] == 2

    def test_another_source_is_refused_when_the_dag_is_parsed(self) -> None:
        with pytest.raises(ValueError, match=r"leave out rows, sql, conn_id; the function gives the rows"):
            progress(sql="select 1", conn_id="warehouse", rows=[GOOD])
        with pytest.raises(ValueError, match=r"leave out path; the function"):
            progress()(lambda: [GOOD]).override(task_id="push", path="kpis.csv")()

    def test_an_asynchronous_function_is_refused_when_the_dag_is_parsed(self) -> None:
        async def rows() -> list[dict[str, Any]]:
            return [GOOD]

        with pytest.raises(ValueError, match="rows is asynchronous"):
            one_task(rows)


class TestTries:
    def test_the_function_is_not_called_again_after_the_wait_in_the_triggerer(
        self, simulator: RunningSimulator
    ) -> None:
        simulator.world.settings.job_seconds = 0.1
        calls: Calls = []
        dag = one_task(lambda: calls.append(1) or [GOOD], deferrable=True)
        register(dag)
        run = GoingRun(dag)
        assert run.go_on() == "success"
        assert [batch["state"] for batch in run.xcom("push")["batches"]] == ["applied"]
        assert len(calls) == 1

    def test_a_retry_after_the_wait_calls_it_again_and_sends_only_what_failed(
        self, simulator: RunningSimulator, account: dict[str, Any]
    ) -> None:
        simulator.faults.add("fail_job", nth=2)
        calls: Calls = []

        def rows() -> Iterator[dict[str, Any]]:
            calls.append(1)
            yield from (GOOD, {**GOOD, "external_id": "fin-margin"})

        run, _ = push(rows, batch_size=1, retries=1, deferrable=True, **account)
        assert len(calls) == 2
        result = run.xcom("push")
        assert (result["rows_unchanged"], result["rows_submitted"]) == (1, 1)
        assert [row["External ID"] for row in received(simulator)] == ["pat-nps", "fin-margin", "fin-margin"]

    def test_a_lost_answer_is_told_and_not_sent_again(self, simulator: RunningSimulator) -> None:
        simulator.faults.add("reset", method="POST", after=True)
        calls: Calls = []
        _, errors = push(lambda: calls.append(1) or [GOOD], retries=2)
        assert isinstance(errors[-1], AchieveItUnsureSubmissionError)
        assert len(calls) == 1

    def test_it_is_not_called_for_a_connection_that_is_not_there(self) -> None:
        calls: Calls = []
        run, errors = push(lambda: calls.append(1) or [GOOD], achieveit_conn_id="nowhere")
        assert "There is no connection 'nowhere'" in str(errors[-1])
        assert run.xcom("push", "job_ids") == []
        assert calls == []

    def test_it_may_skip_its_task(self, simulator: RunningSimulator) -> None:
        def rows() -> Iterator[dict[str, Any]]:
            raise AirflowSkipException("no figures on Sundays")
            yield GOOD

        assert push(rows)[0].task_state("push") == "skipped"
        assert simulator.world.batches == []

    @pytest.mark.parametrize("lazy", [False, True])
    def test_an_error_of_the_function_is_its_own_and_retried(self, simulator: RunningSimulator, lazy: bool) -> None:
        errors: Calls = []

        def rows(ti: Any) -> list[dict[str, Any]]:
            if ti.try_number == 1:
                raise ValueError("the source is away")
            return [GOOD]

        def lazily(ti: Any = None) -> Iterator[dict[str, Any]]:
            yield from rows(ti)

        def at_once(ti: Any = None) -> list[dict[str, Any]]:
            return rows(ti)

        run, _ = push(
            lazily if lazy else at_once,
            retries=1,
            on_retry_callback=lambda context: errors.append(context["exception"]),
        )
        assert run.state == "success"
        assert [str(error) for error in errors] == ["the source is away"]
        assert errors[0].__notes__ == ["The source could not be read; nothing was sent"]
