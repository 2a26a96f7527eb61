"""What AchieveIt accepts as a batch: the bytes of one POST become updates, or all the reasons why not.

Pure functions. Rests on "Submitting Progress Updates", "Submitting Metric Updates" and "AchieveIt API Basics". Written
from the documents alone and on purpose not from the provider's own checks, so that each can catch the other's errors.
Where the documents leave something open, the stricter reading is taken: what passes here should pass anywhere.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal

from airflow_provider_achieveit.api.contract import (
    CSV_LABELS,
    JSON_NAMES,
    KIND_FIELDS,
    UpdateField,
    UpdateKind,
)

OLDER_METRIC_LABELS = ("Current Metric Value", "Current Value")
"""What the documents of earlier years call the column Metric Value."""

_LABELS = {label: field for field, label in CSV_LABELS.items()} | dict.fromkeys(
    OLDER_METRIC_LABELS, UpdateField.METRIC_VALUE
)
_FORMAT_OF_TYPE = {
    "text/csv": "csv",
    "application/csv": "csv",
    "text/plain": "csv",
    "application/json": "json",
}
_DECIMAL = re.compile(r"-?([0-9]+(\.[0-9]+)?|\.[0-9]+)")
_ISO_DATE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}|[0-9]{4}-?W[0-9]{2}(?:-?[0-9])?)(?:[T ](.+))?", re.ASCII)
_US_DATE = re.compile(r"([0-9]{2}/[0-9]{2}/[0-9]{4})(?: ([0-9]{1,2}:[0-9]{2}(:[0-9]{2})?( ?[AaPp][Mm])?))?")


class BatchRefusedError(ValueError):
    """A batch that is refused as a whole.

    :param reasons: every reason, one sentence each.
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("\n".join(reasons))
        self.reasons = tuple(reasons)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the tenant knows that the bytes alone do not tell.

    :param statuses: the tenant's statuses in their own spelling, by their case-folded form.
    :param has_metric: for each external id that the key's user may update, whether its item has a metric.
    :param older: play an older tenant: columns in the fixed order, no Comment column, no JSON (default: no).
    """

    statuses: Mapping[str, str]
    has_metric: Mapping[str, bool]
    older: bool = False


@dataclass(frozen=True, slots=True)
class Update:
    """One accepted update.

    :param external_id: which plan item.
    :param status: in the tenant's spelling; None in metric updates.
    :param metric_value: the exact value; None where the item has no metric.
    :param as_of_date: the day of the update.
    :param comment: free text, if there is one.
    """

    external_id: str
    status: str | None
    metric_value: Decimal | None
    as_of_date: date
    comment: str | None


_Row = dict[UpdateField, str]


def read_batch(kind: UpdateKind, filename: str, content_type: str, body: bytes, rules: Rules) -> list[Update]:
    """Read a batch as the server does.

    :param kind: progress or metric updates.
    :param filename: the last part of the address; its extension tells the format where the content type does not.
    :param content_type: the Content-Type header, or an empty string.
    :param body: the bytes that were sent.
    :param rules: the tenant's statuses and plan items.
    :return: one update for each row, in their order.
    :raises BatchRefusedError: at least one row, or the batch as a whole, breaks a rule; all reasons are listed.
    """
    body_format = _body_format(filename, content_type)
    if body_format == "json" and rules.older:
        raise BatchRefusedError(["This tenant takes CSV files only, not JSON."])
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BatchRefusedError([f"The file is not UTF-8: {error.reason} at byte {error.start}."]) from None
    if "\0" in text:
        raise BatchRefusedError(["The file holds a NUL character."])
    rows = _csv_rows(kind, text, rules.older) if body_format == "csv" else _json_rows(kind, text)
    updates, reasons = [], []
    for number, row in enumerate(rows, start=1):
        if isinstance(row, str):
            reasons.append(f"Row {number}: {row}.")
            continue
        update, problems = _check_row(kind, row, rules)
        reasons.extend(f"Row {number}, {CSV_LABELS[field]}: {problem}." for field, problem in problems)
        if update is not None:
            updates.append(update)
    if reasons:
        raise BatchRefusedError(reasons)
    if not updates:
        raise BatchRefusedError(["The file holds no updates."])
    return updates


def _body_format(filename: str, content_type: str) -> str:
    extension = filename.rpartition(".")[2].lower()
    by_name = extension if extension in ("csv", "json") else None
    media_type = content_type.partition(";")[0].strip().lower()
    # What curl --data-binary sends of its own accord (the documents' example) tells nothing.
    by_type = _FORMAT_OF_TYPE.get(media_type)
    if by_name and by_type and by_name != by_type:
        raise BatchRefusedError([f"The filename {filename!r} and the content type {media_type!r} disagree."])
    told = by_type or by_name
    if told is None:
        raise BatchRefusedError(
            [f"Neither the filename {filename!r} nor the content type {media_type!r} is CSV or JSON."]
        )
    return told


# --- CSV --------------------------------------------------------------------------------------------------------------


def _csv_rows(kind: UpdateKind, text: str, older: bool) -> Iterator[_Row | str]:
    """Yield each row as its fields, or as the reason why it is none; empty cells are left out."""
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise BatchRefusedError([f"The file is not CSV: {error}."]) from None
    if not records:
        return
    order = KIND_FIELDS[kind] if not older else tuple(f for f in KIND_FIELDS[kind] if f is not UpdateField.COMMENT)
    widths = {len(order), len(order) - 1} if UpdateField.COMMENT in order else {len(order)}
    if _is_header(records[0]):
        fields = _header_fields(order, records.pop(0), older)
        widths = {len(fields)}
    else:
        fields = order
        if len(records[0]) in widths:
            widths = {len(records[0])}
    for record in records:
        if not any(cell.strip() for cell in record):
            yield "the row is empty"
        elif len(record) not in widths:
            expected = " or ".join(map(str, sorted(widths)))
            yield f"the row has {len(record)} columns, expected {expected}"
        else:
            yield {field: cell for field, cell in zip(fields, record, strict=False) if cell}


def _is_header(record: list[str]) -> bool:
    # An external id may not contain this word, so a first cell that does can only be a label.
    return bool(record) and ("external" in record[0].lower() or CSV_LABELS[UpdateField.EXTERNAL_ID] in record)


def _header_fields(order: tuple[UpdateField, ...], labels: list[str], older: bool) -> tuple[UpdateField, ...]:
    first = CSV_LABELS[UpdateField.EXTERNAL_ID]
    if labels[0] != first:
        raise BatchRefusedError([f"The first column must be labelled {first!r}, not {labels[0]!r}."])
    unknown = [label for label in labels if _LABELS.get(label) not in order]
    if unknown:
        raise BatchRefusedError(
            [f"The header has a label that this tenant does not know: {label!r}." for label in unknown]
        )
    fields = tuple(_LABELS[label] for label in labels)
    doubled = {CSV_LABELS[field] for field in fields if fields.count(field) > 1}
    if doubled:
        raise BatchRefusedError([f"The header has the column {label!r} twice." for label in sorted(doubled)])
    missing = [field for field in order if field not in fields and field is not UpdateField.COMMENT]
    if missing:
        raise BatchRefusedError([f"The header lacks the column {CSV_LABELS[field]!r}." for field in missing])
    if older and fields != order:
        raise BatchRefusedError(["The columns must be in this order: " + ", ".join(CSV_LABELS[f] for f in order) + "."])
    return fields


# --- JSON -------------------------------------------------------------------------------------------------------------


class _Number(str):
    """A JSON number as it was written: a float would lose digits and hide an exponent."""

    __slots__ = ()


def _json_rows(kind: UpdateKind, text: str) -> Iterator[_Row | str]:
    """Yield each object as its fields, or as the reason why it is none."""
    try:
        parsed = json.loads(
            text,
            parse_float=_Number,
            parse_int=_Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique_names,
        )
    except (ValueError, RecursionError) as error:
        raise BatchRefusedError([f"The file is not JSON: {error}."]) from None
    if not isinstance(parsed, list):
        raise BatchRefusedError(["The file must be a JSON array of objects."])
    known = {JSON_NAMES[field]: field for field in KIND_FIELDS[kind]}
    for entry in parsed:
        yield _json_row(entry, known)


def _json_row(entry: object, known: Mapping[str, UpdateField]) -> _Row | str:
    if not isinstance(entry, dict):
        return "an object was expected"
    row: _Row = {}
    for name, value in entry.items():
        if name not in known:
            return f"the name {name!r} is unknown"
        if isinstance(value, _Number) and known[name] is not UpdateField.METRIC_VALUE:
            return f"{name} must be text, not a number"
        if not isinstance(value, str):
            return f"{name} must be text, not {json.dumps(value)[:40]}"
        if not value:
            return f"{name} is empty; a field without a value is left out"
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            return f"{name} holds half a character (a lone surrogate)"
        row[known[name]] = str(value)
    return row


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _unique_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"an object has the name {doubled[0]!r} twice")
    return dict(pairs)


# --- One row ----------------------------------------------------------------------------------------------------------


def _check_row(kind: UpdateKind, row: _Row, rules: Rules) -> tuple[Update | None, list[tuple[UpdateField, str]]]:
    problems: list[tuple[UpdateField, str]] = []
    external_id = status = value = as_of_date = None
    try:
        external_id = _external_id(row.get(UpdateField.EXTERNAL_ID, ""), rules)
    except ValueError as error:
        problems.append((UpdateField.EXTERNAL_ID, str(error)))
    try:
        if kind is UpdateKind.PROGRESS:
            status = _status(row.get(UpdateField.STATUS, ""), rules)
    except ValueError as error:
        problems.append((UpdateField.STATUS, str(error)))
    try:
        has_metric = rules.has_metric[external_id] if external_id else None
        value = _metric_value(kind, row.get(UpdateField.METRIC_VALUE, ""), has_metric)
    except ValueError as error:
        problems.append((UpdateField.METRIC_VALUE, str(error)))
    try:
        as_of_date = _date(row.get(UpdateField.AS_OF_DATE, ""))
    except ValueError as error:
        problems.append((UpdateField.AS_OF_DATE, str(error)))
    if external_id is None or as_of_date is None or problems:
        return None, problems
    return Update(external_id, status, value, as_of_date, row.get(UpdateField.COMMENT)), problems


def _external_id(text: str, rules: Rules) -> str:
    if not text.strip():
        raise ValueError("it is missing")
    if "," in text or '"' in text:
        raise ValueError(f"{text!r} contains a comma or a quotation mark")
    if "external" in text.lower():
        raise ValueError(f"{text!r} contains the word 'external'")
    if text not in rules.has_metric:
        raise ValueError(f"no plan item has the external id {text!r}, or this user may not update it")
    return text


def _status(text: str, rules: Rules) -> str:
    if not text:
        raise ValueError("it is missing")
    status = rules.statuses.get(text.casefold())
    if status is None:
        raise ValueError(f"{text!r} is not a status of this tenant")
    return status


def _metric_value(kind: UpdateKind, text: str, has_metric: bool | None) -> Decimal | None:
    """Read the value; ``has_metric`` is None where the item is not known (another reason tells that)."""
    if not text:
        if kind is UpdateKind.METRIC or has_metric:
            raise ValueError("it is missing")
        return None
    if has_metric is False:
        raise ValueError("the plan item has no metric")
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text!r} is not a plain decimal number")
    return Decimal(text)


def _date(text: str) -> date:
    if not text:
        raise ValueError("it is missing")
    try:
        if matched := _ISO_DATE.fullmatch(text):
            if matched[2]:
                time.fromisoformat(matched[2])
            return date.fromisoformat(matched[1])
        if matched := _US_DATE.fullmatch(text):
            return datetime.strptime(matched[1], "%m/%d/%Y").date()
    except ValueError:
        pass
    raise ValueError(f"{text!r} is neither an ISO-8601 date nor MM/DD/YYYY")
