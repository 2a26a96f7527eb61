"""Which tables and columns a plan has in the warehouse. Plain data, made from the contract's field lists."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from airflow_provider_achieveit.api import contract
from airflow_provider_achieveit.api.contract import FieldType


class ColumnType(StrEnum):
    """What a column holds; :mod:`.types` says how each database stores it."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    MOMENT = "moment"
    DATE = "date"
    DECIMAL = "decimal"
    JSON = "json"
    WORD = "word"
    """A short word of our own, in temporary tables."""


class Nested(StrEnum):
    """What becomes of the lists in an item."""

    TABLES = "tables"
    """One child table each."""
    JSON = "json"
    """One JSON column each."""
    DROP = "drop"
    """Left out."""


class Mode(StrEnum):
    """What a load leaves of what was there."""

    REPLACE = "replace"
    """The tables mirror the plan; rows of items that are gone go too."""
    MERGE = "merge"
    """Rows that differ are brought up to date; those of items that are gone stay, marked."""
    SNAPSHOT = "snapshot"
    """One state a day, side by side."""
    SCD2 = "scd2"
    """Every state a row has had, with the span of time in which it was seen."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    :param name: its name in the warehouse.
    :param type: what it holds.
    :param source: the API's name of the field it comes from; None: the provider fills it.
    :param key: part of the primary key, and so never NULL.
    :param escaped: a plain-text field that AchieveIt HTML-escapes.
    """

    name: str
    type: ColumnType
    source: str | None = None
    key: bool = False
    escaped: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    :param suffix: what follows the name of the items' table; empty for that itself.
    :param columns: its columns, in order.
    """

    suffix: str
    columns: tuple[Column, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """Names of the key columns."""
        return tuple(column.name for column in self.columns if column.key)

    @property
    def item_key(self) -> str:
        """Name of the column that holds the item's id."""
        return "item_id" if self.suffix else "id"


PLAN_ID = Column("plan_id", ColumnType.TEXT, "planId", key=True)
"""Always the exported plan's id, so that a plan's rows can be found and replaced."""
EXTRA = Column("extra", ColumnType.JSON)
"""What the model does not know, or could not convert without loss, under the API's names."""
EXTRACTED_AT = Column("_extracted_at", ColumnType.MOMENT)
"""When the state was read."""

SNAPSHOT_DATE = Column("_snapshot_date", ColumnType.DATE, key=True)
"""The day whose state a row is part of."""
DELETED_AT = Column("_deleted_at", ColumnType.MOMENT)
"""When an item was first found missing; NULL: it is in the plan."""
VALID_FROM = Column("_valid_from", ColumnType.MOMENT, key=True)
"""When a row was first read as it is here."""
VALID_TO = Column("_valid_to", ColumnType.MOMENT)
"""When a row was first found different or missing; NULL: it is current."""

LISTS: Mapping[str, str] = {
    "members": "_members",
    "admins": "_admins",
    "tags": "_tags",
    "advancedMetricGoals": "_metric_goals",
    "checklists": "_checklists",
}
"""The suffix of the child table by the API's name of the list."""
CHECKLIST_ITEMS_SUFFIX = "_checklist_items"

_ESCAPED = frozenset(
    "planName sourcePlanName alignsTo dependentOn level name indentedName statusName assignedToFullName "
    "assignedByFullName goalName".split()
)
"""Names come HTML-escaped; descriptions and comments may hold real HTML and stay as they are."""


def snake_case(name: str) -> str:
    """Return the column name of an API field: ``currentValue`` gives ``current_value``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _columns(fields: Mapping[str, FieldType], keys: frozenset[str] = frozenset()) -> tuple[Column, ...]:
    return tuple(
        Column(snake_case(name), ColumnType(kind.value), name, key=name in keys, escaped=name in _ESCAPED)
        for name, kind in fields.items()
    )


def _item_table(nested: Nested) -> Table:
    fields = {name: kind for name, kind in contract.ITEM_FIELDS.items() if name != PLAN_ID.source}
    lists = [Column(snake_case(name), ColumnType.JSON, name) for name in LISTS] if nested is Nested.JSON else []
    return Table("", (PLAN_ID, *_columns(fields, frozenset({"id"})), *lists, EXTRA, EXTRACTED_AT))


def _child_table(suffix: str, fields: Mapping[str, FieldType], *places: Column) -> Table:
    owner = (Column("plan_id", ColumnType.TEXT, key=True), Column("item_id", ColumnType.TEXT, key=True))
    position = Column("position", ColumnType.INTEGER, key=True)
    return Table(suffix, (*owner, *places, position, *_columns(fields), EXTRA, EXTRACTED_AT))


def plan_tables(nested: Nested) -> tuple[Table, ...]:
    """Return the tables of a plan, the items' table first.

    Entries of a list have a ``position``, 0-based in the API's order; entries of a checklist also tell the checklist
    by its id and by its position (an id is not promised to be there, or to be unique).

    :param nested: what becomes of the lists in an item.
    """
    items = _item_table(nested)
    if nested is not Nested.TABLES:
        return (items,)
    return (
        items,
        *(_child_table(suffix, contract.CHILD_FIELDS[name]) for name, suffix in LISTS.items()),
        _child_table(
            CHECKLIST_ITEMS_SUFFIX,
            contract.CHECKLIST_ITEM_FIELDS,
            Column("checklist_id", ColumnType.TEXT),
            Column("checklist_position", ColumnType.INTEGER, key=True),
        ),
    )


def in_mode(table: Table, mode: Mode) -> Table:
    """Return a table of the plan as loads of a mode keep it: with the columns that tell its rows' time."""
    plan_id, *columns = table.columns
    match mode:
        case Mode.SNAPSHOT:
            return replace(table, columns=(plan_id, SNAPSHOT_DATE, *columns))
        case Mode.SCD2:
            return replace(table, columns=(*table.columns, VALID_FROM, VALID_TO))
        case Mode.MERGE if not table.suffix:
            return replace(table, columns=(*table.columns, DELETED_AT))
        case _:
            return table


def mode_of(columns: Collection[str]) -> Mode:
    """Return the mode whose loads keep an items' table of these columns."""
    marks = {SNAPSHOT_DATE: Mode.SNAPSHOT, VALID_FROM: Mode.SCD2, DELETED_AT: Mode.MERGE}
    return next((mode for column, mode in marks.items() if column.name in columns), Mode.REPLACE)


def loads_table(mode: Mode) -> Table:
    """Return the table that tells the last load of each plan, or of each plan and day."""
    columns = (
        Column(PLAN_ID.name, ColumnType.TEXT, key=True),
        Column("mode", ColumnType.TEXT),
        Column("settings", ColumnType.TEXT),
        Column("items", ColumnType.INTEGER),
        Column("newest_change", ColumnType.TEXT),
        EXTRACTED_AT,
    )
    table = Table("_loads", columns)
    return in_mode(table, mode) if mode is Mode.SNAPSHOT else table


CHANGES = Table(
    "_changes",
    (
        Column("suffix", ColumnType.WORD, key=True),
        Column("item_id", ColumnType.TEXT, key=True),
        Column("outer_position", ColumnType.INTEGER, key=True),
        Column("position", ColumnType.INTEGER, key=True),
        Column("change", ColumnType.WORD),
    ),
)
"""The temporary list of rows that a load changes, each told by its table's suffix, its item and its place there."""
