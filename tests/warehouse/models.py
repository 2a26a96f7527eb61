"""What every mode should do, told in plain Python: rows as dicts, no database; and how to read the same of one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy.engine import make_url

from airflow_provider_achieveit.warehouse.compare import Changes
from airflow_provider_achieveit.warehouse.model import Mode, Nested
from tests.warehouse.loading import Item
from tests.warehouse.real_databases import Warehouse

Key = tuple[str, str, int, int]
"""Suffix of the table, id of the item, position of the checklist, position."""
Rows = dict[Key, Any]
Told = tuple[Any, ...]


def rows_of(items: Iterable[Item], nested: Nested) -> Rows:
    """Return the rows of items, as far as the tests fill them."""
    rows: Rows = {}
    for item in items:
        own = [item["name"], item["rowNumber"], item["lastUpdated"]]
        if nested is Nested.JSON:
            write = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
            own += [write(item[name]) for name in ("tags", "checklists")]
        rows["", item["id"], 0, 0] = tuple(own)
        if nested is not Nested.TABLES:
            continue
        for position, tag in enumerate(item["tags"]):
            rows["_tags", item["id"], 0, position] = (tag["name"],)
        for outer, checklist in enumerate(item["checklists"]):
            rows["_checklists", item["id"], 0, outer] = (checklist["name"],)
            for position, point in enumerate(checklist["items"]):
                rows["_checklist_items", item["id"], outer, position] = (point["name"],)
    return rows


def ids(rows: Iterable[Key]) -> set[str]:
    """Return the ids in the items' table."""
    return {item_id for suffix, item_id, *_ in rows if not suffix}


def differing(old: Mapping[Key, Any], new: Mapping[Key, Any]) -> set[str]:
    """Return the ids of items of which any row is not the same."""
    return {key[1] for key in old.keys() | new.keys() if old.get(key) != new.get(key)}


def changes(old: Mapping[Key, Any], new: Mapping[Key, Any]) -> Changes:
    """Count the changes from one state of a plan to another, in items."""
    before, after = ids(old), ids(new)
    return Changes(len(before), len(after - before), len(differing(old, new) & before & after), len(before - after))


class Model:
    """The warehouse after some loads; mode ``replace``."""

    def __init__(self) -> None:
        self.read_at: dict[Any, datetime] = {}
        self.rows: dict[Any, dict[Key, tuple[Any, datetime]]] = defaultdict(dict)

    def place(self, plan: str, at: datetime) -> Any:
        """Return what a load of the plan takes the place of."""
        return plan

    def before(self, plan: str, at: datetime) -> Rows:
        """Return the state that a load is compared with."""
        return {key: content for key, (content, _) in self.rows[self.place(plan, at)].items()}

    def guarded(self, plan: str, at: datetime) -> Rows:
        """Return the state of which no more than a share may be gone."""
        return self.before(plan, at)

    def newer(self, plan: str, at: datetime) -> bool:
        """Tell whether a later read is there."""
        place = self.place(plan, at)
        return place in self.read_at and self.read_at[place] > at

    def load(self, plan: str, at: datetime, new: Rows) -> Changes:
        """Load, and tell what changed."""
        counted = changes(self.before(plan, at), new)
        self.put(plan, at, new)
        self.read_at[self.place(plan, at)] = at
        return counted

    def put(self, plan: str, at: datetime, new: Rows) -> None:
        """Bring the rows to a new state."""
        self.rows[self.place(plan, at)] = {key: (content, at) for key, content in new.items()}

    def told(self) -> Iterator[Told]:
        """Return all rows: plan, key, content, and the values of the columns that tell time."""
        for plan, rows in self.rows.items():
            for key, (content, at) in rows.items():
                yield plan, key, content, at


class SnapshotModel(Model):
    """A state for each plan and day."""

    def place(self, plan: str, at: datetime) -> Any:
        return plan, at.date()

    def guarded(self, plan: str, at: datetime) -> Rows:
        days = [day for other, day in self.read_at if other == plan and day <= at.date()]
        return {key: content for key, (content, _) in self.rows[plan, max(days)].items()} if days else {}

    def told(self) -> Iterator[Told]:
        for (plan, day), rows in self.rows.items():
            for key, (content, at) in rows.items():
                yield plan, key, content, at, day


