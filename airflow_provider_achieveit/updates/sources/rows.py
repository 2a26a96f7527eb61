"""Rows at hand: mappings, or a pandas DataFrame."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_achieveit.updates.sources import CHUNK_ROWS, Source, columns_of

if TYPE_CHECKING:
    from pandas import DataFrame, Series

# A 32-bit float must stay one: as a 64-bit float, 0.1 would become 0.10000000149011612.
_NARROW_FLOATS = {
    "float16": "float16",
    "float32": "float32",
    "Float32": "float32",
    "halffloat[pyarrow]": "float16",
    "float[pyarrow]": "float32",
}


def read_rows(rows: Any) -> Source:
    """Return rows at hand as a source.

    :param rows: a pandas DataFrame (its index is not read), or any iterable of mappings.
    :raises TypeError: neither of them, or a row that is no mapping (of a stream, when it is reached).
    """
    # Who has a DataFrame has imported pandas; nobody else should pay for it.
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(rows, pandas.DataFrame):
        return Source("the DataFrame", tuple(map(str, rows.columns)), _frame_rows(rows))
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        raise TypeError(f"rows must be a list of mappings or a DataFrame, not a {type(rows).__name__}")
    # What is read twice here must give its rows twice, as Airflow's lazy results of mapped tasks do.
    columns = columns_of(_mappings(rows)) if isinstance(rows, Sequence) else None
    return Source("rows", columns, _mappings(rows))


def _mappings(rows: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise TypeError(f"row {number} must map column names to values, not be a {type(row).__name__}")
        yield row


def _frame_rows(frame: DataFrame) -> Iterator[Mapping[str, Any]]:
    names = [str(name) for name in frame.columns]
    for start in range(0, len(frame), CHUNK_ROWS):
        piece = frame.iloc[start : start + CHUNK_ROWS]
        columns = [_exact_values(piece.iloc[:, at]) for at in range(len(names))]
        for row in zip(*columns, strict=True):
            yield dict(zip(names, row, strict=True))


def _exact_values(column: Series[Any]) -> list[Any]:
    """Return a column's values as they are: Python's integers, Decimals and texts, and None for NULL."""
    narrow = _NARROW_FLOATS.get(str(column.dtype))
    values = list(column.to_numpy(narrow, na_value=math.nan)) if narrow else column.tolist()
    nulls = column.isna()
    if nulls.any():
        return [None if null else value for value, null in zip(values, nulls.tolist(), strict=True)]
    return values
