"""docs/tutorial.md, typed step by step as a newcomer does; only the installation is not repeated."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tests.airflow_versions import AIRFLOW
from tests.docs.blocks import ROOT, blocks
from tests.docs.dags import dag_file
from tests.docs.terminal import Terminal, steps

[INSTALL] = blocks("docs/tutorial.md", "console", "1. Install")
CONSOLES = [
    *blocks("docs/tutorial.md", "console", "2. Start an AchieveIt"),
    *blocks("docs/tutorial.md", "console", "3. Connect"),
    *blocks("docs/tutorial.md", "console", "4. Check a file of your own"),
    *blocks("docs/tutorial.md", "console", "5. Send it"),
    *blocks("docs/tutorial.md", "console", "6. The same as a DAG, and back"),
    *blocks("docs/tutorial.md", "console", "7. Look at it"),
]
[DAG] = blocks("docs/tutorial.md", "python")


@pytest.mark.timeout(600)
def test_it_goes_as_it_says(terminal: Terminal, airflow_db: None) -> None:
    terminal.instead["$PWD"] = str(terminal.directory)
    dags = terminal.directory / "dags"
    dags.mkdir()
    dag_file(DAG, dags, "tutorial")
    # Airflow 2 and 3.0 log each line twice, and an error more often.
    once = "| uniq" if AIRFLOW < (3, 1) else ""
    for console in CONSOLES:
        terminal.type(re.sub(r"(grep .* run\.log)$", rf"\1 {once}", console, flags=re.MULTILINE))
    terminal.type("$ airflow dags test tutorial > again.log 2>&1\n")
    assert "rows_submitted 3, rows_rejected 0, rows_unchanged 0" in (terminal.directory / "again.log").read_text()
    (terminal.directory / "kpis.csv").unlink()
    # Airflow 3.0 breaks errors into lines of the terminal's width.
    terminal.setenv("COLUMNS", "300")
    terminal.type("$ airflow dags test tutorial > run.log 2>&1\n")
    [look] = [line for console in CONSOLES for line, _ in steps(console) if "run.log" in line and "grep" in line]
    terminal.type(f"$ {look} {once}\nFileNotFoundError: [Errno 2] No such file or directory: '/home/ann/kpis.csv'\n")


def test_what_is_installed_exists() -> None:
    (version, shown), _, _, (install, _) = steps(INSTALL)
    pip, verb, option, constraints, package, warehouse = shlex.split(install)
    assert (pip, verb, option) == ("pip", "install", "--constraint")
    assert version == "python3 --version"
    [python] = re.findall(r"^Python (\d+\.\d+)\.", shown)
    assert f"-py{python}.txt" in constraints
    locked = ROOT.parent / constraints.replace("airflow-provider-achieveit", ROOT.name, 1)
    names = [line.partition("==")[0] for line in Path(locked).read_text(encoding="utf-8").splitlines()]
    assert warehouse in names
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert package == f"./{project['name']}[simulator]"
    assert "simulator" in project["optional-dependencies"]
