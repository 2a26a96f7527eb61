"""The fenced blocks of pages. Asking for blocks is a test's claim on them; ``test_blocks.py`` finds the free ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md"))
)
"""Every page, as its path from the root."""


@dataclass(frozen=True)
class Block:
    """One fenced block.

    :param page: path of its page from the root.
    :param line: its first line there, counted from 1.
    :param language: the first word behind the fence.
    :param file: what ``file=`` behind the fence names, a path from the root; empty without.
    :param headings: the headings that it stands below, from the title down.
    :param text: its lines.
    """

    page: str
    line: int
    language: str
    file: str
    headings: tuple[str, ...]
    text: str


@cache
def tokens(page: str) -> list[Token]:
    """Return a page as CommonMark with tables reads it."""
    return MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text(encoding="utf-8"))


@cache
def all_blocks(page: str) -> list[Block]:
    """Return every fenced block of a page but MyST's directives (``{toctree}``), in their order."""
    return [block for block in _blocks(page) if not block.language.startswith("{")]


def _blocks(page: str) -> Iterator[Block]:
    above: list[str] = []
    found = tokens(page)
    for at, token in enumerate(found):
        if token.type == "heading_open":
            above[int(token.tag[1]) - 1 :] = [found[at + 1].content]
        elif token.type == "fence":
            assert token.map
            language, _, more = token.info.strip().partition(" ")
            [file] = re.findall(r"\bfile=(\S+)", more) or [""]
            yield Block(page, token.map[0] + 1, language, file, tuple(above), token.content)


def chosen(page: str, language: str, under: str = "") -> list[Block]:
    """Return the blocks of a language on a page.

    :param page: its path from the root, as ``docs/push.md``.
    :param language: the first word behind the fence, as ``python``.
    :param under: only those that stand somewhere below this heading.
    :raises LookupError: there is none.
    """
    found = [
        block for block in all_blocks(page) if block.language == language and (not under or under in block.headings)
    ]
    if not found:
        raise LookupError(f"{page} has no block of {language!r}" + (f" under {under!r}" if under else ""))
    return found


def blocks(page: str, language: str, under: str = "") -> list[str]:
    """Return the text of the blocks that :func:`chosen` finds.

    Call it with literals: ``test_blocks.py`` reads the call itself as the claim that this test uses them.
    """
    return [block.text for block in chosen(page, language, under)]
