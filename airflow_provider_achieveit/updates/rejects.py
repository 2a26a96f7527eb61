"""What is told about a row that cannot be sent."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import TextIO

from airflow_provider_achieveit.updates.checks import is_null

MAX_VALUE_CHARS = 200


@dataclass(frozen=True, slots=True)
class Reject:
    """One reason why one row is not sent; a row has as many as it has bad columns.

    :param row: number of the data row in its source, from 1; a header is not counted.
    :param column: the source's name of the column; empty where the row as a whole is bad.
    :param value: the value as text, at most :data:`MAX_VALUE_CHARS` characters; empty for NULL.
    :param reason: what is wrong with it and what to do.
    """

    row: int
    column: str
    value: str
    reason: str

    def __str__(self) -> str:
        column = f"{self.column} " if self.column else ""
        return f"row {self.row}, {column}{self.value!r}: {self.reason}"


def reject_value(value: object) -> str:
    """Return a value of any type as text that every file and database takes.

    :param value: the value as the source gave it.
    :return: its text, trimmed; empty for NULL; what UTF-8 cannot hold is written as an escape.
    """
    if is_null(value):
        return ""
    try:
        text = str(value)
    except ValueError:  # an integer of more digits than Python writes
        text = f"({type(value).__name__})"
    if len(text) > MAX_VALUE_CHARS:
        text = text[: MAX_VALUE_CHARS - 1] + "…"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_rejects_csv(stream: TextIO, rejects: Iterable[Reject]) -> None:
    """Write rejects as CSV (RFC 4180) with the columns row, column, value, reason.

    :param stream: a text stream, opened with ``newline=""``.
    :param rejects: what to write, in this order.
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(Reject.__slots__)
    writer.writerows(map(astuple, rejects))
