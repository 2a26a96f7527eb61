"""The wheel in environments of its own: bare, at its oldest requirements, and with each extra alone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.package.conftest import NEWEST, ROOT, SECONDS, Installed
from tests.terminals import read_all, terminal

Install = Callable[..., Installed]
PACKAGE = "airflow_provider_achieveit"
CLI = ("python", "-m", PACKAGE)
CONNECTION = "AIRFLOW_CONN_ACHIEVEIT_DEFAULT"
LOWEST = ROOT / "constraints" / "lowest.txt"
OLDEST_PYTHON = "3.11"

IMPORT_ALL = f"""
import importlib, json, pkgutil, warnings
# Its own warnings are its own.
import airflow.providers_manager
import {PACKAGE} as package
failed = {{}}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            failed[module.name.partition(".")[2]] = str(error)
ours = [str(warning.message) for warning in caught if package.__name__ in warning.filename]
print("FOUND", json.dumps([package.__file__, failed, ours]))
"""


def missing(installed: Installed) -> dict[str, str]:
    """Return the modules of the package that cannot be imported, and why; none warns."""
    [line] = [line for line in installed.python(IMPORT_ALL).stdout.splitlines() if line.startswith("FOUND ")]
    file, failed, warned = json.loads(line.removeprefix("FOUND "))
    assert Path(file).is_relative_to(installed.directory), "not the installed package"
    assert warned == []
    return dict(failed)


def assert_pushes(installed: Installed, simulator: RunningSimulator) -> None:
    """A file goes to AchieveIt, by the command line and so by the operator."""
    installed.variables[CONNECTION] = simulator.connection()
    kpis = installed.directory / "kpis.csv"
    kpis.write_text("external_id,status,metric_value,as_of_date\npat-nps,On Track,41,2026-01-05\n")
    done = installed.run(*CLI, "submit", kpis.name, "--poll-interval", "0.2", "--output", "json")
    assert json.loads(done.stdout)["rows_submitted"] == 1
    assert simulator.world.item("pat-nps").fields["currentValue"] == "41"


def assert_airflow_takes_it(installed: Installed) -> None:
    """Airflow loads all that the provider registers, without a warning."""
    told = installed.run("python", ROOT / "scripts" / "check_provider.py").stdout
    assert "takes all of it, without a warning" in told
    told = installed.run("airflow", "providers", "get", "airflow-provider-achieveit", "--output", "json").stdout
    [provider] = json.loads(told)
    assert "airflow-provider-achieveit" in provider.values()


# --- Without an extra -------------------------------------------------------------------------------------------------


def test_the_newest_airflow_and_nothing_else(install: Install, simulator: RunningSimulator) -> None:
    installed = install()
    assert missing(installed) == {"files.parquet": "No module named 'pyarrow'"}
    assert_airflow_takes_it(installed)
    assert_pushes(installed, simulator)

    read = "from airflow_provider_achieveit.hooks.achieveit import AchieveItHook; AchieveItHook().get_plan_df('p')"
    asked = {
        "pandas": installed.python(read, code=1),
        "parquet": installed.run(*CLI, "export", DEMO_PLAN_ID, "--to", "plan.parquet", code=None),
        "simulator": installed.run("python", "-m", f"{PACKAGE}.simulator", "--port", "0", "--tls", code=1),
    }
    for extra, answer in asked.items():
        assert answer.returncode != 0
        assert f"airflow-provider-achieveit[{extra}]" in answer.stderr, answer.stderr


def oldest_python() -> str:
    done = subprocess.run([os.environ["UV"], "python", "find", OLDEST_PYTHON], capture_output=True, text=True)
    if done.returncode:
        told = f"no Python {OLDEST_PYTHON} here"
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    return done.stdout.strip()


def test_the_oldest_of_everything_and_no_extra(install: Install, simulator: RunningSimulator) -> None:
    installed = install(constraints=LOWEST, python=oldest_python())
    without = missing(installed)
    # Airflow 2 has no API server to show the page of.
    assert without.pop("history.app") == "No module named 'airflow.api_fastapi'"
    assert {name.partition(".")[0] for name in without} == {"files", "simulator"}
    assert "airflow-provider-achieveit[simulator]" in without["simulator.server"]
    assert_airflow_takes_it(installed)
    assert_pushes(installed, simulator)


OF_THE_LIBRARIES = (
    "api/test_contract.py",
    "api/test_http.py",
    "updates/test_update_sources.py",
    "files/test_writers.py",
)
"""Tests of what the libraries do for us that a bound is about, without servers and databases."""


def assert_its_tests_pass(installed: Installed) -> None:
    """The libraries at their oldest do what the newest do; an import alone does not show it."""
    wanted = ("pytest", "pytest-asyncio", "pytest-timeout", "hypothesis", "requests-mock", "psycopg2-binary")
    runners = [line for line in NEWEST.read_text(encoding="utf-8").split() if line.partition("==")[0] in wanted]
    assert len(runners) == len(wanted)
    command = [os.environ["UV"], "pip", "install", "--quiet", "--python", installed.bin / "python"]
    subprocess.run([*command, "--constraint", LOWEST, *runners], check=True, timeout=SECONDS)
    files = [ROOT / "tests" / name for name in OF_THE_LIBRARIES]
    done = installed.run("python", "-m", "pytest", "-q", "-c", ROOT / "pyproject.toml", *files)
    assert " passed" in done.stdout


def test_the_oldest_of_everything_with_all_extras(install: Install, simulator: RunningSimulator) -> None:
    installed = install("simulator,pandas,parquet,openlineage,cli", constraints=LOWEST, python=oldest_python())
    assert missing(installed) == {"history.app": "No module named 'airflow.api_fastapi'"}
    assert_airflow_takes_it(installed)
    installed.variables[CONNECTION] = simulator.connection()
    assert_reads_a_dataframe(installed, simulator)
    assert_writes_and_reads_parquet(installed, simulator)
    assert_simulates(installed)
    assert_tells_lineage(installed)
    assert_its_tests_pass(installed)


# --- Each extra alone -------------------------------------------------------------------------------------------------


def assert_reads_a_dataframe(installed: Installed, simulator: RunningSimulator) -> None:
    """A plan becomes a DataFrame."""
    program = f"""
