"""CSV as RFC 4180 says, with NULL told apart from empty text."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import IO, Any

from airflow_provider_achieveit.files.writers import Items
from airflow_provider_achieveit.warehouse.model import Nested, plan_tables
from airflow_provider_achieveit.warehouse.rows import RowMaker
from airflow_provider_achieveit.warehouse.values import Limits

_LIMITS = Limits(null_bytes=False)
"""RFC 4180 knows no null character, and most readers end there."""


class CsvWriter:
    """Writes the columns of the warehouse's ``<table>``, the lists of an item as JSON text, under a header.

    Text is quoted, always; so ``""`` is empty text, and a field without anything is NULL.

    :param stream: an empty file, open for writing bytes.
    :param plan_id: the plan.
    :param extracted_at: when its state was read.
    :param unescape_html: turn HTML entities in plain-text fields back into characters.
    """

    def __init__(self, stream: IO[bytes], *, plan_id: str, extracted_at: datetime, unescape_html: bool) -> None:
        self.stream = stream
        self.maker = RowMaker(plan_id, extracted_at, nested=Nested.JSON, unescape_html=unescape_html, limits=_LIMITS)
        [table] = plan_tables(Nested.JSON)
        stream.write((",".join(column.name for column in table.columns) + "\r\n").encode())

    def write(self, items: Items) -> None:
        """Add the items of one page."""
        self.stream.write("".join(map(_line, self.maker.rows(items)[""])).encode())

    def close(self) -> None:
        """End the file; the last line ended itself."""


def _line(values: Iterable[Any]) -> str:
    return ",".join(map(_field, values)) + "\r\n"


def _field(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    # Not every reader takes 1E+5 for a number.
    return format(value, "f") if isinstance(value, Decimal) else str(value)
