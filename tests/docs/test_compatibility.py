"""docs/compatibility.md names the versions that are locked and the extras that there are."""

from __future__ import annotations

import re
import tomllib

from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")


def test_it_names_what_is_tested() -> None:
    names = [path.name for path in (ROOT / "constraints").glob("airflow-*.in")]
    versions = {name.removeprefix("airflow-").removesuffix(".in") for name in names}
    assert set(re.findall(r"\b[23]\.\d+\.\d+\b", PAGE)) == versions


def test_it_names_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r"^\| extra `(\w+)`", PAGE, re.MULTILINE)) == set(extras)
