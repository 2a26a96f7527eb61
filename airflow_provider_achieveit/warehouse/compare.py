"""What a load changes, told by comparing staged rows with those in place.

Every table is compared once; what differs is listed in a temporary table, from which a load is counted, judged and
done. No statement names a temporary table twice: MySQL cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, String, Table, and_, case, distinct, func, insert, literal, or_, select
from sqlalchemy.engine import Connection

from airflow_provider_achieveit.warehouse.differs import differs
from airflow_provider_achieveit.warehouse.model import DELETED_AT, EXTRACTED_AT
from airflow_provider_achieveit.warehouse.target import PlanTables, TablePair


class Change(StrEnum):
    """What becomes of a row."""

    NEW = "new"
    BACK = "back"
    """Its item was marked as gone."""
    DIFFERENT = "different"
    GONE = "gone"


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


def compare(connection: Connection, tables: PlanTables, there: Callable[[Table], Any]) -> dict[tuple[str, Change], int]:
    """List the rows that a load changes; return how many there are by table's suffix and change.

    :param connection: the connection that staged the rows.
    :param tables: the tables.
    :param there: gives the condition for the rows of a table that the staged ones are compared with.
    """
    for pair in tables.pairs:
        for found in (_new_and_different(pair, there(pair.target)), _gone(pair, there(pair.target), tables)):
            connection.execute(insert(tables.changes).from_select(tables.changes.columns.keys(), found))
    suffix, change = tables.changes.c.suffix, tables.changes.c.change
    counts = connection.execute(select(suffix, change, func.count()).group_by(suffix, change))
    suffixes = {_told(pair): pair.model.suffix for pair in tables.pairs}
    return {(suffixes[row[0]], Change(row[1])): row[2] for row in counts}


def count(
    connection: Connection, tables: PlanTables, plan_id: str, changed: dict[tuple[str, Change], int], *, before: int
) -> Changes:
    """Count in items what :func:`compare` found.

    :param connection: the connection that staged the rows.
    :param tables: the tables.
    :param plan_id: the plan; all staged rows are of it, but it is the first column of the index they are found by.
    :param changed: what :func:`compare` returned.
    :param before: items of the plan that were there.
    """
    staged, changes = tables.items.staged, tables.changes
    touched = connection.execute(
        select(func.count(distinct(changes.c.item_id))).select_from(
            changes.join(staged, and_(staged.c.plan_id == plan_id, staged.c.id == changes.c.item_id))
        )
    ).scalar_one()
    inserted = changed.get(("", Change.NEW), 0) + changed.get(("", Change.BACK), 0)
    return Changes(before, inserted, touched - inserted, changed.get(("", Change.GONE), 0))


def same_row(table: Table, other: Table, pair: TablePair) -> Any:
    """Join two tables that have the plan's own key columns."""
    return and_(*(table.c[name] == other.c[name] for name in pair.model.key))


def listed(changes: Table, table: Table, pair: TablePair, *kinds: Change) -> Any:
    """Join the list of changes with a table that has the plan's own key columns."""
    places = zip(_PLACES, _place(pair, table), strict=True)
    return and_(
        changes.c.suffix == _told(pair),
        changes.c.change.in_(kinds),
        *(changes.c[name] == value for name, value in places),
    )


_PLACES = ("item_id", "outer_position", "position")


def _place(pair: TablePair, table: Table) -> Iterator[Any]:
    yield table.c[pair.model.item_key]
    for name in ("checklist_position", "position"):
        yield table.c[name] if name in pair.model.key else literal(0, BigInteger())


def _new_and_different(pair: TablePair, there: Any) -> Any:
    staged, target = pair.staged, pair.target
    different = [
        differs(staged.c[column.name], target.c[column.name])
        for column in pair.model.columns
        if not column.key and column is not EXTRACTED_AT
    ]
    different += [column.is_not(None) for column in pair.emptied]
    kinds = [(target.c.plan_id.is_(None), _text(Change.NEW))]
    if DELETED_AT.name in target.c:
        marked = target.c[DELETED_AT.name].is_not(None)
        kinds.append((marked, _text(Change.BACK)))
        different.append(marked)
    return (
        select(_text(_told(pair)), *_place(pair, staged), case(*kinds, else_=_text(Change.DIFFERENT)))
        .select_from(staged.outerjoin(target, and_(there, same_row(target, staged, pair))))
        .where(or_(target.c.plan_id.is_(None), *different))
    )


def _gone(pair: TablePair, there: Any, tables: PlanTables) -> Any:
    staged, target = pair.staged, pair.target
    joined = target.outerjoin(staged, same_row(target, staged, pair))
    if DELETED_AT.name in target.c:
        there = and_(there, target.c[DELETED_AT.name].is_(None))
    elif DELETED_AT.name in tables.items.target.c:
        # The child rows of an item that is gone stay with it.
        owners = tables.items.staged
        joined = joined.join(owners, owners.c.id == target.c[pair.model.item_key])
    return (
        select(_text(_told(pair)), *_place(pair, target), _text(Change.GONE))
        .select_from(joined)
        .where(there, staged.c.plan_id.is_(None))
    )


def _told(pair: TablePair) -> str:
    # An empty text is NULL to Oracle.
    return pair.model.suffix or "items"


def _text(value: str) -> Any:
    # With a length it is no LOB anywhere.
    return literal(str(value), String(20))
