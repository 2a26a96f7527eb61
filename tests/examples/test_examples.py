"""Every example DAG, unchanged, run by Airflow against the simulator and a SQLite warehouse."""

from __future__ import annotations

import csv
import html
import importlib.util
import io
import json
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet
import pytest
from airflow.timetables.base import DagRunInfo
from pendulum import DateTime

from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID, generated_plan
from tests.airflow_versions import needs_asset_watchers, needs_runs_without_dates
from tests.dag_runs import FinishedRun, place, run_by_file
from tests.going_run import GoingRun, register

ROOT = Path(__file__).parents[2]
EXAMPLES = [
    pytest.param(path, id=path.stem, marks=needs_asset_watchers if path.stem == "plan_watcher" else ())
    for path in sorted((ROOT / "dags_examples").glob("*.py"))
]
TODAY = date(2026, 3, 4)
MONDAY = date(2026, 3, 2)
"""The newest figures are of this day."""


def load(path: Path) -> ModuleType:
    """Import a file as Airflow does: by its path."""
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    return tmp_path / "warehouse.db"


@pytest.fixture
def connections(simulator: Any, warehouse: Path, airflow_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(warehouse)}))
    fill()


def fill(**options: Any) -> None:
    from airflow.providers.common.compat.sdk import BaseHook

    filler = load(ROOT / "scripts" / "fill_warehouse.py")
    filler.fill(BaseHook.get_connection("warehouse").get_hook(), TODAY, **options)


def run(name: str, **options: Any) -> Any:
    """Run an example and return its DAG run."""
    return run_by_file(load(ROOT / "dags_examples" / f"{name}.py").dag, **options).dag_run


