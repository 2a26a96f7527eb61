"""Batches written from records, as the spool writes them from its lines."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_achieveit.api.contract import BodyFormat, UpdateKind
from airflow_provider_achieveit.updates.encode import encode_body, encode_lines, written
from airflow_provider_achieveit.updates.record import Record


def encode(
    records: Iterable[Record], kind: UpdateKind, body_format: BodyFormat = BodyFormat.CSV, header: bool = True
) -> bytes:
    columns = [list(map(written, column)) for column in zip(*records, strict=True)] or [[]] * len(Record._fields)
    lines = encode_lines(columns, kind, body_format)
    return encode_body("".join(f"{line}\n" for line in lines).encode(), len(lines), kind, body_format, header)


def encode_csv(records: Iterable[Record], kind: UpdateKind, header: bool = True) -> bytes:
    return encode(records, kind, BodyFormat.CSV, header)


def encode_json(records: Iterable[Record], kind: UpdateKind) -> bytes:
    return encode(records, kind, BodyFormat.JSON)
