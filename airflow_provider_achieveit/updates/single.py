"""One update on its own, as a batch: checked and written as those of a whole source."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from airflow_provider_achieveit.api.contract import BodyFormat, UpdateField, UpdateKind
from airflow_provider_achieveit.updates.record import Checker
from airflow_provider_achieveit.updates.sources.rows import read_rows
from airflow_provider_achieveit.updates.spool import Batch, prepare


def single_update(
    values: Mapping[UpdateField, Any],
    *,
    extra_statuses: Collection[str] = (),
    body_format: BodyFormat = BodyFormat.CSV,
) -> Batch:
    """Return one progress update as a batch.

    :param values: what the update says.
    :param extra_statuses: statuses of this tenant besides the seven that every tenant has.
    :param body_format: the format, default CSV.
    :raises ValueError: it cannot be sent as it is; every bad value is told.
    """
    row = {field.value: value for field, value in values.items()}
    checker = Checker(UpdateKind.PROGRESS, extra_statuses=extra_statuses)
    with prepare(read_rows([row]), checker, kind=UpdateKind.PROGRESS, body_format=body_format) as prepared:
        if wrong := [f"{bad.column} {bad.value!r}: {bad.reason}" for bad in prepared.rejects()]:
            raise ValueError("; ".join(wrong))
        [batch] = prepared.batches()
    return batch
