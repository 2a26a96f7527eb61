"""How to reach one AchieveIt tenant: checked settings, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from airflow_provider_achieveit.api.http import is_loopback

MAX_RATE = 10_000
"""Requests a minute: far more than a machine sends to AchieveIt, and still counted in a millisecond or two."""


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """The settings of a client; checked when made.

    :param base_url: ``https://host[:port][/path]``; plain http is accepted for loopback hosts with ``allow_http``.
    :param api_key: the key; never shown by ``repr``.
    :param timeout: seconds to wait for (the next part of) an answer, default 60.
    :param connect_timeout: seconds to wait for a connection, default 10.
    :param max_retries: how often a repeatable request is repeated, default 5.
    :param verify: check the server's certificate: True (default), False, or the path of a CA file.
    :param allow_http: allow plain http to a loopback host, default False.
    :param max_requests_per_minute: requests that may go out in any minute, for all tasks on this machine with this key
        and base URL together (:mod:`.rate`); default None: no limit.
    :raises ValueError: a setting is missing or unusable; the message says which and what to do.
    """

    base_url: str
    api_key: str = field(repr=False)
    timeout: float = 60.0
    connect_timeout: float = 10.0
    max_retries: int = 5
    verify: bool | str = True
    allow_http: bool = False
    max_requests_per_minute: int | None = None

    def __post_init__(self) -> None:
        if not self.api_key.strip():
            raise ValueError("no API key: put it into the password field of the connection")
        if not self.api_key.isascii() or not self.api_key.isprintable():
            raise ValueError("the API key has characters that no header can carry (a line break or a non-ASCII one?)")
        try:
            parts = urlsplit(self.base_url)
            usable = bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                f"the host {_shown(self.base_url)!r} is no base URL; use https://host[:port], or leave it empty"
            )
        if parts.scheme == "http":
            if not is_loopback(parts.hostname):
                raise ValueError(
                    f"plain http to {parts.hostname} is refused, the API key would travel in the open; use https://"
                )
            if not self.allow_http:
                raise ValueError(
                    f"plain http to {parts.hostname} needs the connection's extra field allow_http=true (a simulator "
                    "on this machine), or use https://"
                )
        elif parts.scheme != "https":
            raise ValueError(f"the host's scheme {parts.scheme!r} is not https")
        self._check_numbers()

    def _check_numbers(self) -> None:
        for name in ("timeout", "connect_timeout"):
            if not 0 < getattr(self, name) < 86_400:
                raise ValueError(f"{name} must be more than 0 and less than 86400 seconds, not {getattr(self, name)!r}")
        if not 0 <= self.max_retries <= 100:
            raise ValueError(f"max_retries must be from 0 to 100, not {self.max_retries!r}")
        if self.max_requests_per_minute is not None and not 1 <= self.max_requests_per_minute <= MAX_RATE:
            raise ValueError(
                f"max_requests_per_minute must be from 1 to {MAX_RATE}, or empty for no limit, not "
                f"{self.max_requests_per_minute!r}"
            )

    def url(self, path: str) -> str:
        """Return the full address of a path."""
        return self.base_url.rstrip("/") + path


def _shown(url: str) -> str:
    """Return a URL for a message, without what may be a password or a key in it."""
    return url.rpartition("@")[2].partition("?")[0]
