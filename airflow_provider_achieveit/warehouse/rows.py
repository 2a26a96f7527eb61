"""Plan items to rows of typed values, a page at a time. Pure.

A page is turned column by column: most columns take all its values as they came, which is told in a few passes of C
speed, and only the others are looked at value by value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import itemgetter
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
from airflow_provider_achieveit.warehouse.values import Convert, InexactError, Limits, converter, taker, to_json

Row = tuple[Any, ...]
Rows = dict[str, list[Row]]
"""Rows by the suffix of their table, each in the order of the table's columns."""
Objects = Sequence[Mapping[str, Any]]
Extras = dict[int, dict[str, Any]]
"""What belongs into ``extra``, by the place of its object among all."""

_LISTS_OF: Mapping[str, Mapping[str, str]] = {"": LISTS, LISTS["checklists"]: {CHECKLIST_ITEMS: CHECKLIST_ITEMS_SUFFIX}}
"""The lists in the objects of a table, by its suffix; and the suffixes of their own tables by their API names."""


class RowMaker:
    """Turns the items of one plan into rows.

    Every field of an item is in its column, or under its API name in the ``extra`` column (unknown to the model, not
    convertible, or not without loss), or both. Missing and null fields are NULL.

    :param plan_id: the exported plan.
    :param extracted_at: when the state was read.
    :param nested: what becomes of the lists in an item.
    :param unescape_html: turn HTML entities in plain-text fields back into characters.
    :param limits: what the columns of the database can hold.
    """

    def __init__(
        self, plan_id: str, extracted_at: datetime, *, nested: Nested, unescape_html: bool, limits: Limits
    ) -> None:
        self.plan_id, self.extracted_at, self.nested = plan_id, extracted_at, nested
        self.readers = {
            table.suffix: _Reader(table, unescape_html=unescape_html, limits=limits) for table in plan_tables(nested)
        }

    def rows(self, items: Objects) -> Rows:
        """Return the rows of items, by table."""
        rows: Rows = {suffix: [] for suffix in self.readers}
        self._add(rows, "", items, [()] * len(items))
        return rows

    def _add(self, rows: Rows, suffix: str, objects: Objects, places: Sequence[Row]) -> None:
        """Add the rows of a table, and those of the lists in its objects.

        :param places: for each object, what tells in which list of which item it is.
        """
        if not objects:
            return
        reader = self.readers[suffix]
        columns, extras = reader.read(objects)
        if not suffix:
            for at, item in enumerate(objects):
                if item.get("planId") not in (self.plan_id, None):
                    extras.setdefault(at, {})["planId"] = item["planId"]
        if self.nested is Nested.TABLES and suffix in _LISTS_OF:
            ids = columns[reader.id_at]
            # A checklist's own place comes between its id and the places of its items.
            owners = [(*place[:1], key, *place[1:]) for place, key in zip(places, ids, strict=True)]
            for name, child in _LISTS_OF[suffix].items():
                self._add_lists(rows, child, name, objects, owners, extras)
        extra: list[str | None] = [None] * len(objects)
        for at, fields in extras.items():
            # Sorted, so that the same content is the same text in every load.
            extra[at] = to_json(dict(sorted(fields.items())))
        values = zip(*zip(*places, strict=True), *columns, extra, strict=True)
        rows[suffix] += [(self.plan_id, *row, self.extracted_at) for row in values]

    def _add_lists(
        self, rows: Rows, suffix: str, name: str, objects: Objects, owners: Sequence[Row], extras: Extras
    ) -> None:
        """Add one row for each entry of one list of every object; what is no list of objects stays whole."""
        entries: list[Mapping[str, Any]] = []
        places: list[Row] = []
        for at, source in enumerate(objects):
            found = source.get(name)
            if found is None or found == []:
                continue
            if isinstance(found, list) and set(map(type, found)) == {dict}:
                entries += found
                places += [(*owners[at], position) for position in range(len(found))]
            else:
                extras.setdefault(at, {})[name] = found
        self._add(rows, suffix, entries, places)


class _Reader:
    """Reads the API's own fields of one kind of object, in the order of its table's columns."""

    def __init__(self, table: Table, *, unescape_html: bool, limits: Limits) -> None:
        columns = [column for column in table.columns if column.source and column is not PLAN_ID]
        self.names = [str(column.source) for column in columns]
        self.columns = [
            (
                taker(column, unescape_html=unescape_html, limits=limits),
                converter(column, unescape_html=unescape_html, limits=limits),
            )
            for column in columns
        ]
        self.id_at = self.names.index("id") if "id" in self.names else -1
        own = {PLAN_ID.source} if not table.suffix else set()
        self.known = frozenset(self.names).union(own, _LISTS_OF.get(table.suffix, ()))

    def read(self, objects: Objects) -> tuple[list[Sequence[Any]], Extras]:
        """Return the values column by column, and what belongs into ``extra``."""
        extras = {
            at: {name: source[name] for name in source.keys() - self.known}
            for at, source in enumerate(objects)
            if not source.keys() <= self.known
        }
        columns: list[Sequence[Any]] = []
        for name, (takes, convert), values in zip(self.names, self.columns, self._values(objects), strict=True):
            columns.append(values if takes(values) else _converted(name, values, convert, extras))
        return columns, extras

    def _values(self, objects: Objects) -> zip[Row]:
        """Return what the objects have, column by column; what is missing is None."""
        try:
            return zip(*map(itemgetter(*self.names), objects), strict=True)
        except KeyError:
            return zip(*([source.get(name) for name in self.names] for source in objects), strict=True)


def _converted(name: str, values: Sequence[Any], convert: Convert, extras: Extras) -> list[Any]:
    converted = []
    for at, value in enumerate(values):
        if value is not None:
            try:
                value = convert(value)
            except InexactError as inexact:
                extras.setdefault(at, {})[name] = value
                value = inexact.value
        converted.append(value)
    return converted
