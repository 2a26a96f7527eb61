"""Plan items to rows of typed values. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from airflow_provider_achieveit.api.contract import CHECKLIST_ITEMS
from airflow_provider_achieveit.warehouse.model import (
    CHECKLIST_ITEMS_SUFFIX,
    LISTS,
    PLAN_ID,
    Nested,
    Table,
    plan_tables,
)
from airflow_provider_achieveit.warehouse.values import InexactError, converter, to_json

Row = tuple[Any, ...]
Rows = dict[str, list[Row]]
"""Rows by the suffix of their table, each in the order of the table's columns."""


class RowMaker:
    """Turns the items of one plan into rows.

    Every field of an item is in its column, or under its API name in the ``extra`` column (unknown to the model, not
    convertible, or not without loss), or both. Missing and null fields are NULL.

    :param plan_id: the exported plan.
    :param extracted_at: when the state was read.
    :param nested: what becomes of the lists in an item.
    :param unescape_html: turn HTML entities in plain-text fields back into characters.
    :param null_bytes: the database can store U+0000 in text.
    """

    def __init__(
        self, plan_id: str, extracted_at: datetime, *, nested: Nested, unescape_html: bool, null_bytes: bool
    ) -> None:
        self.plan_id, self.extracted_at, self.nested = plan_id, extracted_at, nested
        self.records = {
            table.suffix: _Record(table, unescape_html=unescape_html, null_bytes=null_bytes)
            for table in plan_tables(nested)
        }

    def rows(self, items: Iterable[Mapping[str, Any]]) -> Rows:
        """Return the rows of items, by table."""
        rows: Rows = {suffix: [] for suffix in self.records}
        for item in items:
            self._add_item(rows, item)
        return rows

    def _add_item(self, rows: Rows, item: Mapping[str, Any]) -> None:
        values, extra = self.records[""].read(item)
        item_id = values[self.records[""].id_at]
        if item.get("planId") not in (self.plan_id, None):
            extra["planId"] = item["planId"]
        if self.nested is not Nested.JSON:
            for name, suffix in LISTS.items():
                entries = extra.pop(name, None)
                wanted = self.nested is Nested.TABLES and entries not in (None, [])
                if wanted and not self._add_list(rows, suffix, item_id, entries):
                    extra[name] = entries
        rows[""].append((self.plan_id, *values, _json(extra), self.extracted_at))

    def _add_list(self, rows: Rows, suffix: str, item_id: str, entries: Any) -> bool:
        """Add one row for each entry of a list; False if it is no list of objects."""
        if not _is_list_of_objects(entries):
            return False
        owner = (self.plan_id, item_id)
        record = self.records[suffix]
        for position, entry in enumerate(entries):
            values, extra = record.read(entry)
            if suffix == LISTS["checklists"]:
                points = extra.get(CHECKLIST_ITEMS)
                if points is None or _is_list_of_objects(points):
                    extra.pop(CHECKLIST_ITEMS, None)
                    self._add_points(rows, (*owner, values[record.id_at], position), points or [])
            rows[suffix].append((*owner, position, *values, _json(extra), self.extracted_at))
        return True

    def _add_points(self, rows: Rows, place: Row, points: list[Mapping[str, Any]]) -> None:
        record = self.records[CHECKLIST_ITEMS_SUFFIX]
        for position, point in enumerate(points):
            values, extra = record.read(point)
            rows[CHECKLIST_ITEMS_SUFFIX].append((*place, position, *values, _json(extra), self.extracted_at))


class _Record:
    """Reads the API's own fields of one kind of object, in the order of its table's columns."""

    def __init__(self, table: Table, *, unescape_html: bool, null_bytes: bool) -> None:
        self.fields = [
            (column.source, converter(column, unescape_html=unescape_html, null_bytes=null_bytes))
            for column in table.columns
            if column.source and column is not PLAN_ID
        ]
        names = [source for source, _ in self.fields]
        self.id_at = names.index("id") if "id" in names else -1
        self.known = frozenset(names) | ({PLAN_ID.source} if not table.suffix else set())

    def read(self, source: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the values of the columns, and what belongs into ``extra``."""
        values: list[Any] = []
        extra = {name: source[name] for name in source.keys() - self.known}
        for name, convert in self.fields:
            value = source.get(name)
            if value is not None:
                try:
                    value = convert(value)
                except InexactError as inexact:
                    extra[name] = value
                    value = inexact.value
            values.append(value)
        return values, extra


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _json(extra: dict[str, Any]) -> str | None:
    # Sorted, so that the same content is the same text in every load.
    return to_json(dict(sorted(extra.items()))) if extra else None
