"""docs/security.md: the tests that it names exist, and what no other test shows is shown here."""

from __future__ import annotations

import ast
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator, AchieveItExportPlanToFileOperator
from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.dag_runs import run_dag
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
# Not as one text: Airflow stores the text of a DAG's file, and this is one here.
KEY = "-".join(["goes", "in", "a", "header", "only"])
GOOD = {"external_id": "pat-nps", "status": "On Track", "metric_value": 1, "as_of_date": "2026-01-05"}


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`(tests/[^`]+)`", PAGE))))
def test_a_test_that_is_named_exists(named: str) -> None:
    file, _, test = named.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert not test or test in functions


@pytest.fixture
def both_roads(
    simulator: RunningSimulator, airflow_db: None, warehouse: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RunningSimulator:
    """A push that keeps all it can in files, and both exports, with a key of their own."""
    simulator.world.users[KEY] = simulator.world.users.pop(simulator.api_key)
    connection = json.loads(simulator.connection()) | {"password": KEY}
    monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(connection))
    with DAG("both_roads", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        push = AchieveItSubmitProgressUpdatesOperator(
            task_id="push",
            rows=[GOOD, {**GOOD, "status": "On Trakc"}],
            on_invalid="skip",
            rejects_path=str(tmp_path / "rejects.csv"),
            artifact_path=str(tmp_path / "batches"),
            ledger_conn_id="warehouse",
        )
        tables = AchieveItExportPlanOperator(task_id="tables", plan_id=DEMO_PLAN_ID, conn_id="warehouse")
        file = AchieveItExportPlanToFileOperator(
            task_id="file", plan_id=DEMO_PLAN_ID, path=str(tmp_path / "plan.jsonl")
        )
        push >> tables >> file
    assert run_dag(dag).state == "success"
    return simulator


def test_the_key_is_in_a_header_only(both_roads: RunningSimulator) -> None:
    requests, batches = both_roads.world.requests, both_roads.world.batches
    assert {request.method for request in requests} == {"GET", "POST"}
    # The simulator leaves the key out of what it keeps of this one header.
    assert {request.headers["authorization"] for request in requests} == {"API-KEY ***"}
    assert KEY not in repr([(request.path, request.query, request.headers) for request in requests])
    assert KEY not in repr(batches)


def test_the_key_is_in_no_file(both_roads: RunningSimulator, tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"rejects.csv", "plan.jsonl", "warehouse.db"} < set(files)
    assert any(b"pat-nps" in content for content in files.values())
    assert [name for name, content in files.items() if KEY.encode() in content] == []
