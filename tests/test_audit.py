"""What `make audit` finds, and that the locks as they are give it no cause."""

from __future__ import annotations

import importlib.util
import json
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = {"dependencies": ["requests>=2.1"], "optional-dependencies": {"frames": ["Pandas.Extra>=3"]}}
GOOD = "pandas-extra==3.0.0\nrequests==2.1\n"


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "scripts" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_locks_are_plain_in_bounds_and_every_bound_is_tested(audit: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locks = {file.stem: file.read_text(encoding="utf-8") for file in (ROOT / "constraints").glob("*.txt")}
    assert {"py3.11", "lowest", "package"} <= locks.keys()
    assert list(audit.lock_problems(locks, project)) == []


@pytest.mark.parametrize(
    ("locks", "problem"),
    [
        ({"py3.11": GOOD, "lowest": GOOD}, None),
        ({"dialects": "requests==2.0\n", "lowest": GOOD}, None),
        ({"py3.11": f"{GOOD}-e .\n", "lowest": GOOD}, "'-e .' is no plain name==version"),
        ({"dialects": "a @ https://example.com/a.whl\n", "lowest": GOOD}, "is no plain name==version"),
        ({"dialects": "--index-url https://example.com\n", "lowest": GOOD}, "is no plain name==version"),
        ({"dialects": "a==1.*\n", "lowest": GOOD}, "is no plain name==version"),
        ({"py3.11": GOOD.replace("2.1", "2.0"), "lowest": GOOD}, "py3.11.txt: requests==2.0 is not >=2.1"),
        ({"airflow-3.3.2": "requests==2.1\n", "lowest": GOOD}, "Pandas.Extra is not locked"),
        ({"lowest": GOOD.replace("2.1", "2.2")}, "requests>=2.1 is tested with 2.2 at the least"),
    ],
)
def test_what_is_wrong_with_a_lock_is_told(audit: ModuleType, locks: dict[str, str], problem: str | None) -> None:
    found = list(audit.lock_problems(locks, PROJECT))
    assert len(found) == (problem is not None)
    assert problem is None or problem in found[0]


@pytest.mark.parametrize(
    ("told", "allowed"),
    [
        ("MIT", True),
        ("ISC License (ISCL)", True),
        ("Apache-2.0 AND MIT", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT OR GPL-3.0-only) AND BSD-3-Clause", False),
        ("(MIT OR Apache-2.0) AND BSD-3-Clause", True),
        ("Other/Proprietary License", False),
        ("", False),
    ],
)
def test_licences(audit: ModuleType, told: str, allowed: bool) -> None:
    assert audit.is_allowed(told) is allowed


def test_what_is_needed_at_run_time_is_found_through_extras(audit: ModuleType) -> None:
    class Package:
        def __init__(self, *requires: str) -> None:
            self.requires = list(requires)

    installed: dict[str, Any] = {
        audit.DISTRIBUTION: Package("one[fast]>=1", "two; extra == 'two'", "absent; python_version < '3'"),
        "one": Package("quick; extra == 'fast'", "slow; extra == 'slow'"),
        "two": Package(),
        "quick": Package("one"),
        "slow": Package(),
        "other": Package(),
    }
    assert audit.runtime(installed, frozenset()).keys() == {"one", "quick"}
    assert audit.runtime(installed, frozenset({"two"})).keys() == {"one", "quick", "two"}


def test_an_answer_of_pip_audit_is_read(audit: ModuleType) -> None:
    found = {"id": "PYSEC-1", "fix_versions": ["3.1.3"], "aliases": [], "description": ""}
    unmended = {**found, "id": "PYSEC-2", "fix_versions": []}
    answer = {
        "dependencies": [
            {"name": "jinja2", "version": "3.1.2", "vulns": [found, unmended]},
            {"name": "six", "version": "1.17.0", "vulns": []},
            {"name": "own", "skip_reason": "Dependency not found on PyPI"},
        ],
        "fixes": [],
    }
    assert audit.known_vulnerabilities(json.dumps(answer)) == (
        ["jinja2==3.1.2: PYSEC-1, mended in 3.1.3", "jinja2==3.1.2: PYSEC-2, mended in no version"],
        ["own"],
    )


def program(path: Path, service: str) -> Path:
    """Write a stand-in for pip-audit whose one service knows something against one version.

    As the real one it refuses a file with two versions of a package.
    """
    path.write_text(
        f"""#!{sys.executable}
import json, sys
from collections import Counter
from pathlib import Path
lines = Path(sys.argv[-1]).read_text().splitlines()
packages = [dict(zip(("name", "version"), line.split("=="))) for line in lines]
if "{service}" not in sys.argv or max(Counter(package["name"] for package in packages).values()) > 1:
    sys.exit("failed")
for package in packages:
    bad = package == {{"name": "jinja2", "version": "3.1.2"}}
    package["vulns"] = [{{"id": "X", "fix_versions": []}}] if bad else []
print(json.dumps({{"dependencies": packages}}))
sys.exit(any(package["vulns"] for package in packages))
"""
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("service", ["pypi", "osv"])
def test_the_first_service_that_knows_anything_is_asked(audit: ModuleType, tmp_path: Path, service: str) -> None:
    pip_audit = program(tmp_path / "pip-audit", service)
    assert audit.advisories(pip_audit, ["jinja2==3.1.6\nsix==1.17.0\n", "jinja2==3.1.5\n"]) == ([], [])
    known, unasked = audit.advisories(pip_audit, ["jinja2==3.1.6\n", "jinja2==3.1.2\n"])
    assert (known, unasked) == (["jinja2==3.1.2: X, mended in no version"], [])


def test_a_service_that_knows_nothing_is_no_proof(audit: ModuleType, tmp_path: Path) -> None:
    known, unasked = audit.advisories(program(tmp_path / "pip-audit", "none"), ["six==1.17.0\n"])
    assert known == []
    assert "NOT ASKED" in unasked[0]


def test_what_is_known_against_an_old_version_is_told_and_no_failure(audit: ModuleType) -> None:
    """Airflow 2.11 and our oldest requirements have their vulnerabilities: a check that they fail never passes."""
    known = ["jinja2==3.1.2: X, mended in 3.1.3", "six==1: Y, mended in no version", "uv==1: Z, mended in 2"]
    locks = {"py3.11": "jinja2==3.1.6\nsix==1\n", "lowest": "jinja2==3.1.2\nsix==1\n", "package": "uv==1\n"}
    assert audit.told_only(known, locks) == known[:1]
    assert audit.told_only(known, locks | {"py3.12": "jinja2==3.1.2\n"}) == []


def test_every_version_is_asked_about_once(audit: ModuleType) -> None:
    texts = audit.without_doubles(["a==1\nb==1\n", "a==2\n", "a==1\nc==3\n"])
    assert texts == ["a==1\nb==1\nc==3\n", "a==2\n"]
