"""The links of a task's page, asked for as the page does, while the task waits and when it has ended."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, task
from airflow.serialization import serialized_objects
from airflow.utils.state import TaskInstanceState
from fastapi.testclient import TestClient

from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator, AchieveItExportPlanToFileOperator
from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.airflow_versions import AIRFLOW, needs_pages_of_plugins
from tests.dag_runs import FinishedRun, TaskLog, run_dag
from tests.going_run import GoingRun, register

pytestmark = pytest.mark.usefixtures("airflow_db")
_numbers = itertools.count()
Api = TestClient | None
AN_ERROR = re.compile(r"\[error|\bERROR\b")

GOOD = {"external_id": "pat-nps", "status": "On Track", "metric_value": "41.50", "as_of_date": "2026-01-05"}
PLAN, HISTORY = "Plan in AchieveIt", "Sync history"


def shown(expected: dict[str, str | None]) -> dict[str, str | None]:
    """Return those of the links that this Airflow has a page for."""
    return {name: address for name, address in expected.items() if AIRFLOW >= (3, 1) or name != HISTORY}


@pytest.fixture(scope="module")
def api(airflow_db: None) -> Iterator[TestClient | None]:
    """The REST API of Airflow 3, for somebody who may see everything; Airflow 2 is asked without it."""
    if AIRFLOW < (3,):
        yield None
        return
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "only-for-this-test-process-" * 3)
        # Airflow 3.0 makes no token that PyJWT takes without one.
        patch.setenv("AIRFLOW__API_AUTH__JWT_ISSUER", "tests")
        app = create_app(apps="core")
        token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="ada", role="admin"))
        yield TestClient(app, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def web(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> RunningSimulator:
    """The simulator, whose connection tells where the web application has its plans."""
    set_web_url(simulator, monkeypatch, "https://app.example.com/plans/{plan_id}")
    return simulator


def set_web_url(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, web_url: str) -> None:
    connection = json.loads(simulator.connection())
    connection["extra"] |= {"web_url": web_url}
    monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connection))


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "ledger.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(connection))
    return "ledger"


def links(api: Api, run: FinishedRun | GoingRun, task_id: str = "push", map_index: int = -1) -> dict[str, str | None]:
    dag_id, run_id = (
        (run.dag.dag_id, run.run_id) if isinstance(run, GoingRun) else (run.dag_run.dag_id, run.dag_run.run_id)
    )
    if api is None:
        return links_of_airflow_2(dag_id, run_id, task_id, map_index)
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/links"
    answer = api.get(path, params={"map_index": map_index})
    assert answer.status_code == 200, answer.text
    found: dict[str, str | None] = answer.json()["extra_links"]
    return found


def links_of_airflow_2(dag_id: str, run_id: str, task_id: str, map_index: int) -> dict[str, str | None]:
    """Return what the page of a task shows: it asks the DAG that the metadata database has."""
    from airflow.models.dagbag import DagBag
    from airflow.models.taskinstance import TaskInstance

    stored = DagBag(read_dags_from_db=True).get_dag(dag_id).get_task(task_id)
    instance = TaskInstance.get_task_instance(dag_id, run_id, task_id, map_index)
    return {name: stored.get_extra_links(instance, name) or None for name in stored.extra_links}


def push_dag(**options: Any) -> DAG:
    with DAG(f"links_{next(_numbers)}", schedule=None) as dag:
        AchieveItSubmitProgressUpdatesOperator(task_id="push", **{"rows": [GOOD], "poll_interval": 0.05, **options})
    return dag


def test_a_dag_keeps_its_links_when_it_is_serialized() -> None:
    serialization = getattr(serialized_objects, "DagSerialization", serialized_objects.SerializedDAG)
    [task] = serialization.from_dict(serialization.to_dict(push_dag())).tasks
    assert sorted(task.extra_links) == sorted(shown({PLAN: None, HISTORY: None}))


def test_the_links_of_a_task_that_has_ended(api: Api, web: RunningSimulator, ledger: str) -> None:
    run = run_dag(push_dag(plan_id="{{ dag.dag_id }}/1", ledger_conn_id=ledger))
    dag_id, run_id = run.dag_run.dag_id, run.dag_run.run_id
    asked = f"dag_id={dag_id}&task_id=push&run_id={run_id.replace(':', '%3A').replace('+', '%2B')}"
    assert links(api, run) == shown(
        {PLAN: f"https://app.example.com/plans/{dag_id}%2F1", HISTORY: f"/achieveit/history?{asked}"}
    )


@needs_pages_of_plugins
def test_the_history_link_leads_to_the_page_of_the_task(
    api: Api, simulator: RunningSimulator, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__ACHIEVEIT__LEDGER_CONN_ID", ledger)
    run, _ = run_dag(push_dag(ledger_conn_id=ledger)), run_dag(push_dag(ledger_conn_id=ledger))
    page = api.get(str(links(api, run)[HISTORY]))
    assert page.status_code == 200
    [mine, other] = [batch.filename for batch in simulator.world.batches]
    assert mine in page.text
    assert other not in page.text


def test_the_links_are_there_while_the_task_waits_in_the_triggerer(
    api: Api, web: RunningSimulator, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/team/")
    dag = push_dag(plan_id=DEMO_PLAN_ID, ledger_conn_id=ledger, deferrable=True)
    register(dag)
    run = GoingRun(dag)
    seen: list[dict[str, str | None]] = []
    trigger = run._trigger

    def look_then_trigger(instance: Any) -> None:
        assert instance.state == TaskInstanceState.DEFERRED
        seen.append(links(api, run))
        trigger(instance)

    monkeypatch.setattr(run, "_trigger", look_then_trigger)
    assert run.go_on() == "success"
    assert seen == [links(api, run)]
    assert seen[0][PLAN] == f"https://app.example.com/plans/{DEMO_PLAN_ID}"
    if AIRFLOW >= (3, 1):
        assert str(seen[0][HISTORY]).startswith("https://airflow.example.com/team/achieveit/history?dag_id=")


def test_the_links_are_there_while_the_task_itself_waits(
    api: Api, web: RunningSimulator, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, str | None]] = []
    dag = push_dag(plan_id=DEMO_PLAN_ID, ledger_conn_id=ledger, deferrable=False)
    register(dag)
    run = GoingRun(dag)
    operator = dag.get_task("push")
    wait = operator._wait

    def look_then_wait(*args: Any) -> Any:
        seen.append(links(api, run))
        return wait(*args)

    # Between the submit and its wait, which is the operator's own.
    monkeypatch.setattr(type(operator), "_wait", lambda _, *args: look_then_wait(*args))
    assert run.go_on() == "success"
    assert [sorted(found) for found in seen] == [sorted(shown({PLAN: None, HISTORY: None}))]
    assert None not in seen[0].values()


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_link_that_leads_nowhere_shows_nothing(
    api: Api, simulator: RunningSimulator, deferrable: bool, task_log: TaskLog
) -> None:
    run = run_dag(push_dag(plan_id=DEMO_PLAN_ID, deferrable=deferrable))
    assert run.state == "success"
    assert links(api, run) == shown({PLAN: None, HISTORY: None})
    assert not AN_ERROR.search(task_log())


def test_a_web_url_that_is_no_address_does_not_fail_what_was_sent(
    api: Api,
    simulator: RunningSimulator,
    monkeypatch: pytest.MonkeyPatch,
    task_log: TaskLog,
) -> None:
    set_web_url(simulator, monkeypatch, "app.example.com")
    run = run_dag(push_dag(plan_id=DEMO_PLAN_ID))
    assert run.state == "success"
    assert links(api, run)[PLAN] is None
    told = task_log()
    assert told.count("the extra field web_url must be an address with {plan_id} in it") == 1
    assert not AN_ERROR.search(told)


def test_each_task_of_a_mapped_one_has_its_own_links(api: Api, web: RunningSimulator) -> None:
    with DAG(f"links_{next(_numbers)}", schedule=None) as dag:
        AchieveItSubmitProgressUpdatesOperator.partial(task_id="push", rows=[GOOD]).expand(plan_id=["a", "b"])
    run = run_dag(dag)
    found = [links(api, run, map_index=index)[PLAN] for index in (0, 1)]
    assert found == ["https://app.example.com/plans/a", "https://app.example.com/plans/b"]


def test_a_function_s_task_has_the_links_too(api: Api, web: RunningSimulator) -> None:
    with DAG(f"links_{next(_numbers)}", schedule=None) as dag:

        @task.achieveit_progress_updates(plan_id=DEMO_PLAN_ID)
        def push() -> list[dict[str, str]]:
            return [GOOD]

        push()
    assert str(links(api, run_dag(dag))[PLAN]).endswith(DEMO_PLAN_ID)


def test_an_export_links_to_its_plan_even_where_it_fails(
    api: Api, web: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "warehouse.db")})
    )
    with DAG(f"links_{next(_numbers)}", schedule=None) as dag:
        AchieveItExportPlanOperator(task_id="load", plan_id="no-such-plan", conn_id="warehouse")
        AchieveItExportPlanToFileOperator(task_id="write", plan_id=DEMO_PLAN_ID, path=str(tmp_path / "plan.jsonl"))
    run = run_dag(dag)
    assert (run.task_state("load"), run.task_state("write")) == ("failed", "success")
    assert links(api, run, "load") == {PLAN: "https://app.example.com/plans/no-such-plan"}
    assert links(api, run, "write") == {PLAN: f"https://app.example.com/plans/{DEMO_PLAN_ID}"}
