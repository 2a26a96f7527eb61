"""What a DAG file pays for importing the provider, and which way the imports point."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "airflow_provider_achieveit"
HEAVY = (
    "openlineage",
    "pandas",
    "numpy",
    "requests",
    "aiohttp",
    "sqlalchemy",
    "pyarrow",
    "fastapi",
    "uvicorn",
    "msgspec",
    "tenacity",
    "rich",
    "jinja2",
)

LOOK = """
import sys
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseSensorOperator, conf
from airflow.triggers.base import BaseTrigger
# What it costs to make any operator at all is Airflow's.
BaseOperator(task_id="any")
before = set(sys.modules)
import airflow_provider_achieveit.operators.updates
import airflow_provider_achieveit.operators.export
import airflow_provider_achieveit.sensors.job
import airflow_provider_achieveit.triggers.job
import airflow_provider_achieveit.triggers.plan
import airflow_provider_achieveit.hooks.achieveit
import airflow_provider_achieveit.decorators.updates
from airflow_provider_achieveit.notifications.progress import AchieveItProgressNotifier
import airflow_provider_achieveit.plugins.history
from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator, AchieveItExportPlanToFileOperator
AchieveItSubmitProgressUpdatesOperator(task_id="a", rows=[])
AchieveItExportPlanOperator(task_id="b", plan_id="p", conn_id="c")
AchieveItExportPlanToFileOperator(task_id="f", plan_id="p", path="s3://lake/p.parquet")
AchieveItProgressNotifier(external_id="i", status="On Track")
print("ADDED", *sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def test_a_dag_file_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    [added] = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("ADDED")]
    assert "airflow_provider_achieveit" in added
    assert not set(added) & set(HEAVY)


MAY_IMPORT = {
    "api": {"api"},
    "updates": {"updates", "api"},
    "warehouse": {"warehouse", "api"},
    "files": {"files", "warehouse", "api"},
    "stores": {"stores", "updates", "warehouse", "api"},
    "unsure": {"stores", "api"},
    "submission": {"unsure", "stores", "updates", "warehouse", "api"},
    # A program of its own that shares the vocabulary of the contract.
    "simulator": {"simulator", "api"},
}


def imported_parts(path: Path) -> set[str]:
    """Return the top-level names that a module imports; those of this package by their part."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            parts = name.split(".")
            found.add(parts[1] if parts[0] == PACKAGE.name and len(parts) > 1 else parts[0])
    return found


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_arrows_point_down(part: str) -> None:
    files = sorted((PACKAGE / part).rglob("*.py")) or [PACKAGE / f"{part}.py"]
    inside = {path.stem for path in PACKAGE.glob("*.py")} | {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    for path in files:
        used = imported_parts(path)
        assert not used & (inside - MAY_IMPORT[part]), path
        assert "airflow" not in used, path


def test_only_the_carriers_and_the_simulator_speak_http() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.parts[-2] in ("api", "simulator"):
            continue
        assert not imported_parts(path) & {"requests", "aiohttp", "httpx", "urllib3"}, path


def test_only_the_contract_knows_addresses() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.name == "contract.py" or "simulator" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        assert "/api/progressupdates" not in text, path
        assert "/exports/plans" not in text, path
