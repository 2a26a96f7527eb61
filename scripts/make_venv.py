"""Make or refresh the development environment with the locked versions.

Needs only the standard library and pip: pip before 25.1 cannot read dependency groups, so they are read here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GROUPS = ("test", "lint")
EXTRAS = ("simulator", "parquet")


def python_version(venv: Path) -> str | None:
    """Return the ``3.x`` of an environment, None where there is none that runs.

    :param venv: its directory.
    """
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([venv / "bin" / "python", "-c", code], capture_output=True, text=True)
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

    :raises subprocess.CalledProcessError: pip failed; it has said why.
    """
    # Two names, because pip 25.3 took the first one's word away from builds; each pip ignores what it does not know.
    environment = os.environ | {"PIP_CONSTRAINT": str(constraints), "PIP_BUILD_CONSTRAINT": str(constraints)}
    with tempfile.TemporaryDirectory() as directory:
        listed = Path(directory, "requirements.txt")
        listed.write_text("\n".join(requirements), encoding="utf-8")
        pip = [str(venv / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        target = f"{ROOT}[{','.join(EXTRAS)}]"
        subprocess.run([*pip, "--requirement", listed, "--editable", target], env=environment, check=True)


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
    present = python_version(venv)
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
            "What went wrong stands above. Most often the package index was not reached (pip reads its address from "
            "PIP_INDEX_URL or pip.conf) or the disk is full. Then run it again; `make clean` starts over.",
            file=sys.stderr,
        )
        return 1
    stamp.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
