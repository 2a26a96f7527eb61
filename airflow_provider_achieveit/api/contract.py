"""The AchieveIt REST API as its public documents tell it.

The only module that knows paths, status codes, headers, limits and field names. It makes requests and reads answers
and never does I/O; :mod:`.client` and :mod:`.aio` carry them. The documents: "AchieveIt API Basics", "Submitting
Progress Updates", "Submitting Metric Updates" and "Exporting Plan Items" of the AchieveIt help centre. Where documents
of different years differ, everything that any of them allows is understood, and the newest form is sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind
from airflow_provider_achieveit.api.http import ApiRequest, ApiResponse, retry_after_seconds

# --- Access -----------------------------------------------------------------------------------------------------------

BASE_URLS = {"commercial": "https://api.achieveit.com", "government": "https://gov-api.achieveit.com"}
"""Base URL by the environment of the tenant."""
AUTHORIZATION = "Authorization"


def authorization(api_key: str) -> str:
    """Return the value of the authorization header; the scheme word is ``API-KEY``."""
    return f"API-KEY {api_key}"


# --- Submitting updates -----------------------------------------------------------------------------------------------


class UpdateKind(StrEnum):
    """The two kinds of updates; they share one protocol."""

    PROGRESS = "progress"
    METRIC = "metric"


_ENDPOINTS = {UpdateKind.PROGRESS: "/api/progressupdates", UpdateKind.METRIC: "/api/metricupdates"}


class UpdateField(StrEnum):
    """What an update says; the values are our names, used in the operators' ``columns``."""

    EXTERNAL_ID = "external_id"
    STATUS = "status"
    METRIC_VALUE = "metric_value"
    AS_OF_DATE = "as_of_date"
    COMMENT = "comment"


CSV_LABELS = {
    UpdateField.EXTERNAL_ID: "External ID",
    UpdateField.STATUS: "Status",
    UpdateField.METRIC_VALUE: "Metric Value",
    UpdateField.AS_OF_DATE: "As Of Date",
    UpdateField.COMMENT: "Comment",
}
"""Header labels of the newest documents, in the one order that every tenant accepts."""

JSON_NAMES = {
    UpdateField.EXTERNAL_ID: "externalId",
    UpdateField.STATUS: "status",
    UpdateField.METRIC_VALUE: "metricValue",
    UpdateField.AS_OF_DATE: "asOfDate",
    UpdateField.COMMENT: "comment",
}

KIND_FIELDS: dict[UpdateKind, tuple[UpdateField, ...]] = {
    UpdateKind.PROGRESS: tuple(UpdateField),
    UpdateKind.METRIC: tuple(field for field in UpdateField if field is not UpdateField.STATUS),
}
"""The fields of each kind, in the order of the documents."""

REQUIRED_FIELDS: dict[UpdateKind, frozenset[UpdateField]] = {
    UpdateKind.PROGRESS: frozenset({UpdateField.EXTERNAL_ID, UpdateField.STATUS, UpdateField.AS_OF_DATE}),
    UpdateKind.METRIC: frozenset({UpdateField.EXTERNAL_ID, UpdateField.METRIC_VALUE, UpdateField.AS_OF_DATE}),
}

STATUSES = ("On Track", "Off Track", "At Risk", "Achieved", "Not Achieved", "Canceled", "Not Started")
"""Statuses that every tenant has; a tenant may define more. Case does not matter to the server, spelling does."""

EXTERNAL_ID_FORBIDDEN_CHARACTERS = ',"'
EXTERNAL_ID_FORBIDDEN_WORD = "external"
"""The server seems to find the header row by this word."""


class BodyFormat(StrEnum):
    """How a batch is written; the value is also the extension of its filename."""

    CSV = "csv"
    JSON = "json"


CONTENT_TYPES = {
    BodyFormat.CSV: "text/csv; charset=utf-8",
    BodyFormat.JSON: "application/json; charset=utf-8",
}


