"""Parquet: the warehouse's rows as typed columns, child rows as lists of structs in their item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import accumulate
from typing import IO, Any

import pyarrow as pa
from pyarrow.parquet import ParquetWriter as ArrowWriter

from airflow_provider_achieveit.api.contract import CHECKLIST_ITEMS
from airflow_provider_achieveit.files.writers import Items
from airflow_provider_achieveit.warehouse.model import (
    CHECKLIST_ITEMS_SUFFIX,
    EXTRA,
    LISTS,
    Column,
    ColumnType,
    Nested,
    Table,
    plan_tables,
)
from airflow_provider_achieveit.warehouse.rows import RowMaker, Rows
from airflow_provider_achieveit.warehouse.values import Limits

_PRECISION, _SCALE = 38, 18
_LIMITS = Limits(decimal=(_PRECISION - _SCALE, _SCALE))
_TYPES: dict[ColumnType, Any] = {
    ColumnType.TEXT: pa.string(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.MOMENT: pa.timestamp("us", tz="UTC"),
    ColumnType.DATE: pa.date32(),
    ColumnType.DECIMAL: pa.decimal128(_PRECISION, _SCALE),
    ColumnType.JSON: pa.string(),
}
_CHECKLISTS = LISTS["checklists"]
_TABLES = {table.suffix: table for table in plan_tables(Nested.TABLES)}
[_ITEMS] = plan_tables(Nested.JSON)
"""The columns of the file: those of the items, and one for each list."""


def _own_columns(table: Table) -> list[Column]:
    """Return the columns of a child table that say more than where the row belongs."""
    return [column for column in table.columns if column.source or column is EXTRA]


def _struct(suffix: str) -> Any:
    fields = [pa.field(column.name, _TYPES[column.type]) for column in _own_columns(_TABLES[suffix])]
    if suffix == _CHECKLISTS:
        fields.append(pa.field(CHECKLIST_ITEMS, pa.list_(_struct(CHECKLIST_ITEMS_SUFFIX))))
    return pa.struct(fields)


def _type(column: Column) -> Any:
    suffix = LISTS.get(column.source or "")
    return _TYPES[column.type] if suffix is None else pa.list_(_struct(suffix))


SCHEMA = pa.schema([pa.field(column.name, _type(column), nullable=not column.key) for column in _ITEMS.columns])


class ParquetWriter:
    """Writes a row group for each page.

    :param stream: an empty file, open for writing bytes.
    :param plan_id: the plan.
    :param extracted_at: when its state was read.
    :param unescape_html: turn HTML entities in plain-text fields back into characters.
    """

    def __init__(self, stream: IO[bytes], *, plan_id: str, extracted_at: datetime, unescape_html: bool) -> None:
        self.maker = RowMaker(plan_id, extracted_at, nested=Nested.TABLES, unescape_html=unescape_html, limits=_LIMITS)
        # Through a Python file, which Arrow does not close.
        self.writer = ArrowWriter(pa.PythonFile(stream, "w"), SCHEMA)

    def write(self, items: Items) -> None:
        """Add the items of one page."""
        if items:
            self.writer.write_batch(_batch(items, self.maker.rows(items)))

    def close(self) -> None:
        """Write the footer."""
        self.writer.close()


def _batch(items: Items, rows: Rows) -> Any:
    of_items = _by_column("", rows)
    ids = of_items[_TABLES[""].item_key]
    arrays = []
    for column in _ITEMS.columns:
        if column.name in of_items:
            arrays.append(pa.array(of_items[column.name], _TYPES[column.type]))
            continue
        name = str(column.source)
        entries = _structs(LISTS[name], rows, items, ids)
        empty = {owner for owner, item in zip(ids, items, strict=True) if item.get(name) == []}
        arrays.append(_lists(entries, _by_column(LISTS[name], rows)["item_id"], ids, empty))
    return pa.record_batch(arrays, schema=SCHEMA)


def _by_column(suffix: str, rows: Rows) -> dict[str, Sequence[Any]]:
    """Return the rows of a table as its columns."""
    names = [column.name for column in _TABLES[suffix].columns]
    columns = zip(*rows[suffix], strict=True) if rows[suffix] else [()] * len(names)
    return dict(zip(names, columns, strict=True))


def _structs(suffix: str, rows: Rows, items: Items, ids: Sequence[Any]) -> Any:
    """Return child rows as structs; those of a checklist hold its items."""
    of_children = _by_column(suffix, rows)
    arrays = [pa.array(of_children[column.name], _TYPES[column.type]) for column in _own_columns(_TABLES[suffix])]
    if suffix == _CHECKLISTS:
        points = _structs(CHECKLIST_ITEMS_SUFFIX, rows, items, ids)
        of_points = _by_column(CHECKLIST_ITEMS_SUFFIX, rows)
        places = list(zip(of_points["item_id"], of_points["checklist_position"], strict=True))
        checklists = list(zip(of_children["item_id"], of_children["position"], strict=True))
        arrays.append(_lists(points, places, checklists, _empty_checklists(items, ids)))
    return pa.StructArray.from_arrays(arrays, fields=list(_struct(suffix)))


def _empty_checklists(items: Items, ids: Sequence[Any]) -> set[tuple[Any, int]]:
    return {
        (item_id, position)
        for item_id, item in zip(ids, items, strict=True)
        if isinstance(item.get("checklists"), list)
        for position, checklist in enumerate(item["checklists"])
        if isinstance(checklist, dict) and checklist.get(CHECKLIST_ITEMS) == []
    }


def _lists(entries: Any, places: Iterable[Any], owners: Sequence[Any], empty: Collection[Any]) -> Any:
    """Return one list for each owner, NULL where there is none.

    :param entries: the entries of all of them, in the owners' order.
    :param places: the owner of each entry.
    :param owners: all owners.
    :param empty: those of them that have a list without entries.
    """
    sizes = Counter(places)
    ends = list(accumulate((sizes[owner] for owner in owners), initial=0))
    # A list is NULL where its beginning is.
    begins = [begin if sizes[owner] or owner in empty else None for begin, owner in zip(ends, owners, strict=False)]
    return pa.ListArray.from_arrays(pa.array([*begins, ends[-1]], pa.int32()), entries)
