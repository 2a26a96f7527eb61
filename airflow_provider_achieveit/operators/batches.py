"""The batches of a task, named so that AchieveIt's own logs tell where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_achieveit.api.contract import BodyFormat
    from airflow_provider_achieveit.stores.records import SubmittedBatch
    from airflow_provider_achieveit.updates.spool import Prepared


def named_batches(
    prepared: Prepared, ti: Any, body_format: BodyFormat, *, artifact_path: str | None = None
) -> Iterator[tuple[SubmittedBatch, bytes]]:
    """Give each batch, planned, with its bytes; every call begins anew and gives the same.

    :param prepared: the checked rows.
    :param ti: the task instance.
    :param body_format: how the batches are written.
    :param artifact_path: directory on any object store in which the bytes are kept, default none.
    """
    from airflow_provider_achieveit.stores.records import SubmittedBatch
    from airflow_provider_achieveit.updates.filenames import batch_filename

    for batch in prepared.batches():
        filename = batch_filename(
            dag_id=ti.dag_id,
            task_id=ti.task_id,
            run_id=ti.run_id,
            map_index=-1 if ti.map_index is None else ti.map_index,
            number=batch.number,
            sha256=batch.sha256,
            body_format=body_format,
        )
        if artifact_path:
            _keep(artifact_path, filename, batch.body)
        yield SubmittedBatch(filename, batch.rows, batch.sha256), batch.body


def _keep(directory: str, filename: str, body: bytes) -> None:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    target = ObjectStoragePath(directory)
    target.mkdir(parents=True, exist_ok=True)
    (target / filename).write_bytes(body)
