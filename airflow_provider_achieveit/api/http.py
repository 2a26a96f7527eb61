"""Requests and answers as plain values, and the HTTP rules that are nobody's in particular.

Pure functions: nothing here opens a connection.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

MAX_RETRY_AFTER = 3600.0
"""Seconds: a longer Retry-After is taken as this, so that a broken proxy cannot park a task for a day."""
LONGEST_PAUSE = 300.0
"""Seconds: a process that was asked to wait longer asks again after this; between two tries of a task all counts."""
MAX_REDIRECTS = 3
MAX_RESPONSE_BYTES = 256 * 1024 * 1024
"""An answer larger than this is refused: 1,500 items with 100 kB of text each still fit."""
MAX_STATUS_BYTES = 1024 * 1024
"""Of the answer about a job's state the code counts; of so long a reason the beginning is enough."""
SLOWEST_ANSWER = 10
"""So many times the timeout a request may take as a whole, as long as something moves within each timeout."""
_QUOTED_BODY_CHARS = 500
_SHORTEST_KEY = 8


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request to AchieveIt, without host or key.

    :param method: ``GET`` or ``POST``.
    :param path: path below the base URL, percent-encoded.
    :param params: query parameters.
    :param headers: headers besides the authorization.
    :param body: the bytes to send, if any.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """An answer as it came.

    :param status: the HTTP status code.
    :param headers: headers, names in lower case.
    :param body: the whole body.
    :param url: the address that answered.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""

    def header(self, name: str) -> str | None:
        """Return a header's value by its name in lower case."""
        return self.headers.get(name)

    def told(self) -> str:
        """Return code and body for a message: ``HTTP 503 'try later'``, or the code alone where there is no body."""
        quoted = self.quote()
        return f"HTTP {self.status} {quoted!r}" if quoted else f"HTTP {self.status}"

    def quote(self) -> str:
        """Return the body for a message: decoded, white space folded, trimmed."""
        text = " ".join(self.body[: 4 * _QUOTED_BODY_CHARS].decode("utf-8", "replace").split())
        if len(text) > _QUOTED_BODY_CHARS:
            return text[:_QUOTED_BODY_CHARS] + "…"
        return text


def without_key(text: str, api_key: str) -> str:
    """Return text of an answer without the key: servers and proxies may quote the request they did not like.

    :param text: what came.
    :param api_key: the key; one too short to be a key is left alone, it would be found in innocent words.
    """
    return text.replace(api_key, "***") if len(api_key) >= _SHORTEST_KEY else text


def retry_after_seconds(value: str | None, now: datetime | None = None) -> float | None:
    """Read a Retry-After header (RFC 9110, 10.2.3) in either form.

    :param value: seconds or an HTTP date; None or anything unreadable gives None.
    :param now: the present, for the date form (default: the clock).
    :return: seconds from 0 to :data:`MAX_RETRY_AFTER`.
    """
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - (now or datetime.now(UTC))).total_seconds(), 0.0), MAX_RETRY_AFTER)


def is_loopback(host: str | None) -> bool:
    """Tell whether a host name or address is this machine itself, the only place where plain http is allowed."""
    if not host:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def safe_redirect(requested: str, location: str | None) -> str | None:
    """Return the address a GET may follow, or None where the key must not travel.

    Only the same host and port may see the key, and only a step up (http to https) or none in the scheme. Libraries
    read odd addresses differently (a backslash, say), so the target is put together anew from the host that was asked.

    :param requested: the address that answered with a redirect.
    :param location: its Location header.
    """
    if not location or not location.isprintable() or any(char in location for char in " \\@"):
        return None
    try:
        old, new = urlsplit(requested), urlsplit(urljoin(requested, location))
        upgraded = (old.scheme, new.scheme) == ("http", "https")
        same_place = old.hostname == new.hostname and (upgraded or _port(old) == _port(new))
    except ValueError:
        return None
    if not same_place or not (upgraded or old.scheme == new.scheme):
        return None
    host = new.netloc if upgraded else old.netloc
    return urlunsplit((new.scheme, host, new.path, new.query, ""))


def _port(parts: SplitResult) -> int | None:
    return parts.port or {"https": 443, "http": 80}.get(parts.scheme)
