"""What is in the sdist and in the wheel, and what they tell of themselves."""

from __future__ import annotations

import ast
import email
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.package.conftest import ROOT

PACKAGE = "airflow_provider_achieveit"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOT_IN_SDIST = (".ci/",)


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).exists()}


@pytest.fixture(scope="module")
def in_wheel(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(in_wheel: dict[str, bytes]) -> Message:
    [name] = (name for name in in_wheel if name.endswith(".dist-info/METADATA"))
    return email.message_from_string(in_wheel[name].decode())


def test_the_sdist_is_what_git_has_and_no_more(sdist: Path, tracked: set[str]) -> None:
    with tarfile.open(sdist) as archive:
        found = {}
        for member in archive:
            assert member.isfile(), member.name
            content = archive.extractfile(member)
            assert content is not None
            found[member.name.partition("/")[2]] = content.read()
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
    assert set(found) == {name for name in tracked if not name.startswith(NOT_IN_SDIST)} | {"PKG-INFO"}
    for name, content in found.items():
        assert name == "PKG-INFO" or content == (ROOT / name).read_bytes(), name


def test_the_wheel_is_the_package_and_its_licence(in_wheel: dict[str, bytes], tracked: set[str]) -> None:
    package = {name for name in tracked if name.startswith(f"{PACKAGE}/")}
    assert f"{PACKAGE}/py.typed" in package
    about = f"{PACKAGE}-{version()}.dist-info"
    named = {f"{about}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    assert set(in_wheel) == package | named
    for name in package:
        assert in_wheel[name] == (ROOT / name).read_bytes(), name
    assert in_wheel[f"{about}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert b"Root-Is-Purelib: true" in in_wheel[f"{about}/WHEEL"]


def version() -> str:
    [found] = re.findall(r'^__version__ = "(.+)"$', (ROOT / PACKAGE / "__init__.py").read_text(), re.MULTILINE)
    return str(found)


def test_the_metadata_is_complete(metadata: Message) -> None:
    assert metadata["Metadata-Version"] >= "2.4"
    assert (metadata["Name"], metadata["Version"]) == ("airflow-provider-achieveit", version())
    assert metadata["Summary"] == PROJECT["description"]
    assert (metadata["License-Expression"], metadata["License-File"]) == ("Apache-2.0", "LICENSE")
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    # Of the versions of Python that have a lock, and no other.
    told = {line.rpartition(" ")[2] for line in metadata.get_all("Classifier", []) if ":: 3." in line}
    assert told == {path.stem.removeprefix("py") for path in (ROOT / "constraints").glob("py3.*.txt")}


def test_the_changelog_has_this_version() -> None:
    headings = re.findall(r"^## (\S+) - (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0][0] == version()
    assert re.fullmatch(r"unreleased|\d{4}-\d{2}-\d{2}", headings[0][1])


def test_every_requirement_has_a_lower_bound_and_no_upper_one(metadata: Message) -> None:
    requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    assert {part.name for part in requirements if part.marker is None} == {
        Requirement(line).name for line in PROJECT["dependencies"]
    }
    assert set(metadata.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])
    for requirement in requirements:
        assert [part.operator for part in requirement.specifier] == [">="], requirement
        assert requirement.url is None


def test_the_entry_points_lead_somewhere(in_wheel: dict[str, bytes]) -> None:
    [text] = (content.decode() for name, content in in_wheel.items() if name.endswith("/entry_points.txt"))
    groups = set(re.findall(r"^\[(.+)\]$", text, re.MULTILINE))
    assert groups == {"apache_airflow_provider", "airflow.plugins"}
    for module, name in re.findall(r"^\w+ = (\S+):(\w+)$", text, re.MULTILINE):
        source = in_wheel[f"{module.replace('.', '/')}.py"].decode()
        assert name in {
            node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }


COMES_WITH_AIRFLOW = {
    "airflow",
    "jinja2",
    "markupsafe",
    "packaging",
    "pendulum",
    # The API server's framework, and those of the web server and connection form before it.
    "fastapi",
    "starlette",
    "flask_appbuilder",
    "flask_babel",
    "wtforms",
    # The files of object stores.
    "fsspec",
}
# What requests is built on.
COMES_WITH_REQUESTS = {"urllib3"}
# Imported only behind a connection of the user's, whose provider package brings them.
COMES_WITH_A_CONNECTION = {"psycopg", "psycopg2"}


def test_nothing_is_imported_that_is_not_declared(tracked: set[str]) -> None:
    lines = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    declared = {Requirement(line).name.replace("-", "_") for line in lines}
    allowed = declared | COMES_WITH_AIRFLOW | COMES_WITH_REQUESTS | COMES_WITH_A_CONNECTION
    allowed |= {PACKAGE, *sys.stdlib_module_names}
    imported: dict[str, str] = {}
    for name in tracked:
        if name.startswith(f"{PACKAGE}/") and name.endswith(".py"):
            for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.partition(".")[0]: name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    imported[node.module.partition(".")[0]] = name
    assert {module: where for module, where in imported.items() if module not in allowed} == {}
