"""skip_unchanged on real databases: what the last load told comes back as it was told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_achieveit.operators import export as export_module
from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator
from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.warehouse.real_databases import Warehouse


@pytest.mark.parametrize("mode", ["replace", "merge", "snapshot", "scd2"])
def test_a_plan_that_is_as_it_was_is_not_read(
    simulator: RunningSimulator, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    # PostgreSQL's client takes its time zone from here; moments are told in UTC all the same.
    monkeypatch.setenv("PGTZ", "America/New_York")
    # Not every database has a hook among the packages of the tests; what counts here is the database.
    monkeypatch.setattr(
        export_module, "database_hook", lambda _: SimpleNamespace(get_sqlalchemy_engine=warehouse.engine)
    )

    def export() -> dict[str, Any]:
        return AchieveItExportPlanOperator(
            task_id="export",
            plan_id=DEMO_PLAN_ID,
            conn_id="warehouse",
            schema=warehouse.schema,
            mode=mode,
            skip_unchanged=True,
            # One label, whenever this runs.
            **({"snapshot_date": "2026-01-31"} if mode == "snapshot" else {}),
        ).execute({})

    first = export()
    simulator.world.requests.clear()
    assert export() == first | {"pages": 0, "reads": 0, "inserted": 0, "unchanged": True}
    assert len(simulator.world.requests) == 1
    plan = simulator.world.plans[DEMO_PLAN_ID]
    gone = plan.items.pop(7)
    assert (export()["deleted"], export()["unchanged"]) == (1, True)
    plan.items.insert(7, gone)
    assert (export()["inserted"], export()["unchanged"]) == (1, True)
