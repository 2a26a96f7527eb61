"""In what tenants differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from airflow_provider_achieveit.api.contract import STATUSES

JobIdForm = Literal["text", "json_string", "jobId", "id", "jobID", "job_id", "none"]


@dataclass(slots=True)
class Settings:
    """What differs between tenants, or is not documented.

    :param job_seconds: how long a job is processed (default 0).
    :param job_id_form: how the answer to a submit holds the job id (default ``json_string``).
    :param unknown_plan_status: answer for a plan that does not exist, 403 or 404 (default 403).
    :param export_addresses: which of the two export addresses the tenant has (default both: ``new``, ``legacy``).
    :param older_batches: fixed column order, no Comment column, no JSON (default no).
    :param statuses: the tenant's statuses (default: the documented ones).
    """

    job_seconds: float = 0.0
    job_id_form: JobIdForm = "json_string"
    unknown_plan_status: int = 403
    export_addresses: tuple[str, ...] = ("new", "legacy")
    older_batches: bool = False
    statuses: tuple[str, ...] = STATUSES


def settings_from_json(data: Mapping[str, Any], base: Settings | None = None) -> Settings:
    """Return settings from JSON values.

    :param data: any of the fields of :class:`Settings`.
    :param base: where the others come from (default: the defaults).
    :raises ValueError: a name or a value that does not exist.
    """
    known = {entry.name for entry in fields(Settings)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]!r}; known are {', '.join(sorted(known))}")
    statuses = data.get("statuses", STATUSES)
    if isinstance(statuses, str) or not statuses or not all(isinstance(status, str) for status in statuses):
        raise ValueError("statuses must be a list of texts")
    merged = Settings(**{**asdict(base or Settings()), **data})
    if not isinstance(merged.job_seconds, int | float) or not 0 <= merged.job_seconds < float("inf"):
        raise ValueError("job_seconds must be a number of seconds, 0 or more")
    merged.export_addresses, merged.statuses = tuple(merged.export_addresses), tuple(merged.statuses)
    if merged.job_id_form not in get_args(JobIdForm):
        raise ValueError(f"job_id_form must be one of {', '.join(get_args(JobIdForm))}")
    if merged.unknown_plan_status not in (403, 404):
        raise ValueError("unknown_plan_status must be 403 or 404")
    if not set(merged.export_addresses) <= {"new", "legacy"}:
        raise ValueError("export_addresses may hold 'new' and 'legacy' only")
    return merged
