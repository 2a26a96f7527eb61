"""The rows of a file on any storage: CSV, JSON, JSON lines or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from decimal import Decimal
from io import TextIOWrapper
from pathlib import PurePath
from typing import IO, Any, NoReturn, Protocol

from airflow_provider_achieveit.updates.sources import CHUNK_ROWS, MalformedRow, Source, columns_of, source_of_stream


class OpenablePath(Protocol):
    """A path as pathlib and Airflow's ObjectStoragePath have it."""

    @property
    def name(self) -> str:
        """The last part, with the extension."""

    def open(self, mode: str, /) -> AbstractContextManager[IO[bytes]]:
        """Open the file."""


def open_file(path: Any, file_format: str | None = None) -> Source:
    """Return a file as a source.

    CSV has a header, is UTF-8 (with BOM or without) and gives text; JSON is an array of objects, read whole; JSON lines
    and Parquet are read bit by bit. Numbers with a point are exact Decimals. Blank lines of CSV and JSON lines are no
    rows. A row of a CSV with more fields than the header, or fewer, is malformed and the others go on. A file without a
    single byte is one without rows, but for JSON, which that is not.

    :param path: the file, as :class:`pathlib.Path` or Airflow's ObjectStoragePath.
    :param file_format: csv, json, jsonl, ndjson or parquet (default: the extension).
    :raises ValueError: an unknown format, or a file that is not what its format says; some of it is only found when
        the rows are read.
    :raises ImportError: a Parquet file without pyarrow.
    """
    extension = (file_format or PurePath(path.name).suffix.removeprefix(".")).lower()
    reader = _READERS.get(extension)
    if reader is None:
        raise ValueError(f"{path}: {extension!r} is no format of a source file; known are {', '.join(_READERS)}")
    return reader(path)


def _open_csv(path: OpenablePath) -> Source:
    return source_of_stream(str(path), _csv_stream(path))


def _csv_stream(path: OpenablePath) -> Iterator[Any]:
    # Not with pandas: it fills up rows that are too short in silence, and gives up the whole file at one that is too
    # wide.
    with path.open("rb") as file:
        reader = csv.reader(TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True)
        names: list[str] = []
        lines_read = 0
        try:
            for row in reader:
                lines_read = reader.line_num
                if len(row) < 2 and not "".join(row).strip():
                    continue
                if not names:
                    if len(row) == 1 and (other := next((sign for sign in ";\t|" if sign in row[0]), "")):
                        _unreadable(path, f"one column only, {row[0]!r}: separate with commas, not with {other!r}")
                    names = row
                    yield names
                elif len(row) == len(names):
                    yield dict(zip(names, row, strict=True))
                else:
                    # Joined as they are, the fields show the comma that no quotation marks protect.
                    fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
                    yield MalformedRow(",".join(row), f"{fields}, the header has {len(names)}")
        except csv.Error as error:
            _unreadable(path, f"no CSV: in the row that begins at line {lines_read + 1}: {error}")
        except UnicodeDecodeError as error:
            _unreadable(path, f"no CSV in UTF-8: {error}. Save it in UTF-8")
        if not names and lines_read:
            _unreadable(path, "no CSV: the file is empty, it lacks even a header")


def _open_json(path: OpenablePath) -> Source:
    with path.open("rb") as file:
        data = file.read()
    try:
        rows = _decoder().decode(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        _unreadable(path, f"no JSON: {error}")
    if not isinstance(rows, list):
        _unreadable(path, f"JSON, but a {type(rows).__name__}; it must be an array of objects")
    objects = list(_objects(path, enumerate(rows, start=1), "entry"))
    return Source(str(path), columns_of(objects), iter(objects))


def _open_json_lines(path: OpenablePath) -> Source:
    return Source(str(path), None, _objects(path, _lines(path), "line"))


def _lines(path: OpenablePath) -> Iterator[tuple[int, Any]]:
    decode = _decoder().decode
    with path.open("rb") as file:
        # Not every store's file is an iterator, but each has readline.
        for number, line in enumerate(iter(file.readline, b""), start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    yield number, decode(text)
            except (ValueError, RecursionError) as error:
                _unreadable(path, f"line {number} is no JSON: {error}")


def _objects(path: OpenablePath, values: Iterator[tuple[int, Any]], what: str) -> Iterator[Mapping[str, Any]]:
    for number, value in values:
        if not isinstance(value, dict):
            _unreadable(path, f"{what} {number} is a {type(value).__name__}, not an object")
        yield value


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number; write null or leave the field out")


def _open_parquet(path: OpenablePath) -> Source:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{path}: reading Parquet needs pyarrow; install airflow-provider-achieveit[parquet]"
        ) from error
    return source_of_stream(str(path), _parquet_stream(path))


def _parquet_stream(path: OpenablePath) -> Iterator[Any]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    with path.open("rb") as file:
        try:
            parquet = ParquetFile(file)
            names = parquet.schema_arrow.names
            yield names
            for batch in parquet.iter_batches(CHUNK_ROWS):
                for row in zip(*map(_exact_values, batch.columns), strict=True):
                    yield dict(zip(names, row, strict=True))
        except ArrowException as error:
            _unreadable(path, f"no readable Parquet: {error}")


def _exact_values(column: Any) -> list[Any]:
    # A 32-bit float must stay one: as a 64-bit float, 0.1 would become 0.10000000149011612. NULL becomes NaN.
    if str(column.type) in ("float", "halffloat"):
        return list(column.to_numpy(zero_copy_only=False))
    values: list[Any] = column.to_pylist()
    return values


def _unreadable(path: OpenablePath, why: str) -> NoReturn:
    raise ValueError(f"{path}: {why}")


_READERS: dict[str, Callable[[OpenablePath], Source]] = {
    "csv": _open_csv,
    "json": _open_json,
    "jsonl": _open_json_lines,
    "ndjson": _open_json_lines,
    "parquet": _open_parquet,
}
