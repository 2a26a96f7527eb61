"""What the commands of the Makefile run, and the surroundings of the tests themselves."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
OWN_AIRFLOW = {
    "AIRFLOW_HOME": "/home/ann/airflow",
    "AIRFLOW_CONFIG": "/home/ann/airflow.cfg",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://production",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": "cat production",
    "AIRFLOW__SECRETS__BACKEND": "production.Backend",
    "AIRFLOW_CONN_WAREHOUSE": "postgres://production",
    "AIRFLOW_CONN_ACHIEVEIT_DEFAULT": "achieveit://production",
    "AIRFLOW_VAR_STAGE": "production",
}


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_apart_from(environment: dict[str, str], home: Path) -> None:
    """Nothing of the user's own Airflow is left, and the database lies in ``home``."""
    assert not set(OWN_AIRFLOW.items()) & set(environment.items())
    assert environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == f"sqlite:///{home / 'airflow.db'}"
    assert environment["AIRFLOW_HOME"] == str(home)


# --- Apart from the user's own Airflow --------------------------------------------------------------------------------


def test_the_demo_keeps_off_the_users_airflow() -> None:
    environment = script("demo").environment({"PATH": "/bin", **OWN_AIRFLOW})
    assert environment["PATH"] == "/bin"
    assert_apart_from(environment, ROOT / ".demo")
    assert json.loads(environment["AIRFLOW_CONN_WAREHOUSE"])["host"] == str(ROOT / ".demo" / "warehouse.db")


def test_the_tests_keep_off_the_users_airflow(tmp_path: Path) -> None:
    code = (
        "import json, os, runpy; tests = runpy.run_path('tests/conftest.py')\n"
        "print(json.dumps([str(tests['_HOME']), dict(os.environ)])); tests['pytest_unconfigure']()"
    )
    environment = {**os.environ, **OWN_AIRFLOW, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)
    home, seen = json.loads(done.stdout)
    assert_apart_from(seen, Path(home))
    assert not Path(home).exists()