def states(dag_run: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for instance in dag_run.get_task_instances():
        found.setdefault(instance.task_id, []).append(str(instance.state))
    return found


def result(dag_run: Any, task_id: str, key: str = "return_value") -> Any:
    """What a task of a run pushed to XCom."""
    return FinishedRun(dag_run).xcom(task_id, key)


def select(warehouse: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(warehouse)) as connection:
        return connection.execute(sql).fetchall()


def sent_rows(simulator: Any) -> list[dict[str, str]]:
    """All that the simulator received, as a person's spreadsheet would show it."""
    return [row for batch in simulator.world.batches for row in csv.DictReader(io.StringIO(batch.body.decode()))]


def newest_figures(warehouse: Path) -> dict[str, tuple[Any, ...]]:
    rows = select(warehouse, f"select kpi_id, rag, value, note from kpi_values where day = '{MONDAY}'")
    return {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize("path", EXAMPLES)
def test_tells_what_it_shows_and_can_be_run_by_itself(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "Shows" in (load(path).__doc__ or "")
    assert text.endswith('if __name__ == "__main__":\n    dag.test()\n')


def test_daily_kpi_push_sends_the_newest_figures_and_tells_the_rest(
    connections: None, simulator: Any, warehouse: Path
) -> None:
    fill(mistakes=True)
    dag_run = run("daily_kpi_push", logical_date=datetime(2026, 3, 4, 6, tzinfo=UTC))
    assert states(dag_run) == {"push_figures": ["success"]}

    figures = newest_figures(warehouse)
    mistakes = {"fin-margin, net", "ppl-sick-leave", "acc-waiting-list"}
    sent = {row["External ID"]: row for row in sent_rows(simulator)}
    assert sent.keys() == figures.keys() - mistakes
    assert len(sent) == 33
    for kpi_id, row in sent.items():
        letter, value, note = figures[kpi_id]
        assert row["Status"] == {"G": "On Track", "A": "At Risk", "R": "Off Track"}[letter]
        assert (float(row["Metric Value"]), row["As Of Date"], row["Comment"]) == (value, str(MONDAY), note or "")
        assert simulator.world.item(kpi_id).fields["statusName"] == row["Status"]
    assert [str(job.state) for job in simulator.world.jobs.values()] == ["processed"]

    summary = result(dag_run, "push_figures")
    counts = {name: summary[name] for name in ("rows_read", "rows_submitted", "rows_rejected", "rows_unchanged")}
    assert counts == {"rows_read": 36, "rows_submitted": 33, "rows_rejected": 3, "rows_unchanged": 0}


def test_daily_kpi_push_of_an_earlier_day_sends_the_figures_of_then(
    connections: None, simulator: Any, warehouse: Path
) -> None:
    run("daily_kpi_push", logical_date=datetime(2026, 2, 20, 6, tzinfo=UTC))
    assert {row["As Of Date"] for row in sent_rows(simulator)} == {"2026-02-16"}


def test_metric_push_from_file_submits_then_waits(connections: None, simulator: Any) -> None:
    dag_run = run("metric_push_from_file")
    assert states(dag_run) == {"submit_figures": ["success"], "wait_for_jobs": ["success"]}
    (batch,) = simulator.world.batches
    assert str(batch.kind) == "metric"
    assert sent_rows(simulator)[1:3] == [
        {"External ID": "fin-revenue", "Metric Value": "436918250.35", "As Of Date": "2026-01-31", "Comment": ""},
        {
            "External ID": "fin-cost-case",
            "Metric Value": "11402.18",
            "As Of Date": "2026-01-31",
            "Comment": "Agency nursing fell, supplies rose",
        },
    ]
    assert simulator.world.item("fin-revenue").fields["currentValue"] == "436918250.35"
    assert simulator.world.item("fin-denials").history[-1].comment == 'Two payers "re-bundled" claims'
    assert result(dag_run, "submit_figures", key="job_ids") == [batch.job_id]


def test_metric_push_takes_the_file_that_the_run_names(connections: None, simulator: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("KPI,Figure,Closing Date,Remark\ndat-quality,81,2026-02-28,\n", encoding="utf-8")
    dag_run = run("metric_push_from_file", run_conf={"path": str(other)})
    assert set(states(dag_run)["wait_for_jobs"]) == {"success"}
    assert simulator.world.item("dat-quality").fields["currentValue"] == "81"


def exported(warehouse: Path, plan_id: str) -> set[tuple[Any, ...]]:
    columns = "id, sequence_id, name, status_name, current_value"
    return set(select(warehouse, f"select {columns} from plan_items where plan_id = '{plan_id}'"))


def expected(plan: Any) -> set[tuple[Any, ...]]:
    """The same columns of the simulator's plan; an empty decimal is NULL."""
    names = ("id", "sequenceId", "name", "statusName", "currentValue")
    return {tuple(item.fields[name] or None for name in names) for item in plan.items}


def test_plan_export_mirrors_the_plan(connections: None, simulator: Any, warehouse: Path) -> None:
    plan = simulator.world.plans[DEMO_PLAN_ID]
    assert states(run("plan_export")) == {"export_plan": ["success"]}
    assert exported(warehouse, DEMO_PLAN_ID) == expected(plan)
    tags = {(item.fields["id"], tag["name"]) for item in plan.items for tag in item.fields["tags"]}
    assert set(select(warehouse, "select item_id, name from plan_items_tags")) == tags
    assert tags

    del plan.items[3:9]
    plan.renumber()
    assert states(run("plan_export")) == {"export_plan": ["success"]}
    assert exported(warehouse, DEMO_PLAN_ID) == expected(plan)


def test_plan_snapshots_keep_today_and_no_day_of_the_past(
    connections: None, simulator: Any, warehouse: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "plans"
    conf = {"directory": str(directory)}
    skipped = run("plan_snapshots", logical_date=datetime(2026, 3, 4, 1, tzinfo=UTC), run_conf=conf)
    assert states(skipped) == {"keep_in_tables": ["skipped"], "keep_as_file": ["skipped"]}
    assert not directory.exists()

    today = run("plan_snapshots", run_conf=conf)
    assert states(today) == {"keep_in_tables": ["success"], "keep_as_file": ["success"]}
    [(day, count)] = select(warehouse, "select _snapshot_date, count(*) from plan_history group by 1")
    [file] = directory.iterdir()
    assert file.name == f"{day}.parquet"
    items = pyarrow.parquet.read_table(file)
    assert items.num_rows == count == len(simulator.world.plans[DEMO_PLAN_ID].items)


@pytest.mark.parametrize(
    "logical_date",
    [
        pytest.param(datetime(2026, 3, 4, 6, tzinfo=UTC), id="dated"),
        pytest.param(None, id="undated", marks=needs_runs_without_dates),
    ],
)
def test_push_then_verify_finds_what_was_pushed(
    connections: None, simulator: Any, warehouse: Path, logical_date: datetime | None
) -> None:
    dag_run = run("push_then_verify", logical_date=logical_date)
    assert set(states(dag_run)) == {"push_figures", "export_plan", "compare", "verify"}
    assert {state for listed in states(dag_run).values() for state in listed} == {"success"}
    held = dict(select(warehouse, "select k.kpi_id, i.current_value from plan_items i join kpis k on k.name = i.name"))
    assert {kpi: float(value) for kpi, value in held.items()} == {
        kpi: value for kpi, (_, value, _) in newest_figures(warehouse).items()
    }


def test_push_then_verify_fails_when_the_plan_holds_something_else(
    connections: None, simulator: Any, warehouse: Path
) -> None:
    # A colleague has typed in a newer figure: the older one that is pushed does not become the current value.
    item = simulator.world.item("saf-falls")
    item.newest["value"] = "2026-03-03"
    item.fields["currentValue"] = "0.77"
    dag_run = run("push_then_verify", logical_date=datetime(2026, 3, 4, 6, tzinfo=UTC))
    assert states(dag_run)["verify"] == ["failed"]
    others = set(states(dag_run)) - {"verify"}
    assert {state for task_id in others for state in states(dag_run)[task_id]} == {"success"}
    held = dict(select(warehouse, "select name, current_value from plan_items"))
    assert held[item.fields["name"]] == "0.77"


def test_export_many_plans_into_the_same_tables(connections: None, simulator: Any, warehouse: Path) -> None:
    for seed in (1, 2):
        plan = generated_plan(40 * seed, seed=seed)
        simulator.world.plans[plan.id] = plan
    plans = simulator.world.plans
    hidden = "00000000-0000-4000-8000-000000000000"
    dag_run = run("export_many_plans", run_conf={"plan_ids": [*plans, hidden]})
    assert sorted(states(dag_run)["export_plan"]) == ["failed", "success", "success", "success"]
    assert {plan_id: len(exported(warehouse, plan_id)) for plan_id in plans} == {
        plan_id: len(plan.items) for plan_id, plan in plans.items()
    }


@needs_asset_watchers
def test_plan_watcher_waits_for_a_change_and_exports(connections: None, simulator: Any, warehouse: Path) -> None:
    [watcher] = load(ROOT / "dags_examples" / "plan_watcher.py").plan.watchers
    assert watcher.trigger.serialize()[1]["plan_id"] == DEMO_PLAN_ID
    dag_run = run("plan_watcher")
    assert states(dag_run) == {"export_plan": ["success"]}
    assert len(exported(warehouse, DEMO_PLAN_ID)) == len(simulator.world.plans[DEMO_PLAN_ID].items)


def test_plan_review_tells_what_is_overdue(connections: None, simulator: Any) -> None:
    items = simulator.world.plans[DEMO_PLAN_ID].items
    for item in items[3:8]:
        item.fields["isPastDue"] = True
    items[5].fields["assignedToFullName"] = None
    dag_run = run("plan_review")
    assert states(dag_run) == {"overdue": ["success"], "statuses": ["success"], "tell": ["success"]}
    late: dict[str, list[str]] = {}
    for item in items[3:8]:
        late.setdefault(html.escape(item.fields["assignedToFullName"] or "nobody"), []).append(
            html.escape(item.fields["name"])
        )
    assert result(dag_run, "overdue") == late
    assert len(late) > 1
    assert result(dag_run, "statuses") == Counter(item.fields["statusName"] for item in items)


def test_weekly_push_makes_up_for_missed_weeks_in_order(connections: None, simulator: Any, warehouse: Path) -> None:
    mondays = [datetime(2026, 2, day, tzinfo=UTC) for day in (9, 16, 23)]
    for monday in mondays:
        assert states(run("weekly_backfill_push", logical_date=monday)) == {"push_week": ["success"]}
    days = [entry.as_of_date for entry in simulator.world.item("fin-margin").history]
    assert days == ["2026-02-08", "2026-02-15", "2026-02-22"]
    values = [float(entry.value) for entry in simulator.world.item("fin-margin").history]
    reported = "'2026-02-02', '2026-02-09', '2026-02-16'"
    wanted = select(
        warehouse, f"select value from kpi_values where kpi_id = 'fin-margin' and day in ({reported}) order by day"
    )
    assert values == [value for (value,) in wanted]


def test_weekly_push_of_a_week_without_figures_is_skipped(connections: None, simulator: Any) -> None:
    fill(weeks=2)
    dag_run = run("weekly_backfill_push", logical_date=datetime(2026, 1, 19, tzinfo=UTC))
    assert states(dag_run) == {"push_week": ["skipped"]}
    assert simulator.world.batches == []


def test_taskflow_push_judges_every_kpi_by_its_trend(connections: None, simulator: Any, warehouse: Path) -> None:
    dag_run = run("taskflow_push")
    assert states(dag_run) == {"better_when_lower": ["success"], "push_trends": ["success"]}
    sent = {row["External ID"]: row for row in sent_rows(simulator)}
    assert sent.keys() == newest_figures(warehouse).keys()
    before = dict(
        select(warehouse, f"select kpi_id, value from kpi_values where day = '{MONDAY - timedelta(weeks=1)}'")
    )
    for kpi_id, row in sent.items():
        change = float(row["Metric Value"]) - before[kpi_id]
        better = change <= 0 if kpi_id in result(dag_run, "better_when_lower") else change >= 0
        assert (row["Status"], row["As Of Date"]) == ("On Track" if better else "At Risk", str(MONDAY))
    assert {row["Status"] for row in sent.values()} == {"On Track", "At Risk"}


def test_pipeline_status_tells_failure_and_success(connections: None, simulator: Any) -> None:
    path = ROOT / "dags_examples" / "pipeline_status.py"
    dag = load(path).dag
    place(dag, path)
    register(dag)
    ends = []
    for day, weeks in ((4, 0), (5, 26)):
        fill(weeks=weeks)
        due = DagRunInfo.interval(DateTime(2026, 3, day - 1, 5, tzinfo=UTC), DateTime(2026, 3, day, 5, tzinfo=UTC))
        going = GoingRun(dag, f"scheduled__{day}", due)
        ends.append(going.go_on())
        going.call_back(path)
    assert ends == ["failed", "success"]
    told = [(row["Status"], row["As Of Date"], row["Comment"]) for row in sent_rows(simulator)]
    assert told == [
        ("At Risk", "2026-03-04", "The figures of 2026-03-04 are missing"),
        ("On Track", "2026-03-05", "Airflow: DAG achieveit_pipeline_status, run scheduled__5: success"),
    ]


@pytest.mark.parametrize("path", EXAMPLES)
def test_shows_the_simulators_plan_and_the_documented_connections(path: Path) -> None:
    dag = load(path).dag
    defaults = dag.params.dump()
    for plan_id in [defaults.get("plan_id"), *defaults.get("plan_ids", [])]:
        assert plan_id in (None, DEMO_PLAN_ID)
    for task in dag.tasks:
        arguments = {**getattr(task, "partial_kwargs", {}), **vars(task)}
        assert arguments.get("conn_id") in ("warehouse", None)
        assert arguments.get("achieveit_conn_id", "achieveit_default") == "achieveit_default"
