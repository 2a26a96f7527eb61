"""Every DAG of docs/taskflow.md, as a file of its own, run by Airflow to its end and called back."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.airflow_versions import needs_deadlines
from tests.docs.blocks import blocks
from tests.docs.dags import dag_file, dags_of
from tests.going_run import GoingRun, register

FUNCTION, CALLBACKS, DEADLINE = blocks("docs/taskflow.md", "python")

pytestmark = pytest.mark.usefixtures("airflow_db")


def going(source: str, directory: Path) -> tuple[GoingRun, Path]:
    path = dag_file(source, directory)
    [dag] = dags_of(path)
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
