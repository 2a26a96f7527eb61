"""Links between pages lead somewhere, as GitHub shows the pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from urllib.parse import unquote

import pytest

from tests.docs.blocks import PAGES, ROOT, tokens


def links(page: str) -> Iterator[str]:
    for token in tokens(page):
        for child in token.children or []:
            address = child.attrGet("href") or child.attrGet("src")
            if address and not re.match(r"[a-z]+:", str(address)):
                yield unquote(str(address))


@cache
def anchors(page: str) -> set[str]:
    """The anchors that GitHub gives to headings: small letters, hyphens for blanks, no punctuation."""
    found = tokens(page)
    titles = [
        "".join(part.content for part in found[at + 1].children or [])
        for at, token in enumerate(found)
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert target.is_file(), f"{link} is no file: the site has no page for it"
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        if anchor:
            assert anchor in anchors(str(target.relative_to(ROOT))), link


def test_the_entry_page_names_every_page() -> None:
    entry = ROOT / "docs" / "index.md"
    named = {(entry.parent / link).resolve() for link in links("docs/index.md")}
    assert set((ROOT / "docs").rglob("*.md")) - {entry} <= named
