"""What a load changes, told by comparing staged rows with those in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, and_, cast, exists, func, or_, select, union
from sqlalchemy.engine import Connection

from airflow_provider_achieveit.warehouse.model import EXTRACTED_AT, ColumnType
from airflow_provider_achieveit.warehouse.target import TablePair


@dataclass(frozen=True, slots=True)
class Changes:
    """What a load changes, in items; one whose child rows alone differ is updated too.

    :param before: items of the plan that were there.
    :param inserted: items that were not there.
    :param updated: items that differ in anything but the moment of the export.
    :param deleted: items that are no longer there.
    """

    before: int
    inserted: int
    updated: int
    deleted: int


def changes(connection: Connection, pairs: Sequence[TablePair], plan_id: str) -> Changes:
    """Compare the staged rows of a plan with those in place.

    :param connection: the connection that staged the rows.
    :param pairs: all tables of the plan, the items' table first.
    :param plan_id: the plan.
    """

    def count(query: Any) -> int:
        return int(connection.execute(query).scalar_one())

    staged, target = pairs[0].staged, pairs[0].target
    before = count(select(func.count()).select_from(target).where(target.c.plan_id == plan_id))
    now = count(select(func.count()).select_from(staged))
    if not before:
        return Changes(before=0, inserted=now, updated=0, deleted=0)
    same_item = _same_row(pairs[0], plan_id)
    kept = count(select(func.count()).select_from(staged.join(target, same_item)))
    touched = union(*(query for pair in pairs for query in _touched(pair, plan_id))).subquery()
    updated = count(
        select(func.count()).select_from(touched.join(staged, staged.c.id == touched.c.item_id).join(target, same_item))
    )
    return Changes(before=before, inserted=now - kept, updated=updated, deleted=before - kept)


def _touched(pair: TablePair, plan_id: str) -> Iterator[Any]:
    """Yield selects of the ids of items that have new or different rows, and of those that have lost rows."""
    staged, target = pair.staged, pair.target
    same_row = _same_row(pair, plan_id)
    differs = or_(
        *(
            _comparable(staged.c[column.name], column.type).is_distinct_from(
                _comparable(target.c[column.name], column.type)
            )
            for column in pair.model.columns
            if not column.key and column is not EXTRACTED_AT
        )
    )
    item_key = pair.model.item_key
    yield (
        select(staged.c[item_key].label("item_id"))
        .select_from(staged.outerjoin(target, same_row))
        .where(or_(target.c.plan_id.is_(None), differs))
    )
    yield select(target.c[item_key].label("item_id")).where(
        target.c.plan_id == plan_id, ~exists(select(1).select_from(staged).where(same_row).correlate(target))
    )


def _same_row(pair: TablePair, plan_id: str) -> Any:
    """Join by the whole key, which both sides have an index for; staged rows are all of the one plan."""
    keys = (pair.target.c[name] == pair.staged.c[name] for name in pair.model.key)
    return and_(pair.target.c.plan_id == plan_id, *keys)


def _comparable(column: Any, kind: ColumnType) -> Any:
    """PostgreSQL's JSON type has no equality; its text does, and the same content is always the same text."""
    return cast(column, Text) if kind is ColumnType.JSON else column
