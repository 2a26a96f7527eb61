"""How a batch is written: CSV (RFC 4180) or JSON (RFC 8259), as "Submitting Progress Updates" of AchieveIt tells.

Everything is deterministic: the same records give the same bytes, which the batch's fingerprint rests on.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from decimal import Decimal
from json import JSONEncoder
from operator import itemgetter

from airflow_provider_achieveit.api.contract import (
    CSV_LABELS,
    JSON_NAMES,
    KIND_FIELDS,
    BodyFormat,
    UpdateField,
    UpdateKind,
)
from airflow_provider_achieveit.updates.record import Record

Texts = tuple[str | None, ...]
"""A record's fields as they are written, in the order of :class:`~..api.contract.UpdateField`."""

# What str.splitlines takes for the end of a line: a simple parser on the other side may do the same.
_LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_json_text = JSONEncoder(ensure_ascii=False).encode


def decimal_text(number: Decimal) -> str:
    """Return a number in plain decimal form, without exponent, trailing zeros kept."""
    text = str(number)
    return format(number, "f") if "E" in text else text


def record_texts(record: Record) -> Texts:
    """Return the fields of a record as they are written, before quoting."""
    external_id, status, number, day, comment = record
    return external_id, status, None if number is None else decimal_text(number), day.isoformat(), comment


def encode_texts(rows: Sequence[Texts], kind: UpdateKind, body_format: BodyFormat, header: bool = True) -> bytes:
    """Write the records of one batch.

    CSV is UTF-8 without BOM, a comma between fields, a newline between rows and none at the end. The columns stand in
    the documents' order; Comment is left out whole where no record has one (older tenants have no such column). Line
    breaks in comments become a space each, so that no parser sees an empty row.

    JSON is an array in UTF-8, one object a line. A metric value is a JSON number with all its digits; what a record has
    not is left out, never null.

    :param rows: what :func:`record_texts` gave, one tuple a record.
    :param kind: the kind of updates; metric updates have no status.
    :param body_format: the format.
    :param header: whether a CSV's first row tells the labels, default True.
    """
    if body_format is BodyFormat.JSON:
        return _json_body(rows, KIND_FIELDS[kind])
    return _csv_body(rows, KIND_FIELDS[kind], header)


_FIELDS = tuple(UpdateField)
_COMMENT = _FIELDS.index(UpdateField.COMMENT)


def _csv_body(rows: Sequence[Texts], fields: Sequence[UpdateField], header: bool) -> bytes:
    if any(row[_COMMENT] is not None for row in rows):
        rows = [(*row[:_COMMENT], _LINE_BREAK.sub(" ", comment)) if (comment := row[_COMMENT]) else row for row in rows]
    else:
        fields = [field for field in fields if field is not UpdateField.COMMENT]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    if header:
        writer.writerow([CSV_LABELS[field] for field in fields])
    writer.writerows(map(itemgetter(*map(_FIELDS.index, fields)), rows))
    return stream.getvalue().removesuffix("\n").encode("utf-8")


def _json_body(rows: Sequence[Texts], fields: Sequence[UpdateField]) -> bytes:
    members = [
        (
            _FIELDS.index(field),
            f'"{JSON_NAMES[field]}": ',
            str if field is UpdateField.METRIC_VALUE else _json_text,
        )
        for field in fields
    ]
    lines = [
        "{" + ", ".join([name + write(text) for at, name, write in members if (text := row[at]) is not None]) + "}"
        for row in rows
    ]
    return ("[\n" + ",\n".join(lines) + "\n]" if lines else "[]").encode("utf-8")
