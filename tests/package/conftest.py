"""What `make package` built, and environments in which nothing is installed but that and what it declares."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEWEST = ROOT / "constraints" / f"py{sys.version_info.major}.{sys.version_info.minor}.txt"
"""The newest Airflow, and what goes with it."""
SECONDS = 300
"""No step takes a tenth of it, on a machine that does nothing else."""


@pytest.hookimpl(tryfirst=True)  # before the marks decide what runs
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.package)
            item.add_marker(pytest.mark.timeout(900))


def built(pattern: str) -> Path:
    """Return the one file in dist/ that fits; fail where `make package` did not run."""
    found = list((ROOT / "dist").glob(pattern))
    assert len(found) == 1, f"{len(found)} files are dist/{pattern}: run `make package`"
    return found[0]


@pytest.fixture(scope="session")
def wheel() -> Path:
    return built("*.whl")


@pytest.fixture(scope="session")
def sdist() -> Path:
    return built("*.tar.gz")


@dataclass(frozen=True)
class Installed:
    """An environment of its own, away from the source tree.

    :param directory: where commands run, and where their Airflow is at home.
    :param variables: of the commands' environment, beside what every program needs.
    """

    directory: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def bin(self) -> Path:
        """Where its programs are."""
        return self.directory / "venv" / "bin"

    def environment(self) -> dict[str, str]:
        """Return the environment of its commands: nothing of this process's but what every program needs."""
        home = str(self.directory / "home")
        return {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": home,
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "NO_PROXY": "localhost,127.0.0.1",
            **self.variables,
        }

    def run(self, *command: str | Path, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run one of its programs to the end.

        :param command: its name and arguments.
        :param code: the exit code that it must have; None: any.
        """
        done = subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=self.directory,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done

    def python(self, program: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a program of Python that is given as text."""
        return self.run("python", "-c", program, code=code)


@pytest.fixture
def install(tmp_path: Path, wheel: Path) -> Callable[..., Installed]:
    """Make an environment: the wheel with an extra or none, at the versions of a constraint file."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.fail("UV does not name uv: run `make test-package`")

    def install(extras: str = "", *, constraints: Path = NEWEST, python: str = sys.executable) -> Installed:
        installed = Installed(tmp_path)
        interpreter = installed.bin / "python"

        def call(*command: str | Path) -> None:
            subprocess.run([uv, *command], check=True, cwd=tmp_path, timeout=SECONDS)

        call("venv", "--quiet", "--python", python, installed.bin.parent)
        target = f"{wheel}[{extras}]" if extras else str(wheel)
        call("pip", "install", "--quiet", "--python", interpreter, "--constraint", constraints, target)
        call("pip", "check", "--quiet", "--python", interpreter)
        return installed

    return install
