"""Names of batches: the same run gives the same names, and a person can find the run by them."""

from __future__ import annotations

import re
from hashlib import sha256 as _sha256

from airflow_provider_achieveit.api.contract import BodyFormat

MAX_FILENAME_CHARS = 180
_PART_CHARS = {"dag": 40, "task": 31, "run": 60}

# Airflow's own run ids, such as scheduled__2026-01-05T06:00:00+00:00, in the form they have in a filename.
_CLEAN_RUN_ID = re.compile(
    r"([a-z]+(?:_[a-z]+)*)-(\d{4}-\d\d-\d\dT\d\d)-(\d\d)-(\d\d)(?:-(\d{6}))?-00-00(_[A-Za-z0-9]+)?"
)


def batch_filename(
    *, dag_id: str, task_id: str, run_id: str, map_index: int, number: int, sha256: str, body_format: BodyFormat
) -> str:
    """Return the filename of a batch, such as ``kpis.push.scheduled-2026-01-05T06-00-00-00-00.b0001.1a2b3c4d.csv``.

    Only ASCII letters, digits, ``.``, ``_`` and ``-`` occur, so that it needs no escaping in a URL. Where the ids do
    not survive that, or are too long, a hash of them follows the run: different runs never share a name.

    :param dag_id: the DAG.
    :param task_id: the task, with its groups.
    :param run_id: the DAG run.
    :param map_index: the index of a mapped task; -1, and nothing in the name, where it is not mapped.
    :param number: the number of the batch, from 1.
    :param sha256: hexadecimal digest of the batch's bytes; its first eight digits are shown.
    :param body_format: the format, which becomes the extension.
    :return: at most :data:`MAX_FILENAME_CHARS` characters.
    """
    # A task in a group keeps its dot: the DAG's part then ends at the first one.
    dag = _clean(dag_id, r"[^A-Za-z0-9_-]+", _PART_CHARS["dag"])
    task = _clean(task_id, r"[^A-Za-z0-9_.-]+|\.{2,}", _PART_CHARS["task"])
    run = _clean(run_id, r"[^A-Za-z0-9_-]+|_{2,}", _PART_CHARS["run"])
    if (dag, task, _original_run_id(run)) != (dag_id, task_id, run_id):
        run = f"{run}-{_sha256(repr((dag_id, task_id, run_id)).encode()).hexdigest()[:8]}"
    mapped = f".m{map_index}" if map_index >= 0 else ""
    return f"{dag}.{task}.{run}{mapped}.b{number:04d}.{sha256[:8]}.{body_format.value}"


def _clean(text: str, unsafe: str, length: int) -> str:
    return re.sub(unsafe, "-", text).strip(".-")[:length].rstrip(".-") or "x"


def _original_run_id(clean: str) -> str:
    """Return the one run id for which a cleaned one stands without a hash."""
    match = _CLEAN_RUN_ID.fullmatch(clean)
    if match is None:
        return clean
    run_type, hour, minute, second, micro, suffix = match.groups(default="")
    return f"{run_type}__{hour}:{minute}:{second}{'.' if micro else ''}{micro}+00:00{suffix}"
