"""One page of a plan's items, as "Exporting Plan Items" tells. Pure functions."""

from __future__ import annotations

import html
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from airflow_provider_achieveit.simulator.world import Item, Plan

_ESCAPED = frozenset(
    "name indentedName planName sourcePlanName alignsTo dependentOn level assignedToFullName assignedByFullName "
    "goalName".split()
)
"""Names come HTML-escaped from the real service, on items and in their lists; comments and descriptions do not."""

_NUMBERS = frozenset({"baseline", "target", "currentValue"})
# Columns of the web application that the export sorts by but does not show.
_HIDDEN: dict[str, Callable[[Item], str]] = {
    "assignedToEmailAddress": lambda item: item.email,
    "lastProgressUpdateUser": lambda item: item.last_update_user,
}


def page(plan: Plan, *, skip: int, take: int, sort_key: str, descending: bool) -> dict[str, Any]:
    """Return the body of one answer.

    :param plan: the plan.
    :param skip: items to leave out at the start.
    :param take: items to return at most.
    :param sort_key: a sort key of the documents.
    :param descending: whether the order is turned round.
    """
    items = sorted(plan.items, key=lambda item: _sort_value(item, sort_key), reverse=descending)
    return {"items": [escaped(item.fields) for item in items[skip : skip + take]], "totalCount": len(items)}


def escaped(value: Any) -> Any:
    """Return an item's fields, or any part of them, with its names HTML-escaped."""
    if isinstance(value, list):
        return [escaped(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        name: html.escape(entry) if name in _ESCAPED and isinstance(entry, str) else escaped(entry)
        for name, entry in value.items()
    }


def _sort_value(item: Item, sort_key: str) -> tuple[Any, ...]:
    value = _HIDDEN[sort_key](item) if sort_key in _HIDDEN else item.fields.get(sort_key)
    if value is None or value == "":
        return (0,)  # before everything else, whatever its type
    if sort_key == "sequenceId":
        return (1, *(int(part) for part in str(value).split(".")))
    if sort_key in _NUMBERS:
        return (1, Decimal(value))
    return (1, value)
