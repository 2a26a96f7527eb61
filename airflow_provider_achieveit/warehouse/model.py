"""Which tables and columns a plan has in the warehouse. Plain data, made from the contract's field lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_achieveit.api import contract
from airflow_provider_achieveit.api.contract import FieldType


class ColumnType(StrEnum):
    """What a column holds; :mod:`.types` says how each database stores it."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    MOMENT = "moment"
    DECIMAL = "decimal"
    JSON = "json"


class Nested(StrEnum):
    """What becomes of the lists in an item."""

    TABLES = "tables"
    """One child table each."""
    JSON = "json"
    """One JSON column each."""
    DROP = "drop"
    """Left out."""


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
    :param item_key: the column that holds the item's id.
    """

    suffix: str
    columns: tuple[Column, ...]
    item_key: str

    @property
    def key(self) -> tuple[str, ...]:
        """Names of the key columns."""
        return tuple(column.name for column in self.columns if column.key)


PLAN_ID = Column("plan_id", ColumnType.TEXT, "planId", key=True)
"""Always the exported plan's id, so that a plan's rows can be found and replaced."""
EXTRA = Column("extra", ColumnType.JSON)
"""What the model does not know, or could not convert without loss, under the API's names."""
EXTRACTED_AT = Column("_extracted_at", ColumnType.MOMENT)
"""When the state was read."""

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
    return Table("", (PLAN_ID, *_columns(fields, frozenset({"id"})), *lists, EXTRA, EXTRACTED_AT), "id")


def _child_table(suffix: str, fields: Mapping[str, FieldType], *places: Column) -> Table:
    owner = (Column("plan_id", ColumnType.TEXT, key=True), Column("item_id", ColumnType.TEXT, key=True))
    position = Column("position", ColumnType.INTEGER, key=True)
    return Table(suffix, (*owner, *places, position, *_columns(fields), EXTRA, EXTRACTED_AT), "item_id")


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