def submit_request(kind: UpdateKind, filename: str, body: bytes) -> ApiRequest:
    """Return the POST that queues one batch; the body format is told by the filename's extension."""
    body_format = BodyFormat(filename.rpartition(".")[2].lower())
    return ApiRequest(
        method="POST",
        path=f"{_ENDPOINTS[kind]}/{quote(filename, safe='')}",
        headers={"Content-Type": CONTENT_TYPES[body_format]},
        body=body,
    )


def is_taken(response: ApiResponse) -> bool:
    """Tell whether an answer to a submit says that the batch was taken.

    The documents say 200. Another 2xx certainly says nothing else, and taking it for a refusal would send twice.
    """
    return 200 <= response.status < 300


JOB_ID_KEYS = ("jobid", "id", "job", "uniqueidentifier")


def read_job_id(response: ApiResponse) -> str:
    """Return the job id of the answer to a submit that was taken.

    The documents promise an id but not the form of the body: plain text, a JSON string and a JSON object that holds
    the id (``jobId``, ``id``, ``jobID``, ``job_id``; a number counts too) are understood. A text that is no member of
    an object must have a digit or a dash in it: "OK" and "queued" are no ids.

    :raises ApiError: no job id can be read (unsure: the batch is queued, but nobody can ask about it).
    """
    text = response.body.decode("utf-8-sig", "replace").strip()
    job_id = _job_id_in(text)
    if job_id is None:
        raise ApiError(
            Failure(
                FailureKind.UNSURE,
                f"AchieveIt answered {response.status} (queued) but no job id could be read from its answer: "
                f"{response.quote()!r}. "
                "The batch is probably being applied; look at the plan's history before sending it again.",
                status=response.status,
            )
        )
    return job_id


def _job_id_in(text: str) -> str | None:
    try:
        value = json.loads(text)
    except ValueError:
        # Plain text. Markup and sentences are not ids, nor is a JSON string that breaks off.
        value = text
    labelled = isinstance(value, Mapping)
    if isinstance(value, Mapping):
        by_key = {str(key).lower().replace("_", ""): entry for key, entry in value.items()}
        value = next((by_key[key] for key in JOB_ID_KEYS if by_key.get(key)), None)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    candidate = value.strip()
    printable = candidate.isprintable() and not any(char.isspace() or char in '<>{}[]"' for char in candidate)
    plausible = labelled or any(char.isdigit() or char in "-_" for char in candidate)
    return candidate if candidate and printable and plausible and len(candidate) <= 200 else None


def submit_failure(response: ApiResponse, filename: str) -> Failure:
    """Say what an answer to a submit means that was not taken.

    500 ("failed to be queued"), 429 and 503 say that the batch was not taken; other 5xx come from something in front of
    AchieveIt and leave it open, so they are *unsure*.
    """
    what = f"POST of batch {filename}"
    if response.status in (502, 504) or response.status > 504:
        return Failure(
            FailureKind.UNSURE,
            f"{what}: {response.told()} came from between us and AchieveIt; the batch may or may not be queued",
            status=response.status,
        )
    return failure(response, what)


# --- Jobs -------------------------------------------------------------------------------------------------------------


class JobState(StrEnum):
    """What one answer of the status address says about a job."""

    PENDING = "pending"
    APPLIED = "applied"
    REFUSED = "refused"
    FAILED = "failed"
    """500: a job state, but also a passing fault of a web server in front; it counts only when repeated."""
    MISSING = "missing"
    """404: straight after the submit it may be early."""


_JOB_STATES = {
    202: JobState.PENDING,
    200: JobState.APPLIED,
    400: JobState.REFUSED,
    500: JobState.FAILED,
    404: JobState.MISSING,
}


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One answer of the status address.

    :param state: what the code says.
    :param reason: the body, trimmed; the documents promise none, so it may be empty.
    """

    state: JobState
    reason: str = ""


def job_status_request(kind: UpdateKind, job_id: str) -> ApiRequest:
    """Return the GET that asks for a job's state."""
    return ApiRequest("GET", f"{_ENDPOINTS[kind]}/status/{quote(job_id, safe='')}")


