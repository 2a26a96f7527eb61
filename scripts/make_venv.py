"""Make or refresh the development environment with the locked versions.

Needs only the standard library and pip, or uv where it is on the PATH. Dependency groups are read here, because pip
before 25.1 cannot.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GROUPS = ("test", "lint", "docs")
EXTRAS = ("simulator", "pandas", "parquet", "openlineage", "cli")
# How pip tells of an index that does not answer, or has not what is locked: that has no conflicts of its own.
INDEX_FAILED = (
    "connection broken by",
    "Read timed out",
    "HTTP error",
    "No matching distribution",
    "ResolutionImpossible",
)


def python_version(python: Path) -> str | None:
    """Return the ``3.x`` of an interpreter, None where there is none that runs.

    :param python: its path.
    """
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def fingerprint(project: dict[str, Any], constraints: str, version: str) -> str:
    """Return a digest of all that decides what is installed.

    :param project: pyproject.toml, parsed; settings of tools in it do not count.
    :param constraints: text of the constraint file.
    :param version: ``3.x``.
    """
    deciding = {name: project[name] for name in ("build-system", "project", "dependency-groups")}
    text = json.dumps([deciding, constraints, version, GROUPS, EXTRAS, str(ROOT)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def install(venv: Path, requirements: list[str], constraints: Path) -> None:
    """Install requirements and this package (editable) under the constraints.

    :raises subprocess.CalledProcessError: pip (or uv) failed; it has said why, and ``stderr`` holds its words.
    """
    # Two names, because pip 25.3 took the first one's word away from builds; each pip ignores what it does not know.
    # An address, because pip takes a blank in such a variable as the end of a path.
    environment = os.environ | dict.fromkeys(("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"), constraints.as_uri())
    with tempfile.TemporaryDirectory() as directory:
        listed = Path(directory, "requirements.txt")
        listed.write_text("\n".join(requirements), encoding="utf-8")
        python = str(venv / "bin" / "python")
        # uv does the same in a tenth of the time, for those who have it.
        uv = shutil.which("uv")
        pip = (
            [uv, "pip", "install", "--quiet", "--python", python]
            + [part for which in ("--constraint", "--build-constraint") for part in (which, str(constraints))]
            if uv
            else [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        )
        target = f"{ROOT}[{','.join(EXTRAS)}]"
        command = [*pip, "--requirement", str(listed), "--editable", target]
        said = []
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace") as process:
            assert process.stderr is not None
            for line in process.stderr:
                print(line, end="", file=sys.stderr, flush=True)
                said.append(line)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, stderr="".join(said))


def advice(said: str) -> str:
    """Return what most likely helps, from pip's words; empty where they speak for themselves.

    :param said: what pip wrote to its error output.
    """
    if "No space left on device" in said:
        return "The disk is full. "
    if any(sign in said for sign in INDEX_FAILED):
        return (
            "It seems that the package index was not reached or has not the locked versions; pip takes its address "
            "from PIP_INDEX_URL or pip.conf. "
        )
    return ""


def main() -> int:
    """Bring the environment named on the command line up to date; do nothing when it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("venv", type=Path, help="directory of the environment")
    venv: Path = parser.parse_args().venv.resolve()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    constraints = ROOT / "constraints" / f"py{version}.txt"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = fingerprint(project, constraints.read_text(encoding="utf-8"), version)

    stamp = venv / ".installed"
    present = python_version(venv / "bin" / "python")
    if present == version and stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return 0
    print(f"== environment: {venv} with Python {version}, versions of constraints/{constraints.name}", flush=True)
    try:
        if present != version or not (venv / "bin" / "pip").exists():
            # Another interpreter's packages are of no use; the same one's stay.
            clear = ["--clear"] if present not in (None, version) else []
            subprocess.run([sys.executable, "-m", "venv", *clear, venv], check=True)
        print("== installing the locked packages (a minute or two the first time)", flush=True)
        requirements = [line for group in GROUPS for line in project["dependency-groups"][group]]
        install(venv, requirements, constraints)
    except (subprocess.CalledProcessError, OSError) as error:
        print(
            f"\nThe environment could not be made: {error}\n"
            f"What went wrong stands above. {advice(getattr(error, 'stderr', None) or '')}"
            "Run it again when that is mended; `make clean` starts over.",
            file=sys.stderr,
        )
        return 1
    stamp.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
