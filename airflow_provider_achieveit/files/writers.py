"""What every writer of a plan's file does, and which one writes which format."""

from __future__ import annotations

from datetime import datetime
from typing import IO, Any, Protocol

from airflow_provider_achieveit.files.formats import FileFormat

Items = list[dict[str, Any]]


class PlanWriter(Protocol):
    """Writes the items of a plan into a file that is open."""

    def write(self, items: Items) -> None:
        """Add the items of one page."""
        ...

    def close(self) -> None:
        """Write what stands at the end; the file itself stays open."""
        ...


class MakeWriter(Protocol):
    """Begins a file."""

    def __call__(self, stream: IO[bytes], *, plan_id: str, extracted_at: datetime, unescape_html: bool) -> PlanWriter:
        """Write what stands at the beginning, and return what writes the rest.

        :param stream: an empty file, open for writing bytes.
        :param plan_id: the plan.
        :param extracted_at: when its state was read.
        :param unescape_html: turn HTML entities in plain-text fields back into characters.
        """
        ...


def writer_of(file_format: FileFormat) -> MakeWriter:
    """Return what writes a format.

    :param file_format: the format.
    :raises ImportError: names the extra of this package that the format needs.
    """
    if file_format is FileFormat.JSONL:
        from airflow_provider_achieveit.files.json_lines import JsonLinesWriter

        return JsonLinesWriter
    if file_format is FileFormat.CSV:
        from airflow_provider_achieveit.files.csv_rows import CsvWriter

        return CsvWriter
    try:
        from airflow_provider_achieveit.files.parquet import ParquetWriter
    except ImportError as error:
        raise ImportError(
            f"writing Parquet needs pyarrow ({error}); install airflow-provider-achieveit[parquet]"
        ) from error
    return ParquetWriter