def read_job_status(response: ApiResponse, job_id: str) -> JobStatus:
    """Read a job's state from the code of an answer.

    :raises ApiError: the code says nothing about the job (429 and other 5xx: retryable; 401, 403 and the rest: not).
    """
    state = _JOB_STATES.get(response.status)
    if state is None:
        raise ApiError(failure(response, f"status of job {job_id}", job_id=job_id))
    return JobStatus(state, response.quote())


# --- Exporting plan items ---------------------------------------------------------------------------------------------

MAX_TAKE = 1500
"""Items in one page at most."""

SORT_KEYS = frozenset(
    "name sequenceId level status start due currentValue lastUpdated assignedToFullName updates alignsTo "
    "assignedByFullName assignedToEmailAddress baseline target created dependentOn description indentedName "
    "lastProgressUpdateUser updateFrequencyDescription planName".split()
)
"""There is no sort by id."""


class FieldType(StrEnum):
    """What a field of a plan item holds."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    MOMENT = "moment"
    DECIMAL = "decimal"


def _fields(**names: str) -> dict[str, FieldType]:
    return {name: FieldType(kind) for kind, listed in names.items() for name in listed.split()}


ITEM_FIELDS: dict[str, FieldType] = _fields(
    text=(
        "id sourceId sequenceId planId planName sourcePlanId sourcePlanName alignsTo alignsToId dependentOn "
        "dependentOnId levelId level name indentedName description statusName lastCommentId lastComment "
        "lastUpdateCommentId lastUpdateComment assignedToId assignedToFullName assignedById assignedByFullName "
        "updateFrequency updateFrequencyDescription"
    ),
    integer="rowNumber status units detail lateUpdates pendingUpdates updates files",
    boolean="hasMetric hasAdvancedMetric isPastDue isOrphan",
    moment="start due created lastUpdated",
    decimal="baseline target currentValue",
)
"""The single-valued fields of a plan item. Moments and decimals come as text, decimals may be empty text."""

CHILD_FIELDS: dict[str, dict[str, FieldType]] = {
    "members": _fields(text="id name type"),
    "admins": _fields(text="id name type"),
    "tags": _fields(text="id organizationId name"),
    "advancedMetricGoals": _fields(text="goalId goalName goalColor", decimal="metricBucketValue", integer="sortOrder"),
    "checklists": _fields(text="id name", integer="sortIndex"),
}
"""The fields of a plan item that hold lists, and the fields of their entries."""

CHECKLIST_ITEMS = "items"
"""The list inside a checklist."""
CHECKLIST_ITEM_FIELDS: dict[str, FieldType] = _fields(text="id name", integer="sortIndex", moment="doneOn")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a plan's items.

    :param items: the items as they came; numbers with a point are exact decimals.
    :param total_count: how many items the plan has, by the server's count at that moment.
    """

    items: list[dict[str, Any]]
    total_count: int


def plan_page_request(
    plan_id: str, *, skip: int, take: int, sort_key: str, descending: bool = False, legacy: bool = False
) -> ApiRequest:
    """Return the GET for one page of a plan's items.

    :param descending: turn the order round.
    :param legacy: use the address of older tenants, ``/plans/<id>/items``.
    """
    plan = quote(plan_id, safe="")
    return ApiRequest(
        "GET",
        f"/plans/{plan}/items" if legacy else f"/exports/plans/{plan}",
        params={
            "skip": str(skip),
            "take": str(take),
            "sortKey": sort_key,
            "sortDirection": "desc" if descending else "asc",
        },
    )


