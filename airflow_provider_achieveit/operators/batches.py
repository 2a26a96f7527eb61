"""The batches of a task: named so that AchieveIt's own logs tell where they come from, and packed for a trigger."""

from __future__ import annotations

import json
import zlib
from base64 import b85decode, b85encode
from collections.abc import Iterator, Sequence
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
    from airflow_provider_achieveit.operators.places import object_path

    target = object_path(directory)
    target.mkdir(parents=True, exist_ok=True)
    (target / filename).write_bytes(body)


def pack(batches: Sequence[SubmittedBatch]) -> str:
    """Return batches as one short text.

    Airflow keeps a trigger's arguments, encrypted, in a column that takes 64 kB on MySQL and MariaDB.

    :param batches: the batches.
    """
    told = json.dumps([batch.to_json() for batch in batches], separators=(",", ":"))
    return b85encode(zlib.compress(told.encode(), 9)).decode()


def unpack(packed: str | Sequence[dict[str, Any]]) -> list[SubmittedBatch]:
    """Return the batches that :func:`pack` was given; the first release put them into triggers as they are."""
    from airflow_provider_achieveit.stores.records import SubmittedBatch

    told = json.loads(zlib.decompress(b85decode(packed))) if isinstance(packed, str) else packed
    return [SubmittedBatch.from_json(batch) for batch in told]
