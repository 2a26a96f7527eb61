"""What is sent: golden bytes of the API's documents, and round trips of whatever may come."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_achieveit.api.contract import (
    CONTENT_TYPES,
    JSON_NAMES,
    KIND_FIELDS,
    STATUSES,
    BodyFormat,
    UpdateField,
    UpdateKind,
)
from airflow_provider_achieveit.simulator.validation import Rules, read_batch
from airflow_provider_achieveit.updates.encode import decimal_text
from airflow_provider_achieveit.updates.record import Checker, Record
from tests.updates.encoding import encode, encode_csv, encode_json

PROGRESS, METRIC = UpdateKind.PROGRESS, UpdateKind.METRIC

# The example of the document "Submitting Progress Updates".
FIRST = Record(
    "ce0eced5-b1b9-4504-8ba9-87a476bb0f87", "On Track", Decimal("0.54"), date(2025, 7, 3), "comment text goes here"
)
SECOND = Record("28e4c9a0-3840-4457-ade8-91e322eb84ea", "Achieved", Decimal("0.90"), date(2025, 8, 15), None)


def test_csv_of_the_documents() -> None:
    assert encode_csv([FIRST, SECOND], PROGRESS) == (
        b"External ID,Status,Metric Value,As Of Date,Comment\n"
        b"ce0eced5-b1b9-4504-8ba9-87a476bb0f87,On Track,0.54,2025-07-03,comment text goes here\n"
        b"28e4c9a0-3840-4457-ade8-91e322eb84ea,Achieved,0.90,2025-08-15,"
    )


def test_json_of_the_documents() -> None:
    assert encode_json([FIRST, SECOND], PROGRESS) == (
        b"[\n"
        b'{"externalId": "ce0eced5-b1b9-4504-8ba9-87a476bb0f87", "status": "On Track", "metricValue": 0.54, '
        b'"asOfDate": "2025-07-03", "comment": "comment text goes here"},\n'
        b'{"externalId": "28e4c9a0-3840-4457-ade8-91e322eb84ea", "status": "Achieved", "metricValue": 0.90, '
        b'"asOfDate": "2025-08-15"}\n'
        b"]"
    )


def test_metric_updates() -> None:
    assert encode_csv([FIRST, SECOND], METRIC, header=False) == (
        b"ce0eced5-b1b9-4504-8ba9-87a476bb0f87,0.54,2025-07-03,comment text goes here\n"
        b"28e4c9a0-3840-4457-ade8-91e322eb84ea,0.90,2025-08-15,"
    )
    assert b"status" not in encode_json([FIRST], METRIC)


def test_older_tenants_see_no_comment_column() -> None:
    assert encode_csv([SECOND], PROGRESS) == (
        b"External ID,Status,Metric Value,As Of Date\n28e4c9a0-3840-4457-ade8-91e322eb84ea,Achieved,0.90,2025-08-15"
    )
    assert encode_csv([SECOND._replace(metric_value=None)], PROGRESS, header=False) == (
        b"28e4c9a0-3840-4457-ade8-91e322eb84ea,Achieved,,2025-08-15"
    )


def test_null_is_never_written_in_json() -> None:
    body = encode_json([SECOND._replace(metric_value=None)], PROGRESS)
    assert json.loads(body) == [
        {"externalId": SECOND.external_id, "status": "Achieved", "asOfDate": "2025-08-15"},
    ]


def test_awkward_texts() -> None:
    record = FIRST._replace(external_id="Größe 🚀 5;'", comment='say "hi",\r\nthen\n\nleave\u2028x\x85')
    assert encode_csv([record], PROGRESS, header=False).decode() == (
        'Größe 🚀 5;\',On Track,0.54,2025-07-03,"say ""hi"", then  leave x "'
    )
    body = encode_json([record], PROGRESS)
    assert "🚀".encode() in body
    assert json.loads(body)[0]["comment"] == record.comment


@pytest.mark.parametrize(
    "text", ["0.123456789012345678", "123456789012345678", "9007199254740993", "-0.10", "0", "1.0"]
)
def test_numbers_are_exact(text: str) -> None:
    record = SECOND._replace(metric_value=Decimal(text))
    assert f"Achieved,{text},2025".encode() in encode_csv([record], PROGRESS)
    assert f'"metricValue": {text}, '.encode() in encode_json([record], PROGRESS)


def test_of_nothing() -> None:
    assert encode_csv([], METRIC, header=False) == b""
    assert encode_json([], METRIC) == b"[]"


def _sendable(text: str) -> bool:
    return bool(text.strip()) and "external" not in text.lower()


IDS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters=',"'), min_size=1)
RECORDS = st.builds(
    Record,
    external_id=IDS.filter(_sendable),
    status=st.sampled_from(STATUSES),
    metric_value=st.none() | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30),
    as_of_date=st.dates(),
    comment=st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(str.strip),
)
KINDS = st.sampled_from(list(UpdateKind))


def _texts(record: Record, kind: UpdateKind) -> dict[UpdateField, str | None]:
    texts = (
        record.external_id,
        record.status,
        None if record.metric_value is None else format(record.metric_value, "f"),
        record.as_of_date.isoformat(),
        record.comment,
    )
    return {field: text for field, text in zip(UpdateField, texts, strict=True) if field in KIND_FIELDS[kind]}


@given(st.lists(RECORDS, min_size=1), KINDS, st.booleans())
def test_csv_round_trip(records: list[Record], kind: UpdateKind, header: bool) -> None:
    body = encode_csv(records, kind, header).decode("utf-8")
    assert body.count("\n") == body.count("\r\n") + len(records) - 1 + header  # no line break but between rows
    assert len(body.splitlines()) == len(records) + header
    rows = list(csv.reader(io.StringIO(body, newline="")))[header:]
    commented = any(record.comment is not None for record in records)
    expected = []
    for record in records:
        texts = _texts(record, kind)
        comment = texts.pop(UpdateField.COMMENT)
        folded = [" ".join(re.split("\r\n|[" + "".join(_breaks()) + "]", comment or ""))] if commented else []
        expected.append([text or "" for text in texts.values()] + folded)
    assert rows == expected


def _breaks() -> list[str]:
    return [char for char in map(chr, range(0x3000)) if len(f"a{char}b".splitlines()) > 1]


@given(st.lists(RECORDS), KINDS)
def test_json_round_trip(records: list[Record], kind: UpdateKind) -> None:
    body = encode_json(records, kind)
    expected = [
        {JSON_NAMES[field]: text for field, text in _texts(record, kind).items() if text is not None}
        for record in records
    ]

    def exact(text: str) -> str:
        return text

    assert json.loads(body, parse_float=exact, parse_int=exact) == expected
    assert b"null" not in re.sub(rb'"(?:[^"\\]|\\.)*"', b"", body)
    assert b"\n\n" not in body


@given(RECORDS, KINDS)
def test_what_is_sendable_passes_the_checks_unchanged(record: Record, kind: UpdateKind) -> None:
    if record.metric_value is not None and not record.metric_value:
        record = record._replace(metric_value=record.metric_value.copy_abs())
    row: dict[str, Any] = dict(zip(UpdateField, record, strict=True))
    checked = Checker(kind).check(1, row)
    if kind is METRIC and record.metric_value is None:
        assert isinstance(checked, list)
        assert [reject.column for reject in checked] == ["metric_value"]
    else:
        assert checked == (record if kind is PROGRESS else record._replace(status=None))


@given(
    st.lists(RECORDS, min_size=1, unique_by=lambda record: record.external_id),
    KINDS,
    st.sampled_from(BodyFormat),
    st.booleans(),
)
def test_a_strict_server_reads_what_was_meant(
    records: list[Record], kind: UpdateKind, body_format: BodyFormat, header: bool
) -> None:
    if kind is METRIC:
        records = [
            record._replace(
                status=None, metric_value=Decimal(0) if record.metric_value is None else record.metric_value
            )
            for record in records
        ]
    has_metric = {record.external_id: record.metric_value is not None for record in records}
    rules = Rules({status.casefold(): status for status in STATUSES}, has_metric)
    content_type = CONTENT_TYPES[body_format]
    updates = read_batch(kind, f"x.{body_format}", content_type, encode(records, kind, body_format, header), rules)
    if body_format is BodyFormat.CSV:
        records = [
            record._replace(comment=re.sub("\r\n|[" + "".join(_breaks()) + "]", " ", record.comment))
            if record.comment
            else record
            for record in records
        ]
    assert [(u.external_id, u.status, u.metric_value, u.as_of_date, u.comment) for u in updates] == records


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40))
def test_decimal_text_is_plain_and_exact(number: Decimal) -> None:
    text = decimal_text(number)
    assert re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text)
    assert Decimal(text) == number
