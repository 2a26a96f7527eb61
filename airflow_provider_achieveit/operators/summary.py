"""The result of a submit task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.stores.records import SubmittedBatch

BATCHES_TOLD = 20
"""Batches that a task's result lists; the others are only counted, so that the XCom stays under 8 kB."""


def summarize(
    kind: UpdateKind, counts: Mapping[str, int], batches: Sequence[SubmittedBatch], *, only_planned: bool = False
) -> dict[str, Any]:
    """Return a task's result: small at any number of rows, and ``rows_read`` is the sum of its buckets.

    :param kind: progress or metric updates.
    :param counts: ``rows_read`` and ``rows_rejected``.
    :param batches: all batches; the first :data:`BATCHES_TOLD` are listed.
    :param only_planned: nothing was sent (a dry run): the rows are told as ``rows_planned``.
    """
    unchanged = sum(batch.rows for batch in batches if batch.unchanged)
    rows = sum(batch.rows for batch in batches) - unchanged
    return {
        "kind": kind.value,
        "rows_read": counts["rows_read"],
        "rows_submitted": 0 if only_planned else rows,
        "rows_rejected": counts["rows_rejected"],
        "rows_unchanged": unchanged,
        **({"rows_planned": rows} if only_planned else {}),
        "batch_count": len(batches),
        "batches": [
            {
                "filename": batch.filename,
                "job_id": batch.job_id,
                "rows": batch.rows,
                "sha256": batch.sha256,
                "state": batch.state.value,
            }
            for batch in batches[:BATCHES_TOLD]
        ],
    }
