"""What docs/delivery.md tells to type. What it promises is in tests/test_reruns.py and tests/test_delivery.py."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
from airflow_provider_achieveit.simulator.server import RunningSimulator
from airflow_provider_achieveit.stores.records import BatchState
from tests.airflow_versions import needs_task_state_store
from tests.dag_runs import run_dag
from tests.docs.blocks import blocks
from tests.docs.terminal import steps
from tests.history.writing import Written, reject
from tests.stores.conftest import database_url
from tests.stores.databases import Database


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Database]:
    database = Database(database_url("sqlite", tmp_path))
    yield database
    database.drop()


def test_its_states_are_those_of_a_batch() -> None:
    [states] = blocks("docs/delivery.md", "text")
    assert set(re.findall(r"[a-z]+", states.replace("(job id)", ""))) == {state.value for state in BatchState}


def test_an_unsure_batch_is_set_by_hand(ledger: Database) -> None:
    Written(ledger.url, ledger.table).run("push", [BatchState.SENDING])
    [row] = ledger.rows()
    [statement] = blocks("docs/delivery.md", "sql", "When nobody can tell")
    assert "id = 17" in statement
    ledger.execute(statement.replace("id = 17", f"id = {row['id']}").replace("achieveit_submissions", "{}"))
    assert [state for _, state in ledger.states()] == ["applied"]


def test_its_questions_are_answered(ledger: Database) -> None:
    Written(ledger.url, ledger.table).run("push_kpis", [BatchState.APPLIED], rejects=[reject()])
    with ledger.engine().connect() as connection:
        for statement in blocks("docs/delivery.md", "sql", "The ledger"):
            here = statement.replace("achieveit_submissions", ledger.table)
            here = here.replace("'2026-11-17'", "'2000-01-01'").replace("'2026-11-18'", "'2999-01-01'")
            assert len(connection.exec_driver_sql(here).fetchall()) == 1


@needs_task_state_store
def test_airflow_has_the_address_and_takes_the_value() -> None:
    from airflow.api_fastapi.core_api.datamodels.task_state_store import TaskStateStorePatchBody
    from airflow.api_fastapi.core_api.routes.public.task_state_store import task_state_store_router

    [block] = blocks("docs/delivery.md", "console")
    [(line, _)] = steps(block)
    _, _, method, address, *options = shlex.split(line)
    [route] = [route for route in task_state_store_router.routes if method in getattr(route, "methods", ())]
    assert route.path_regex.fullmatch(address.partition("/api/v2")[2])  # type: ignore[attr-defined]
    assert TaskStateStorePatchBody.model_validate(json.loads(options[options.index("--json") + 1]))


def test_a_ledger_is_asked_for(simulator: RunningSimulator, airflow_db: None, warehouse: Any) -> None:
    warehouse.run("create table kpi_updates (external_id, status, metric_value, as_of_date)")
    warehouse.run("insert into kpi_updates values ('pat-nps', 'On Track', 47, '2026-01-05')")
    [source] = blocks("docs/delivery.md", "python")
    with DAG("of_the_page", schedule=None) as dag:
        # SQLite has one schema, which is called main.
        exec(
            source.replace('"ops.', '"main.'),
            {"AchieveItSubmitProgressUpdatesOperator": AchieveItSubmitProgressUpdatesOperator},
        )
    assert run_dag(dag).state == "success"
    assert warehouse.get_first("select dag_id, state from achieveit_submissions") == ("of_the_page", "applied")
