"""In what tenants differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from airflow_provider_achieveit.api.contract import SORT_KEYS, STATUSES

JobIdForm = Literal["text", "json_string", "jobId", "id", "jobID", "job_id", "none"]
StatusBody = Literal["text", "json", "empty"]
OverMaximum = Literal["refuse", "cut", "allow"]
UnknownSortKey = Literal["refuse", "ignore"]


@dataclass(slots=True)
class Settings:
    """What differs between tenants, or is not documented.

    :param job_seconds: how long a job is processed (default 0).
    :param job_id_form: how the answer to a submit holds the job id (default ``json_string``).
    :param status_body: what the answers about a job hold besides their code (default ``text``).
    :param refused_key_status: answer to a missing, malformed or unknown key, 401 or 403 (default 401).
    :param unknown_plan_status: answer for a plan that does not exist, 403 or 404 (default 403).
    :param take_over_maximum: what becomes of a page larger than the documented maximum: an error, a page of the
        maximum, or all that was asked for (default ``refuse``).
    :param unknown_sort_key: what becomes of one: an error, or the plan's own order (default ``refuse``).
    :param unknown_sort_keys: documented sort keys that this tenant does not know (default none).
    :param export_addresses: which of the two export addresses the tenant has (default both: ``new``, ``legacy``).
    :param older_batches: fixed column order, no Comment column, no JSON (default no).
    :param statuses: the tenant's statuses (default: the documented ones).
    """

    job_seconds: float = 0.0
    job_id_form: JobIdForm = "json_string"
    status_body: StatusBody = "text"
    refused_key_status: int = 401
    unknown_plan_status: int = 403
    take_over_maximum: OverMaximum = "refuse"
    unknown_sort_key: UnknownSortKey = "refuse"
    unknown_sort_keys: tuple[str, ...] = ()
    export_addresses: tuple[str, ...] = ("new", "legacy")
    older_batches: bool = False
    statuses: tuple[str, ...] = STATUSES


_CHOICES: dict[str, tuple[Any, ...]] = {
    "job_id_form": get_args(JobIdForm),
    "status_body": get_args(StatusBody),
    "refused_key_status": (401, 403),
    "unknown_plan_status": (403, 404),
    "take_over_maximum": get_args(OverMaximum),
    "unknown_sort_key": get_args(UnknownSortKey),
}


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
    merged.unknown_sort_keys = tuple(merged.unknown_sort_keys)
    for name, known_values in _CHOICES.items():
        if getattr(merged, name) not in known_values:
            raise ValueError(f"{name} must be one of {', '.join(map(str, known_values))}")
    if not set(merged.unknown_sort_keys) <= SORT_KEYS:
        raise ValueError("unknown_sort_keys may hold documented sort keys only")
    if not set(merged.export_addresses) <= {"new", "legacy"}:
        raise ValueError("export_addresses may hold 'new' and 'legacy' only")
    return merged
