"""The DAG of docs/drift.md reads a plan; what the page says must fit does not fit where it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_achieveit.exceptions import AchieveItInconsistentExportError
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.dag_runs import run_dag
from tests.docs.blocks import blocks
from tests.docs.dags import dag_of


def test_its_dag_reads_a_plan(simulator: RunningSimulator, airflow_db: None, tmp_path: Path) -> None:
    [source] = blocks("docs/drift.md", "python")
    late = run_dag(dag_of(source, tmp_path)).xcom("late_items")
    assert late == [
        item.fields["name"] for item in simulator.world.plans[DEMO_PLAN_ID].items if item.fields["isPastDue"]
    ]


@pytest.mark.parametrize("change", ["insert", "delete", "move"])
def test_a_change_between_two_pages_is_found(change: str, simulator: RunningSimulator) -> None:
    simulator.faults.add("mutate", path="skip=19", changes=[change])
    with pytest.raises(AchieveItInconsistentExportError, match="do not fit together"):
        list(AchieveItHook().iter_plan_items(DEMO_PLAN_ID, page_size=20, parallel_pages=1))


def test_a_plan_of_one_page_cannot_drift(simulator: RunningSimulator) -> None:
    simulator.faults.add("mutate", path="skip=0", times=None)
    assert list(AchieveItHook().iter_plan_items(DEMO_PLAN_ID))