def read_page(response: ApiResponse, plan_id: str) -> Page:
    """Read a page of plan items.

    :raises ApiError: another code than 200, or a body that is no page (a truncated one is worth repeating).
    """
    what = f"export of plan {plan_id}"
    if response.status == 403:
        raise ApiError(
            Failure(
                FailureKind.FORBIDDEN,
                f"HTTP 403: this key's user may not see plan {plan_id}. Give the user view access to the plan in "
                f"AchieveIt, or check the plan id (Options menu of the plan's root item, 'Copy Plan ID').",
                status=403,
            )
        )
    if response.status == 404:
        raise ApiError(
            Failure(
                FailureKind.REQUEST,
                f"{response.told()}: there is no plan {plan_id}. Check the plan id (Options menu of the plan's root "
                "item, 'Copy Plan ID'), and that the connection's host is AchieveIt's API",
                status=404,
            )
        )
    if response.status != 200:
        raise ApiError(failure(response, what))
    try:
        body = _decoded(response.body.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise ApiError(_unreadable(response, what, f"{type(error).__name__}: {error}")) from None
    if not isinstance(body, dict):
        raise ApiError(_unreadable(response, what, "not a JSON object"))
    items, total = body.get("items"), body.get("totalCount")
    if not isinstance(items, list) or not isinstance(total, int) or not all(isinstance(item, dict) for item in items):
        raise ApiError(_unreadable(response, what, "no 'items' list with a 'totalCount'"))
    return Page(items, total)


def _decoded(body: bytes) -> Any:
    r"""Read JSON with exact decimals.

    One half of a UTF-16 pair (``"\ud83d"``: a text that was cut within an emoji) is JSON, but msgspec refuses it.
    """
    import msgspec

    try:
        return msgspec.json.Decoder(float_hook=Decimal).decode(body)
    except ValueError as refusal:
        try:
            return json.loads(body, parse_float=Decimal, parse_constant=_refuse)
        except ValueError:
            raise refusal from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _unreadable(response: ApiResponse, what: str, reason: str) -> Failure:
    message = f"{what}: the answer cannot be read, {reason}: {response.told()}"
    return Failure(FailureKind.UNAVAILABLE, message, status=response.status, retryable=True)


# --- Any answer -------------------------------------------------------------------------------------------------------


def asks_to_wait(response: ApiResponse) -> bool:
    """Tell whether an answer asks for fewer requests: 429, or 503 with a Retry-After."""
    return response.status == 429 or (response.status == 503 and response.header("retry-after") is not None)


def is_refused(response: ApiResponse) -> bool:
    """Tell whether an answer says that the request is wrong or not allowed, and would be refused again."""
    return 400 <= response.status < 500 and not asks_to_wait(response)


def failure(response: ApiResponse, what: str, *, job_id: str | None = None) -> Failure:
    """Say what an answer means that is no success.

    :param response: the answer.
    :param what: what was asked, for the message.
    :param job_id: the job concerned, if one is.
    """
    status, retryable, retry_after = response.status, False, None
    if status == 401:
        kind, told = FailureKind.AUTH, "the API key was not accepted; check the password of the connection"
    elif status == 403:
        kind = FailureKind.FORBIDDEN
        told = "this key's user may not do that; give the user the right in AchieveIt, or take another user's key"
    elif status == 429 or status >= 500:
        kind, told, retryable = FailureKind.UNAVAILABLE, "AchieveIt is not available just now; try again later", True
        if status == 429:
            told = "too many requests; let fewer tasks run at once (a pool), or set max_requests_per_minute"
        retry_after = retry_after_seconds(response.header("retry-after"))
    elif 300 <= status < 400:
        kind = FailureKind.REQUEST
        told = (
            f"a redirect to {response.header('location')!r} that must not be followed; if AchieveIt has moved, set the "
            "connection's host to the new base URL"
        )
    else:
        kind, told = FailureKind.REQUEST, "the request was not understood; mend what the answer says, or the host"
    message = f"{what}: {response.told()}; {told}"
    return Failure(kind, message, status, retryable, retry_after, job_id)
