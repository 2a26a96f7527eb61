"""Every fenced block of every page is what a test runs or reads, or is in a file that a test runs."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT, Block, all_blocks, chosen

TESTED = ("dags_examples/", "tests/")
"""Where files are that tests run."""


def claims(path: Path) -> Iterator[Block]:
    """The blocks that a test module asks for; what it keeps in a name at its top must be used further down."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    loaded = Counter(
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    )
    for statement in tree.body:
        found = [block for call in _calls(statement) for block in _asked(call)]
        if found and isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
            assert all(loaded[name] for name in names), f"{path}: {names} are not used"
        yield from found


def _calls(statement: ast.stmt) -> Iterator[ast.Call]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "blocks":
            yield node


def _asked(call: ast.Call) -> list[Block]:
    places = [ast.literal_eval(argument) for argument in call.args]
    return chosen(*places, **{str(word.arg): ast.literal_eval(word.value) for word in call.keywords})


CLAIMED = {block for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__) for block in claims(path)}


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_tested(page: str) -> None:
    free = [block for block in all_blocks(page) if block not in CLAIMED and not block.file]
    told = [f"{block.page}:{block.line} ({block.language or 'no language'})" for block in free]
    assert not told, "no test has these blocks; see CONTRIBUTING.md"


@pytest.mark.parametrize("page", PAGES)
def test_what_is_said_to_be_in_a_file_is_in_it(page: str) -> None:
    for block in all_blocks(page):
        if block.file:
            assert block.file.startswith(TESTED), f"{block.file} is not a file that a test runs"
            assert block.text in (ROOT / block.file).read_text(encoding="utf-8"), f"{page}:{block.line}"


def test_a_claim_that_is_not_used_is_none(tmp_path: Path) -> None:
    module = tmp_path / "test_it.py"
    module.write_text('DAGS = blocks("README.md", "python")\n')
    with pytest.raises(AssertionError, match="not used"):
        list(claims(module))
    module.write_text('DAGS = blocks("README.md", "python")\n\ndef test() -> None:\n    assert DAGS\n')
    assert len(list(claims(module))) == 2
    module.write_text('DAGS = blocks("README.md", "fortran")\n')
    with pytest.raises(LookupError, match="no block of 'fortran'"):
        list(claims(module))
