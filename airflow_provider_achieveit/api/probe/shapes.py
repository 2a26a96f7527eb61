"""What an answer looked like, without what it said.

A report is attached to a public issue, so it goes by lists of what may be told: numbers, kinds of values, and names
that are known or look like names of fields. Any other text is told by its form and length only. Pure functions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_achieveit.api.contract import (
    CHECKLIST_ITEM_FIELDS,
    CHILD_FIELDS,
    ITEM_FIELDS,
    JOB_ID_KEYS,
    JSON_NAMES,
)
from airflow_provider_achieveit.api.http import ApiResponse

WITHHELD = "(name withheld)"
_MOST_NAMES = 30

# A field of a JSON API; what begins with a capital letter, or holds more digits, may as well be a person or an id.
_FIELD_NAME = re.compile(r"[a-z][A-Za-z_]{1,39}[0-9]{0,2}", re.ASCII)
_ERROR_NAMES = frozenset(
    "code description detail error errors exceptionmessage exceptiontype innerexception instance message messagedetail "
    "modelstate stacktrace status statuscode succeeded success title traceid type".split()
)
"""Of errors as RFC 9457 and ASP.NET write them, in lower case."""
_KNOWN_NAMES = frozenset(
    name.lower()
    for name in (
        *ITEM_FIELDS,
        *CHILD_FIELDS,
        *CHECKLIST_ITEM_FIELDS,
        *(field for fields in CHILD_FIELDS.values() for field in fields),
        *JSON_NAMES.values(),
        *JOB_ID_KEYS,
        *_ERROR_NAMES,
    )
)

_HEADERS = frozenset(
    "age allow api-supported-versions cache-control cf-ray connection content-encoding content-language content- "
    "length content-type date etag expires keep-alive last-modified location pragma ratelimit ratelimit-limit "
    "ratelimit-policy ratelimit-remaining ratelimit-reset request-context retry-after server set-cookie strict- "
    "transport-security transfer-encoding vary via www-authenticate x-amz-cf-id x-amzn-requestid x-azure-ref "
    "x-cache x-content-type-options x-correlation-id x-frame-options x-powered-by x-rate-limit-limit x-rate- "
    "limit-remaining x-rate-limit-reset x-ratelimit-limit x-ratelimit-remaining x-ratelimit-reset x-request-id".split()
)
"""Names of headers that are told. Other names are counted: that of a company's proxy may hold the company's."""
_RATE_HEADER = re.compile("rate-?limit")
_MEDIA_TYPES = frozenset(
    "application/json application/octet-stream application/problem+json application/xml text/csv text/html text/plain "
    "text/xml".split()
)
_CHARSETS = frozenset("iso-8859-1 us-ascii utf-16 utf-8 windows-1252".split())
_SERVERS = (
    "akamaighost amazons3 apache awselb bigip cloudflare cloudfront envoy gunicorn istio-envoy kestrel microsoft- "
    "httpapi microsoft-iis nginx openresty squid uvicorn varnish".split()
)

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_HEX = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Names:
    """Decides which names of an answer's fields are told.

    :param secrets: texts that no name may hold, in any case: the key, the host, ids.
    """

    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    def told(self, name: str) -> str:
        """Return a name, or :data:`WITHHELD` in its place."""
        lower = name.lower()
        if lower in _KNOWN_NAMES and name.isascii():
            return name
        if not _FIELD_NAME.fullmatch(name) or any(secret.lower() in lower for secret in self.secrets if secret):
            return WITHHELD
        return name


def form_of(text: str) -> str:
    """Return the form of a text: ``UUID``, ``32 hex digits``, ``7 digits``, ``text of 12 characters``."""
    if id_form(text) == "digits":
        return f"{len(text)} digits"
    return f"text of {len(text)} characters" if id_form(text) == "text" else id_form(text)


def id_form(text: str) -> str:
    """Return the form of an id without its length: UUID, 32 hex digits, digits, empty text, or text."""
    if not text:
        return "empty text"
    if _UUID.fullmatch(text):
        return "UUID"
    if _HEX.fullmatch(text):
        return "32 hex digits"
    return "digits" if text.isascii() and text.isdigit() else "text"


def body_shape(body: bytes, names: Names) -> str:
    """Return what kind of body this is, such as ``JSON object {jobId: UUID}`` or ``HTML``."""
    try:
        text = body.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return f"{len(body)} bytes that are no UTF-8"
    if not text:
        return "empty"
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        start = text[:1000].lower()
        if start.startswith("<"):
            return "HTML" if "<html" in start or "<!doctype html" in start else "markup"
        return f"plain {form_of(text)}" if id_form(text) == "text" else f"plain text: {form_of(text)}"
    if not isinstance(value, dict):
        return f"JSON text: {_kind(value)}" if isinstance(value, str) else f"JSON {_kind(value)}"
    told = [f"{names.told(name)}: {_kind(entry)}" for name, entry in list(value.items())[:_MOST_NAMES]]
    if len(value) > _MOST_NAMES:
        told.append(f"and {len(value) - _MOST_NAMES} more")
    return f"JSON object {{{', '.join(told)}}}"


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return form_of(value)
    if isinstance(value, list):
        return f"list of {len(value)}"
    if isinstance(value, dict):
        return f"object of {len(value)}"
    if value is None:
        return "null"
    return "boolean" if isinstance(value, bool) else "number"


def headers_shape(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return what is told of headers: the known names, and the values of three, as far as they are known."""
    known = sorted(_HEADERS & headers.keys())
    return {
        "headers": known,
        "other_headers": len(headers) - len(known),
        "content_type": _content_type(headers.get("content-type")),
        "server": _server(headers.get("server")),
        "retry_after": _retry_after(headers.get("retry-after")),
    }


def rate_headers(headers: Mapping[str, str]) -> list[str]:
    """Return the names of known headers that tell of a limit of requests."""
    return sorted(name for name in _HEADERS & headers.keys() if _RATE_HEADER.search(name) or name == "retry-after")


def _content_type(value: str | None) -> str | None:
    if value is None:
        return None
    media_type, _, parameters = value.lower().partition(";")
    charset = parameters.strip().removeprefix("charset=").strip('"')
    told = media_type.strip() if media_type.strip() in _MEDIA_TYPES else "other"
    return f"{told}; charset={charset}" if charset in _CHARSETS else told


def _server(value: str | None) -> str | None:
    if value is None:
        return None
    product = re.split(r"[/ ]", value.strip().lower(), maxsplit=1)[0]
    return product if product in _SERVERS else "other"


def _retry_after(value: str | None) -> str | None:
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= 6:
        return f"{text} seconds"
    return "a date" if re.match(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun),? ", text) else "unreadable"


def answer_shape(response: ApiResponse, names: Names) -> dict[str, Any]:
    """Return all that is told of an answer, as JSON values."""
    return {"status": response.status, "body": body_shape(response.body, names), **headers_shape(response.headers)}
