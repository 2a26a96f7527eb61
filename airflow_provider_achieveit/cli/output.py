"""What a person or a program gets to see: tables on a terminal, plain text or JSON elsewhere, and progress bars."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_achieveit.api.progress import Listener

Rows = Sequence[Mapping[str, Any]]

_NOT_IN_TABLES = {"sha256"}
"""Too long for a line; the beginning of it is in the name of a batch."""


def show(document: Mapping[str, Any], *, as_json: bool) -> None:
    """Write a result to standard output; whoever has stopped reading it is not bothered.

    :param document: JSON values; a list of objects becomes a table of its own.
    :param as_json: as one JSON document.
    """
    try:
        if as_json:
            sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        elif sys.stdout.isatty() and _has_rich():
            _show_tables(document)
        else:
            sys.stdout.write(plain_text(document))
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would try to flush once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def plain_text(document: Mapping[str, Any]) -> str:
    """Return a result as text that stays the same from release to release: names and values, then tables."""
    values, tables = _parts(document)
    blocks = [_columns([[name, _text(value)] for name, value in values.items()])] if values else []
    for rows in tables.values():
        names = list(rows[0])
        blocks.append(_columns([names, *([_text(row[name]) for name in names] for row in rows)]))
    return "\n".join(blocks)


def _has_rich() -> bool:
    # Airflow brings it, to date; a command whose work is done does not fail for want of a frame around the answer.
    return find_spec("rich") is not None


def _show_tables(document: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    values, tables = _parts(document)
    # What stands in a file is no markup.
    console = Console(markup=False, emoji=False, highlight=False)
    if values:
        table = Table(show_header=False)
        for name, value in values.items():
            table.add_row(name, _text(value))
        console.print(table)
    for title, rows in tables.items():
        table = Table(title=title)
        for name in rows[0]:
            # Nothing is cut off, and an id stays in one piece, to be copied.
            table.add_column(name, overflow="fold", no_wrap=name == "job_id")
        for row in rows:
            table.add_row(*map(_text, row.values()))
        console.print(table)


def _parts(document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Rows]]:
    """Return the single values, and the lists of objects that have any."""
    lists: dict[str, Rows] = {name: value for name, value in document.items() if isinstance(value, list)}
    tables: dict[str, Rows] = {
        name: [{key: value for key, value in row.items() if key not in _NOT_IN_TABLES} for row in rows]
        for name, rows in lists.items()
        if rows and isinstance(rows[0], Mapping)
    }
    values = {name: value for name, value in document.items() if name not in lists}
    return values, tables


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    # On one line, whatever a server has said.
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value, ensure_ascii=False)


@contextmanager
def progress_bars() -> Iterator[Listener | None]:
    """Show how far the work has come on standard error, where that is a terminal; the bars vanish at its end."""
    if not sys.stderr.isatty():
        yield None
        return
    if not _has_rich():
        sys.stderr.write("No tables and progress bars without rich; install airflow-provider-achieveit[cli]\n")
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bars: dict[str, Any] = {}

        def listener(what: str, done: int, total: int | None) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=done, total=total)

        yield listener
