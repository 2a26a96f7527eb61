"""Every DAG of docs/taskflow.md, as a file of its own, run by Airflow to its end and called back."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.airflow_versions import for_this_airflow, needs_deadlines
from tests.dag_runs import place
from tests.examples.test_examples import load
from tests.going_run import GoingRun, register

PAGE = (Path(__file__).parents[1] / "docs" / "taskflow.md").read_text(encoding="utf-8")
FUNCTION, CALLBACKS, DEADLINE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

pytestmark = pytest.mark.usefixtures("airflow_db")


def going(source: str, directory: Path) -> tuple[GoingRun, Path]:
    path = directory / "a_dag_of_the_page.py"
    path.write_text(for_this_airflow(source), encoding="utf-8")
    dag = load(path).dag
    place(dag, path)
    register(dag)
    return GoingRun(dag), path


def received(simulator: RunningSimulator) -> list[dict[str, str]]:
    return [row for batch in simulator.world.batches for row in csv.DictReader(io.StringIO(batch.body.decode()))]


def test_a_function_gives_the_rows(simulator: RunningSimulator, tmp_path: Path) -> None:
    run, _ = going(FUNCTION, tmp_path)
    assert run.go_on() == "success"
    assert [(row["External ID"], row["Status"], row["Metric Value"]) for row in received(simulator)] == [
        ("pat-nps", "At Risk", "41.5"),
        ("dat-quality", "On Track", "83.0"),
    ]


def test_the_end_of_a_run_is_told(simulator: RunningSimulator, tmp_path: Path) -> None:
    run, path = going(CALLBACKS, tmp_path)
    assert run.go_on() == "success"
    run.call_back(path)
    [row] = received(simulator)
    assert (row["External ID"], row["Status"], row["Metric Value"]) == ("dat-quality", "On Track", "87")


@needs_deadlines
def test_a_late_run_is_told(simulator: RunningSimulator, tmp_path: Path) -> None:
    run, _ = going(DEADLINE, tmp_path)
    assert [told["state"] for told in run.miss_deadline()] == ["running", "success"]
    [row] = received(simulator)
    assert row["Status"] == "At Risk"
    assert row["Comment"].endswith("missed")
