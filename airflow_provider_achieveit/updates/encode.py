"""How a batch is written: CSV (RFC 4180) or JSON (RFC 8259), as "Submitting Progress Updates" of AchieveIt tells.

Everything is deterministic: the same records give the same bytes, which the batch's fingerprint rests on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from json import JSONEncoder

from airflow_provider_achieveit.api.contract import (
    CSV_LABELS,
    JSON_NAMES,
    KIND_FIELDS,
    BodyFormat,
    UpdateField,
    UpdateKind,
)

# What str.splitlines takes for the end of a line: a simple parser on the other side may do the same.
_LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_json_text = JSONEncoder(ensure_ascii=False).encode


def decimal_text(number: Decimal) -> str:
    """Return a number in plain decimal form, without exponent, trailing zeros kept."""
    text = str(number)
    return format(number, "f") if "E" in text else text


def written(value: str | Decimal | date | None) -> str:
    """Return a field of a record as it is written, before quoting; empty for what the record has not."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return decimal_text(value) if isinstance(value, Decimal) else value.isoformat()


def encode_lines(columns: Sequence[Sequence[str]], kind: UpdateKind, body_format: BodyFormat) -> list[str]:
    """Write records, each as one line of a body; none of them holds a newline.

    A line of CSV has its fields in the documents' order, an empty one for what the record has not, and a space for each
    line break in a comment, so that no parser sees an empty row. A line of JSON is an object; a metric value is a JSON
    number with all its digits, and what a record has not is left out, never null.

    :param columns: the fields of all records, one column a field, as :func:`written` gives them.
    :param kind: the kind of updates; metric updates have no status.
    :param body_format: the format.
    """
    if body_format is BodyFormat.JSON:
        return [_json_line(row, KIND_FIELDS[kind]) for row in zip(*columns, strict=True)]
    ids, statuses, values, days, comments = columns
    # Ids, numbers and days never need quoting: the checks let no id through that would.
    distinct = list(set(statuses))
    quoted = dict(zip(distinct, _quoted(distinct), strict=True))
    fields = [
        ids,
        *([map(quoted.__getitem__, statuses)] if UpdateField.STATUS in KIND_FIELDS[kind] else []),
        values,
        days,
        _quoted(comments),
    ]
    return list(map(",".join, zip(*fields, strict=True)))


def encode_body(lines: bytes, rows: int, kind: UpdateKind, body_format: BodyFormat, header: bool = True) -> bytes:
    """Put the lines of one batch together.

    CSV is UTF-8 without BOM, a newline between rows and none at the end. The column Comment is left out whole where no
    record has one: older tenants have no such column. JSON is an array in UTF-8, one object a line.

    :param lines: what :func:`encode_lines` gave, as UTF-8, a newline after each.
    :param rows: how many lines that are.
    :param kind: the kind of updates.
    :param body_format: the format.
    :param header: whether a CSV's first row tells the labels, default True.
    """
    if body_format is BodyFormat.JSON:
        return b"[\n" + lines[:-1].replace(b"\n", b",\n") + b"\n]" if rows else b"[]"
    fields = KIND_FIELDS[kind]
    # Only a line without a comment ends with a comma: a comment with one is quoted.
    if lines.count(b",\n") == rows:
        lines = lines.replace(b",\n", b"\n")
        fields = tuple(field for field in fields if field is not UpdateField.COMMENT)
    labels = ",".join([CSV_LABELS[field] for field in fields]) + "\n" if header else ""
    return (labels.encode() + lines).removesuffix(b"\n")


def _quoted(texts: Sequence[str]) -> Sequence[str]:
    joined = " ".join(texts)
    if not joined.isprintable():
        texts = [text if text.isprintable() else _LINE_BREAK.sub(" ", text) for text in texts]
    if '"' in joined:
        texts = [text.replace('"', '""') if '"' in text else text for text in texts]
    if '"' in joined or "," in joined:
        return [f'"{text}"' if "," in text or '"' in text else text for text in texts]
    return texts


def _json_line(row: Sequence[str], fields: Sequence[UpdateField]) -> str:
    members = [
        f'"{JSON_NAMES[field]}": {text if field is UpdateField.METRIC_VALUE else _json_text(text)}'
        for field, text in zip(UpdateField, row, strict=True)
        if text and field in fields
    ]
    return f"{{{', '.join(members)}}}"
