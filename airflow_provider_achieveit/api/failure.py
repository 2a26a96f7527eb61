"""What can go wrong between us and AchieveIt, as one value.

A :class:`Failure` is plain data, so that the triggerer can send it to a worker as JSON; the worker turns it into one
of the typed errors of :mod:`airflow_provider_achieveit.exceptions`.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class FailureKind(StrEnum):
    """Why a call failed; one typed error of the provider belongs to each."""

    AUTH = "auth"
    """401: the key is missing, malformed or unknown."""
    FORBIDDEN = "forbidden"
    """403: the key's user may not do this."""
    REQUEST = "request"
    """The request itself is wrong: another 4xx, or a redirect that must not be followed."""
    UNAVAILABLE = "unavailable"
    """Nothing was decided: 429, 5xx, network. Worth repeating."""
    UNSURE = "unsure"
    """A batch went out and no usable answer came back: it may or may not be queued."""
    JOB_REFUSED = "job_refused"
    """400 on the status address: AchieveIt refused the data."""
    JOB_FAILED = "job_failed"
    """500 on the status address, repeated: AchieveIt's side failed."""
    JOB_TIMEOUT = "job_timeout"
    """The deadline came before the job ended."""
    INCONSISTENT_EXPORT = "inconsistent_export"
    """The pages of a plan do not fit together, again and again."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure, told with all that an error message needs.

    :param kind: why it failed.
    :param message: what happened, where, and what to do; never holds the API key.
    :param status: the HTTP status code, if an answer came.
    :param retryable: whether the same call may succeed later without anybody mending anything.
    :param retry_after: seconds the server asked to wait, if it did.
    :param job_id: the job concerned, if one is.
    """

    kind: FailureKind
    message: str
    status: int | None = None
    retryable: bool = False
    retry_after: float | None = None
    job_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the failure as JSON values (a trigger event carries it)."""
        return asdict(self) | {"kind": self.kind.value}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Failure:
        """Read what :meth:`to_json` gave; keys of a later version are ignored."""
        known = {name: data[name] for name in cls.__slots__ if name in data}
        return cls(**{**known, "kind": FailureKind(data["kind"])})


class ApiError(Exception):
    """Raised by the carriers; the hook turns it into a typed Airflow error.

    :param failure: what went wrong.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def unreachable(what: str, host: str, error: BaseException) -> Failure:
    """Say what it means that no answer came to a request that may be repeated.

    :param what: what was asked, for the message.
    :param host: base URL of the server.
    :param error: the HTTP library's error.
    """
    told = innermost(error)
    if "CERTIFICATE_VERIFY_FAILED" in told:
        # No repeat mends this; the person who set up the connection does.
        return Failure(
            FailureKind.REQUEST,
            f"{what}: the certificate of {host} is not trusted ({told}); set the connection's extra field verify to "
            "the path of the CA file",
        )
    if any(sign in told for sign in _NO_CA):
        return unusable_ca(f"{what}, {host}", error)
    return Failure(
        FailureKind.UNAVAILABLE,
        f"{what}: {host} cannot be reached, {_why(error)} ({told}); check the connection's host, the network and the "
        "proxy",
        retryable=True,
    )


_NO_CA = ("NO_CERTIFICATE_OR_CRL_FOUND", "PEM lib", "NO_START_LINE")
"""What OpenSSL says of a CA file that is none."""


def unusable_ca(where: str, error: BaseException) -> Failure:
    """Say that the file of the trusted authorities cannot be used; no repeat mends that.

    :param where: the file, or what it was needed for.
    :param error: what reading it gave.
    """
    return Failure(
        FailureKind.REQUEST,
        f"the CA file cannot be used ({where}: {innermost(error)}); mend the environment variable REQUESTS_CA_BUNDLE "
        "or CURL_CA_BUNDLE, or set the connection's extra field verify to the path of a CA file",
    )


def innermost(error: BaseException) -> str:
    """Return the innermost cause of an error in words: the outer ones of HTTP libraries only repeat the address."""
    cause = _causes(error)[-1]
    return f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and what it holds, from the outside to the inside."""
    causes = [error]
    while True:
        cause = causes[-1]
        held = (getattr(cause, "reason", None), *cause.args, cause.__cause__)
        # A cancellation is how a timeout is done, not why.
        nested = next((nested for nested in held if isinstance(nested, Exception)), cause)
        if nested in causes:
            return causes
        causes.append(nested)


def _why(error: BaseException) -> str:
    causes = _causes(error)
    if any("Proxy" in type(cause).__name__ for cause in causes):
        return "the proxy does not let us through"
    for kind, why in _REASONS.items():
        if isinstance(causes[-1], kind):
            return why
    return "the connection broke"


_REASONS = {
    socket.gaierror: "its name is not known here",
    TimeoutError: "it does not answer in time",
    ConnectionRefusedError: "nothing listens there",
    ssl.SSLError: "TLS cannot be agreed on",
}
