"""CONTRIBUTING.md: its commands, parts and places are there."""

from __future__ import annotations

import re
import shlex

from tests.docs.blocks import ROOT, blocks
from tests.docs.terminal import steps

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "airflow_provider_achieveit"


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    typed = "".join(blocks("CONTRIBUTING.md", "console", "Begin"))
    targets = re.findall(r"`make ([a-z-]+)[` ]", PAGE) + re.findall(r"^\$ make ([a-z-]+)$", typed, re.MULTILINE)
    assert len(targets) > 10
    for target in set(targets) - {"benchmark-"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_tests_that_it_runs_exist() -> None:
    [console] = blocks("CONTRIBUTING.md", "console", "Tests")
    for line, _ in steps(console):
        _, _, _, path, *chosen = shlex.split(line)
        text = (ROOT / path).read_text(encoding="utf-8")
        assert not chosen or f"def test_{chosen[1]}_" in text


def test_every_part_of_the_house_is_told() -> None:
    [house] = blocks("CONTRIBUTING.md", "text", "The house")
    told = set(re.findall(r"\b([a-z]+)/|^(\w+\.py)|(links\.py)", house, re.MULTILINE))
    names = {name for found in told for name in found if name}
    parts = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert names >= parts - {"plugins"}
    assert all((PACKAGE / name).exists() for name in names)


def test_every_place_for_a_new_thing_exists() -> None:
    rows = PAGE.partition("Where a new thing goes:")[2].partition("\n\nOne concept")[0]
    places = [place for place in re.findall(r"`([\w./]+(?:/|\.py))`", rows) if "/" in place]
    assert len(places) > 6
    assert all((PACKAGE / place).exists() or (ROOT / place).exists() for place in places), places
