"""What the commands of the Makefile run, and the surroundings of the tests themselves."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

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


# --- make venv --------------------------------------------------------------------------------------------------------


def test_a_path_with_blanks_stays_one_path_for_pip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)  # of a machine with uv
    venv = tmp_path / "an environment"
    pip = venv / "bin" / "python"
    pip.parent.mkdir(parents=True)
    pip.write_text('#!/bin/sh\necho "$PIP_CONSTRAINT" "$PIP_BUILD_CONSTRAINT" >&2\nexit 2\n')
    pip.chmod(0o755)
    constraints = tmp_path / "my work" / "py3.11.txt"
    with pytest.raises(subprocess.CalledProcessError) as raised:
        script("make_venv").install(venv, [], constraints)
    told = raised.value.stderr.split()
    assert [unquote(urlsplit(address).path) for address in told] == [str(constraints)] * 2
    assert capsys.readouterr().err == raised.value.stderr


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (
            "WARNING: Retrying (Retry(total=4, connect=None, read=None, redirect=None, status=None)) after connection "
            "broken by 'NewConnectionError('[Errno 111] Connection refused')': /simple/pytest/",
            "not reached",
        ),
        ("ERROR: No matching distribution found for pytest", "not reached"),
        ("ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/", "has not the locked versions"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: Could not open requirements file: [Errno 2] No such file or directory: '/home/ann/my'", ""),
        ("error: subprocess-exited-with-error", ""),
    ],
)
def test_only_a_plausible_cause_is_told(said: str, advice: str) -> None:
    given = script("make_venv").advice(said)
    assert advice in given
    assert bool(advice) == bool(given)


# --- make demo --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        "",
        "  ",
        " [airflow.task.operators.airflow_provider_achieveit.operators.updates.SubmitOperator] loc=rejected.py:32",
        " [airflow.task] loc=rejected.py:32 logger=task",
        " [airflow.task]",
    ],
)
def test_the_demo_tells_rejects_without_the_logs_own_words(end: str) -> None:
    log = (
        "2026-01-05T06:00:00.000000Z [warning  ] Rejected rows:\n"
        "row 5, rag '': missing\n"
        f"row 27, rag '[x] a=b': no such status; known are G, A, R{end}\n"
        "2026-01-05T06:00:01.000000Z [info     ] Read row 5, and others [airflow.task] loc=updates.py:1\n"
    )
    assert script("demo").rejects(log) == [
        "row 5, rag '': missing",
        "row 27, rag '[x] a=b': no such status; known are G, A, R",
    ]
