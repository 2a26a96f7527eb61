"""Which formats a file may have, and which one its name tells."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePosixPath


class FileFormat(StrEnum):
    """How the items are written."""

    PARQUET = "parquet"
    """Typed columns; the lists of an item are lists of structs."""
    JSONL = "jsonl"
    """The API's items as they came, one a line."""
    CSV = "csv"
    """A header and text; the lists of an item are JSON."""


_BY_EXTENSION = {
    ".parquet": FileFormat.PARQUET,
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
    ".csv": FileFormat.CSV,
}


def format_by_name(path: str) -> FileFormat:
    """Return the format that a file's extension tells, in capitals or not.

    :param path: the file, with whatever stands before its name.
    :raises ValueError: names the extensions that tell one.
    """
    extension = PurePosixPath(path).suffix
    found = _BY_EXTENSION.get(extension.lower())
    if found is None:
        raise ValueError(
            f"path {path!r} ends in {extension!r}, which tells no format of a plan's file; it must end in "
            f"{', '.join(_BY_EXTENSION)}, or 'format' must say {', '.join(FileFormat)}"
        )
    return found