import pandas
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
frame = AchieveItHook().get_plan_df("{DEMO_PLAN_ID}")
assert isinstance(frame, pandas.DataFrame)
print("READ", len(frame))
"""
    [plan] = simulator.world.plans.values()
    assert f"READ {len(plan.items)}\n" in installed.python(program).stdout


def test_pandas(install: Install, simulator: RunningSimulator) -> None:
    installed = install("pandas")
    installed.variables[CONNECTION] = simulator.connection()
    assert_reads_a_dataframe(installed, simulator)


def assert_writes_and_reads_parquet(installed: Installed, simulator: RunningSimulator) -> None:
    """A plan becomes a Parquet file, and its rows are read and checked as a submit does."""
    installed.run(*CLI, "export", DEMO_PLAN_ID, "--to", "plan.parquet")
    columns = "external_id=id,metric_value=sequence_id,as_of_date=_extracted_at"
    options = ["--kind", "metric", "--columns", columns, "--on-invalid", "skip", "--output", "json"]
    told = json.loads(installed.run(*CLI, "validate", "plan.parquet", *options).stdout)
    [plan] = simulator.world.plans.values()
    assert told["rows_read"] == len(plan.items)


def test_parquet(install: Install, simulator: RunningSimulator) -> None:
    installed = install("parquet")
    installed.variables[CONNECTION] = simulator.connection()
    assert_writes_and_reads_parquet(installed, simulator)


def assert_simulates(installed: Installed) -> None:
    """Its own simulator answers over TLS, and takes an update."""
    command = [installed.bin / "python", "-m", f"{PACKAGE}.simulator", "--port", "0", "--tls", "--ca-file", "ca.pem"]
    environment = installed.environment()
    with subprocess.Popen(
        command, cwd=installed.directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as served:
        try:
            assert served.stdout is not None
            told = ""
            while "Airflow:" not in told:
                line = served.stdout.readline()
                assert line, served.stderr and served.stderr.read()
                told += line
            [connection] = re.findall(f"{CONNECTION}='(.+)'", told)
            installed.variables[CONNECTION] = connection
            (installed.directory / "own.csv").write_text(
                "external_id,status,metric_value,as_of_date\npat-nps,On Track,41,2026-01-05\n"
            )
            done = installed.run(*CLI, "submit", "own.csv", "--poll-interval", "0.2", "--output", "json")
            assert [batch["state"] for batch in json.loads(done.stdout)["batches"]] == ["applied"]
            served.send_signal(signal.SIGTERM)
            assert served.wait(SECONDS) == 0
        finally:
            served.kill()


def test_simulator(install: Install) -> None:
    assert_simulates(install("simulator"))


def assert_tells_lineage(installed: Installed) -> None:
    """An export tells OpenLineage's provider of its data sets."""
    program = f"""
from airflow.providers.openlineage.extractors import OperatorLineage
from airflow_provider_achieveit.operators.export import AchieveItExportPlanToFileOperator
task = AchieveItExportPlanToFileOperator(task_id="export", plan_id="{DEMO_PLAN_ID}", path="s3://lake/plan.csv")
lineage = task.get_openlineage_facets_on_start()
assert isinstance(lineage, OperatorLineage)
print("FROM", *(part.name for part in lineage.inputs), "TO", *(part.name for part in lineage.outputs))
"""
    assert f"FROM plans/{DEMO_PLAN_ID} TO plan.csv" in installed.python(program).stdout


def test_openlineage(install: Install, simulator: RunningSimulator) -> None:
    installed = install("openlineage")
    installed.variables[CONNECTION] = simulator.connection()
    assert_tells_lineage(installed)


def test_cli(install: Install) -> None:
    installed = install("cli")
    (installed.directory / "kpis.csv").write_text(
        "external_id,status,metric_value,as_of_date\npat-nps,On Track,41,2026-01-05\n"
    )
    command = [installed.bin / "python", "-m", PACKAGE, "validate", "kpis.csv"]
    environment = installed.environment() | {"TERM": "xterm", "COLUMNS": "120"}
    with (
        terminal() as (own, others),
        subprocess.Popen(
            command, cwd=installed.directory, env=environment, stdin=others, stdout=others, stderr=others
        ) as process,
    ):
        shown = read_all(own, others)
        assert process.wait(SECONDS) == 0
    assert re.search(r"│ rows_read +│ 1 +│", shown)