class MergeModel(Model):
    """Rows with the moment they were first read so; items that are gone keep theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.deleted_at: dict[tuple[str, str], datetime] = {}

    def before(self, plan: str, at: datetime) -> Rows:
        return {key: content for key, content in super().before(plan, at).items() if not self.is_gone(plan, key[1])}

    def is_gone(self, plan: str, item_id: str) -> bool:
        return (plan, item_id) in self.deleted_at

    def put(self, plan: str, at: datetime, new: Rows) -> None:
        there, present = self.rows[plan], ids(new)
        for item_id in ids(there) - present:
            self.deleted_at.setdefault((plan, item_id), at)
        for key in [key for key in there if key[1] in present and key not in new]:
            del there[key]
        for key, content in new.items():
            came_back = not key[0] and self.deleted_at.pop((plan, key[1]), None)
            if key not in there or there[key][0] != content or came_back:
                there[key] = content, at

    def told(self) -> Iterator[Told]:
        for plan, key, content, at in super().told():
            yield (plan, key, content, at, *([] if key[0] else [self.deleted_at.get((plan, key[1]))]))


class Scd2Model(Model):
    """Every version of every row."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: list[tuple[str, Key, Any, datetime, datetime]] = []

    def put(self, plan: str, at: datetime, new: Rows) -> None:
        there = self.rows[plan]
        for key, (content, since) in list(there.items()):
            if new.get(key) != content:
                del there[key]
                if since < at:
                    self.closed.append((plan, key, content, since, at))
        for key, content in new.items():
            there.setdefault(key, (content, at))

    def told(self) -> Iterator[Told]:
        for plan, key, content, since in super().told():
            yield plan, key, content, since, since, None
        for plan, key, content, since, until in self.closed:
            yield plan, key, content, since, since, until


MODELS = {Mode.REPLACE: Model, Mode.SNAPSHOT: SnapshotModel, Mode.MERGE: MergeModel, Mode.SCD2: Scd2Model}


_CONTENT = {
    "": ("name", "row_number", "last_updated"),
    "_tags": ("name",),
    "_checklists": ("name",),
    "_checklist_items": ("name",),
}
_TIMES = ("_extracted_at", "_snapshot_date", "_deleted_at", "_valid_from", "_valid_to")
_ONE_STATE = {
    "sqlite": "BEGIN",
    "duckdb": "BEGIN",
    "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "mysql": "START TRANSACTION WITH CONSISTENT SNAPSHOT",
}


def told_by(warehouse: Warehouse, table: str, nested: Nested = Nested.TABLES, connection: Any = None) -> list[Told]:
    """Return what :meth:`Model.told` should have told, read from all tables in one transaction.

    :param connection: of the warehouse; default: one for this once.
    """
    connection, own = connection or warehouse.connect(), connection is None
    try:
        cursor = connection.cursor()
        cursor.execute(_ONE_STATE[make_url(warehouse.url).get_backend_name()])
        told = [
            _told(suffix, row, nested)
            for suffix in (_CONTENT if nested is Nested.TABLES else [""])
            for row in _rows(cursor, f"SELECT * FROM {warehouse.name(f'{table}{suffix}')}")
        ]
        cursor.execute("COMMIT")
        return told
    finally:
        if own:
            connection.close()


def _rows(cursor: Any, query: str) -> Iterator[dict[str, Any]]:
    cursor.execute(query)
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, row, strict=True)) for row in cursor.fetchall())


def _told(suffix: str, row: dict[str, Any], nested: Nested) -> Told:
    content = [row[name] for name in _CONTENT[suffix]]
    if not suffix:
        content[2] = _moment(row["last_updated"], "last_updated").replace(tzinfo=None).isoformat()
        if nested is Nested.JSON:
            content += [row["tags"], row["checklists"]]
    key = (suffix, row.get("item_id", row["id"]), row.get("checklist_position", 0), row.get("position", 0))
    return (row["plan_id"], key, tuple(content), *(_moment(row[name], name) for name in _TIMES if name in row))


def _moment(value: Any, name: str) -> Any:
    if isinstance(value, str):
        # So SQLite keeps it.
        value = date.fromisoformat(value) if name == "_snapshot_date" else datetime.fromisoformat(value)
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
