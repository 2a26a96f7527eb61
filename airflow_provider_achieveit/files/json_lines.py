"""JSON lines: nothing is converted, so nothing can be lost."""

from __future__ import annotations

from datetime import datetime
from typing import IO

from airflow_provider_achieveit.files.writers import Items
from airflow_provider_achieveit.warehouse.values import to_json


class JsonLinesWriter:
    """Writes each item as the API gave it: the same JSON value, its fields in their order, numbers with all digits.

    :param stream: an empty file, open for writing bytes.
    :param plan_id: not used: an item tells its plan itself, or not.
    :param extracted_at: not used: nothing is added to an item.
    :param unescape_html: not used: text stays as it came.
    """

    def __init__(self, stream: IO[bytes], *, plan_id: str, extracted_at: datetime, unescape_html: bool) -> None:
        self.stream = stream

    def write(self, items: Items) -> None:
        """Add the items of one page."""
        self.stream.write("".join(f"{to_json(item)}\n" for item in items).encode())

    def close(self) -> None:
        """End the file; the last line ended itself."""
