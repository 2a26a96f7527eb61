"""Which fields the items of a plan have, and of what kind; never what stands in them. Pure functions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from airflow_provider_achieveit.api.contract import (
    CHECKLIST_ITEM_FIELDS,
    CHECKLIST_ITEMS,
    CHILD_FIELDS,
    ITEM_FIELDS,
    FieldType,
)
from airflow_provider_achieveit.api.probe.shapes import WITHHELD, Names, id_form

LIST = "list"
_TEXT = "text"
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,5})?", re.ASCII)
_TOO_FINE = re.compile(r"[.,]\d{6}\d*[1-9]")
_MOST_UNKNOWN = 50

_EXPECTED: dict[str, frozenset[str]] = {
    FieldType.TEXT: frozenset({_TEXT, "empty text", "UUID", "32 hex digits", "digits"}),
    FieldType.INTEGER: frozenset({"integer"}),
    FieldType.BOOLEAN: frozenset({"boolean"}),
    FieldType.MOMENT: frozenset({"moment with zone", "moment without zone", "date"}),
    FieldType.DECIMAL: frozenset({"decimal as text", "empty text", "integer", "number with a point"}),
    LIST: frozenset({LIST}),
}
"""What a column takes as it is; null goes into every one. All else an export keeps in ``extra``."""


def fields_seen(items: Sequence[Mapping[str, Any]], names: Names) -> list[dict[str, Any]]:
    """Return what was seen of each field, the documented ones first.

    :param items: plan items as they came.
    :param names: which names may be told.
    :return: for each field its name (``members[].id``), how it is documented, the kinds seen and how often, in how many
        objects it is missing, and a verdict: as expected, differs, missing, unknown, or not seen.
    """
    lists_of = {child: _entries(items, child) for child in CHILD_FIELDS}
    found = list(_fields("", items, ITEM_FIELDS, set(CHILD_FIELDS), names))
    for child, documented in CHILD_FIELDS.items():
        inner = {CHECKLIST_ITEMS} if child == "checklists" else set()
        found += _fields(f"{child}[].", lists_of[child], documented, inner, names)
    steps = _entries(lists_of["checklists"], CHECKLIST_ITEMS)
    found += _fields(f"checklists[].{CHECKLIST_ITEMS}[].", steps, CHECKLIST_ITEM_FIELDS, set(), names)
    return found


def _entries(objects: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    lists = (entry.get(name) for entry in objects)
    return [entry for entries in lists if isinstance(entries, list) for entry in entries if isinstance(entry, dict)]


def _fields(
    prefix: str,
    objects: Sequence[Mapping[str, Any]],
    documented: Mapping[str, FieldType],
    lists: set[str],
    names: Names,
) -> Iterator[dict[str, Any]]:
    types: dict[str, str] = {**documented, **dict.fromkeys(sorted(lists), LIST)}
    for name, kind in types.items():
        kinds = Counter(_kind(entry[name], name, kind) for entry in objects if name in entry)
        missing = len(objects) - kinds.total()
        yield _row(prefix + name, str(kind), kinds, missing, _verdict(kinds, kind, len(objects)))
    unknown: dict[str, Counter[str]] = {}
    for entry in objects:
        for name in entry.keys() - types.keys():
            unknown.setdefault(names.told(name), Counter())[_kind(entry[name], "", "")] += 1
    for name in sorted(unknown)[:_MOST_UNKNOWN]:
        missing = 0 if name == WITHHELD else len(objects) - unknown[name].total()
        yield _row(prefix + name, "-", unknown[name], missing, "unknown")
    if len(unknown) > _MOST_UNKNOWN:
        yield _row(f"{prefix}(and {len(unknown) - _MOST_UNKNOWN} more names)", "-", Counter(), 0, "unknown")


def _row(name: str, documented: str, kinds: Counter[str], missing: int, verdict: str) -> dict[str, Any]:
    seen = ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items())) or "nothing"
    return {"field": name, "documented": documented, "seen": seen, "missing": missing, "verdict": verdict}


def _verdict(kinds: Counter[str], kind: str, objects: int) -> str:
    if not objects:
        return "not seen"
    if not kinds:
        return "missing"
    return "as expected" if kinds.keys() - {"null"} <= _EXPECTED[kind] else "differs"


def _kind(value: Any, name: str, kind: str) -> str:
    if isinstance(value, str):
        return _text_kind(value, name, kind)
    for types, told in (
        ((type(None),), "null"),
        ((bool,), "boolean"),
        ((int,), "integer"),
        ((Decimal, float), "number with a point"),
        ((list,), LIST),
    ):
        if isinstance(value, types):
            return told
    return "object"


def _text_kind(text: str, name: str, kind: str) -> str:
    # The form of a name or a comment is nobody's business.
    if not text:
        return "empty text"
    if kind == FieldType.MOMENT:
        return _moment_kind(text)
    if kind == FieldType.DECIMAL:
        return "decimal as text" if _DECIMAL.fullmatch(text.strip()) else _TEXT
    return id_form(text) if name == "id" or name.endswith("Id") else _TEXT


def _moment_kind(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _TEXT
    if _TOO_FINE.search(text):
        return "moment finer than a microsecond"
    if len(text) <= len("2025-01-01"):
        return "date"
    return "moment with zone" if moment.tzinfo else "moment without zone"
