"""docs/operations.md: its metrics are those that the package has."""

from __future__ import annotations

import re

from airflow_provider_achieveit.api.jobs import JobEnd
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SOURCES = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "airflow_provider_achieveit").rglob("*.py"))


def column(heading: str) -> list[str]:
    """Return the first column of the table below a heading, without its head."""
    rows = PAGE.partition(f"{heading}\n")[2].partition("\n|")[2].partition("\n\n")[0].splitlines()
    return [row.removeprefix("|").partition(" | ")[0] for row in rows[2:]]


def test_it_tells_every_metric() -> None:
    told = set()
    for cell in column("## Metrics"):
        first, *more = re.findall(r"`([^`]+)`", cell)
        told |= {first, *(first.rpartition(".")[0] + name for name in more)}
    names = re.findall(r'_(?:count|duration)\(f?"([^"]+)"', SOURCES)
    ends = {f"jobs.{end.value}" for end in JobEnd}
    sent = {*names, *ends} - {"jobs.{result.end.value}"}
    assert {name.removeprefix("achieveit.") for name in told} == sent
