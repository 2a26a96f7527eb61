"""What the commands of the Makefile run, and the surroundings of the tests themselves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import test_matrix

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


def assert_apart_from(environment: dict[str, str], home: Path) -> None:
    """Nothing of the user's own Airflow is left, and the database lies in ``home``."""
    assert not set(OWN_AIRFLOW.items()) & set(environment.items())
    assert environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == f"sqlite:///{home / 'airflow.db'}"
    assert environment["AIRFLOW_HOME"] == str(home)


# --- Apart from the user's own Airflow --------------------------------------------------------------------------------


def test_the_demo_keeps_off_the_users_airflow() -> None:
    environment = import_module("demo").environment({"PATH": "/bin", **OWN_AIRFLOW})
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
        import_module("make_venv").install(venv, [], constraints)
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
    given = import_module("make_venv").advice(said)
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
    assert import_module("demo").rejects(log) == [
        "row 5, rag '': missing",
        "row 27, rag '[x] a=b': no such status; known are G, A, R",
    ]


# --- make test-matrix -------------------------------------------------------------------------------------------------

SUITE = """
import pytest

def test_passes(): pass
def test_fails(): assert False
@pytest.fixture
def broken(): raise ValueError
def test_errs(broken): pass
@pytest.mark.parametrize("n", range(3))
def test_skips(n): pytest.skip("Airflow 4 brings it" if n else "no PostgreSQL")
"""


def test_what_came_out_of_a_cell_is_counted_from_pytests_own_report(tmp_path: Path) -> None:
    suite, report = tmp_path / "test_suite.py", tmp_path / "report.xml"
    suite.write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", tmp_path, suite, f"--junit-xml={report}"]
    subprocess.run(command, capture_output=True, cwd=tmp_path, check=False)
    passed, failed, skipped = test_matrix.outcome(report)
    assert (passed, failed, skipped) == (1, 2, {"Airflow 4 brings it": 2, "no PostgreSQL": 1})
    cell = test_matrix.Cell("3.3.2", "3.13")
    told = test_matrix.table([test_matrix.Result(cell, "failed", 61.5, passed, failed, skipped)])
    assert [line.split() for line in told.splitlines()[:2]] == [
        ["cell", "passed", "skipped", "failed", "seconds"],
        ["3.3.2-py3.13", "1", "3", "2", "62", "failed"],
    ]
    assert "3.3.2-py3.13 skipped 2: Airflow 4 brings it" in told


def test_a_shim_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shim = tmp_path / "shims" / f"python{version}"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    real = tmp_path / "versions" / f"{version}.99" / "bin" / "python"
    real.parent.mkdir(parents=True)
    real.symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{shim.parent}:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert test_matrix.interpreter(version) == real


@pytest.mark.parametrize(("ci", "state"), [("", "skipped: no Python"), ("true", "failed: no Python")])
def test_a_python_that_is_not_there_is_told(
    ci: str, state: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI", ci)
    result = test_matrix.run(test_matrix.Cell("3.3.2", "3.99"), "uv", load_only=True)
    assert result.state == state
    assert "no Python 3.99 on this machine" in capsys.readouterr().out


def test_every_airflow_has_its_versions_for_every_python() -> None:
    constraints = ROOT / "constraints"
    airflows = {path.stem.removeprefix("airflow-") for path in constraints.glob("airflow-*.in")}
    pythons = {path.stem.removeprefix("py") for path in constraints.glob("py3.*.txt")}
    assert {(cell.airflow, cell.python) for cell in test_matrix.all_cells()} == {
        (airflow, python) for airflow in airflows for python in pythons
    }
    for cell in test_matrix.all_cells():
        lines = (constraints / f"airflow-{cell.name}.txt").read_text().splitlines()
        assert [line for line in lines if not re.fullmatch(r"[a-z0-9.-]+==[A-Za-z0-9.+!]+", line)] == []
        assert f"apache-airflow=={cell.airflow}" in lines
