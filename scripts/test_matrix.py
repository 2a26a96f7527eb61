"""Run the test suite on every supported Airflow with every supported Python, and print a table of what came out.

Each pair is a cell: ``constraints/airflow-<cell>.txt`` tells its packages, ``.venv-airflow-<cell>`` is its environment,
made by uv. In a cell, Airflow first loads all that the provider registers (check_provider.py), then the suite runs;
what a version of Airflow lacks is skipped there, by name. Needs only the standard library and uv.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from make_venv import ROOT, python_version

CONSTRAINTS = ROOT / "constraints"
RESULTS = ROOT / "build" / "matrix"


@dataclass(frozen=True)
class Cell:
    """One version of Airflow on one Python."""

    airflow: str
    python: str

    @property
    def name(self) -> str:
        """What the command line, the environment and the constraint file call it."""
        return f"{self.airflow}-py{self.python}"

    @property
    def environment(self) -> Path:
        """Where its packages are."""
        return ROOT / f".venv-airflow-{self.name}"


@dataclass
class Result:
    """What came out of a cell."""

    cell: Cell
    state: str
    seconds: float = 0
    passed: int = 0
    failed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """How many tests, by the reason."""


def all_cells() -> list[Cell]:
    """Return every cell that has a constraint file, oldest first."""
    names = [re.fullmatch(r"airflow-(.+)-py(.+)\.txt", path.name) for path in CONSTRAINTS.iterdir()]
    cells = [Cell(*name.groups()) for name in names if name]
    return sorted(cells, key=lambda cell: [int(part) for part in (*cell.airflow.split("."), *cell.python.split("."))])


def interpreter(version: str) -> Path | None:
    """Return a Python of this machine, from the PATH or of pyenv; None if there is none that runs.

    :param version: ``3.x``.
    """
    on_path = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [Path(on_path)] if on_path else []
    candidates += sorted(pyenv.glob(f"versions/{version}.*/bin/python"))
    return next((found for found in candidates if python_version(found) == version), None)


def make_environment(cell: Cell, python: Path, uv: str) -> None:
    """Make the environment of a cell, or bring it up to date; take away what does not belong there.

    :raises subprocess.CalledProcessError: uv failed; it has said why.
    """
    inside = cell.environment / "bin" / "python"
    if python_version(inside) != cell.python:
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", python, cell.environment], check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = ",".join(project["optional-dependencies"])
    command: list[str | Path] = [uv, "pip", "install", "--quiet", "--exact", "--python", inside]
    command += ["--constraint", CONSTRAINTS / f"airflow-{cell.name}.txt"]
    command += ["--requirement", CONSTRAINTS / f"airflow-{cell.airflow}.in"]
    command += ["--group", "test", "--editable", f".[{extras}]"]
    subprocess.run(command, check=True, cwd=ROOT)


def outcome(report: Path) -> tuple[int, int, Counter[str]]:
    """Return how many tests passed and failed, and how many were skipped by reason.

    :param report: pytest's report in JUnit's format.
    """
    tests = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314  # our own pytest wrote it
    skips = Counter(skip.get("message", "") for test in tests for skip in test.iter("skipped"))
    failed = sum(1 for test in tests if test.find("failure") is not None or test.find("error") is not None)
    return len(tests) - failed - skips.total(), failed, skips


def run(cell: Cell, uv: str, *, load_only: bool) -> Result:
    """Run one cell.

    :param uv: the program.
    :param load_only: only let Airflow load the provider.
    """
    print(f"== {cell.name}", flush=True)
    python = interpreter(cell.python)
    if python is None:
        print(f"There is no Python {cell.python} on this machine, neither on the PATH nor of pyenv.", flush=True)
        return Result(cell, "failed: no Python" if os.environ.get("CI") else "skipped: no Python")
    began = time.monotonic()
    inside = cell.environment / "bin" / "python"
    try:
        make_environment(cell, python, uv)
        subprocess.run([inside, "scripts/check_provider.py"], check=True, cwd=ROOT)
    except subprocess.CalledProcessError as error:
        return Result(cell, f"failed: {Path(error.cmd[0]).name} {error.cmd[1]}", time.monotonic() - began)
    if load_only:
        return Result(cell, "loaded", time.monotonic() - began)
    report = RESULTS / f"{cell.name}.xml"
    report.unlink(missing_ok=True)
    pytest = ("-m", "pytest", "-n", "auto", "--dist", "worksteal", f"--junit-xml={report}")
    done = subprocess.run([inside, *pytest], cwd=ROOT)
    counts = outcome(report) if report.exists() else ()
    return Result(cell, "failed" if done.returncode else "passed", time.monotonic() - began, *counts)


def table(results: Iterable[Result]) -> str:
    """Return one line a cell, and after them what was skipped and why."""
    results = list(results)
    lines = [f"{'cell':16}{'passed':>8}{'skipped':>9}{'failed':>8}{'seconds':>9}"]
    for result in results:
        counts = f"{result.passed:8}{result.skipped.total():9}{result.failed:8}{result.seconds:9.0f}"
        lines.append(f"{result.cell.name:16}{counts}  {result.state}")
    for result in results:
        lines += [f"{result.cell.name} skipped {count}: {why}" for why, count in result.skipped.most_common()]
    return "\n".join(lines)


def main() -> int:
    """Run the cells that the command line names, by default all; exit code 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uv", default="uv", help="the program (default: of the PATH)")
    parser.add_argument("--load-only", action="store_true", help="only let Airflow load the provider")
    parser.add_argument("cells", nargs="*", metavar="CELL", help="such as 3.3.2-py3.13 (default: all)")
    chosen = parser.parse_args()
    known = {cell.name: cell for cell in all_cells()}
    if unknown := set(chosen.cells) - set(known):
        parser.error(f"no such cell: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    results = [run(known[name], chosen.uv, load_only=chosen.load_only) for name in chosen.cells or known]
    print(f"\n{table(results)}")
    return int(any(result.state.startswith("failed") for result in results))


if __name__ == "__main__":
    sys.exit(main())
