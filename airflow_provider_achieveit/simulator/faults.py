"""Faults on request: rules that decide which requests go wrong, and how."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from airflow_provider_achieveit.simulator.seed_data import CHANGES

KINDS = ("delay", "slow", "status", "redirect", "reset", "truncate", "mutate", "fail_job")
_SERVER_STATE = {"seen"}


@dataclass(slots=True)
class Fault:
    """One rule. Of several that match, all act, in their order, until one of them gives the answer.

    :param kind: ``delay`` waits ``seconds``; ``slow`` sends the answer, headers too, byte by byte with ``seconds``
        after each; ``status`` answers ``status`` with ``headers`` and ``body``; ``redirect`` answers ``status``
        (default 302) to ``location``; ``reset`` breaks the TCP connection with RST; ``truncate``
        announces the whole length, sends half and closes; ``mutate`` makes ``changes`` to the plans; ``fail_job`` lets
        the job of a submit end in 500.
    :param method: ``GET``, ``POST`` ... (default: any).
    :param path: regular expression searched in path and query, ``/exports/.*skip=1500`` (default: any).
    :param nth: the first matching request on which it acts (default 1).
    :param times: on how many matching requests it acts; None: on all from then on (default 1).
    :param after: act when the request has been processed and its answer is held back: a batch is queued and nobody
        hears of it (default no; a truncated or slow answer always is one of a processed request).
    :param seconds: how long a delay, or the pause after each byte, lasts (default 0).
    :param status: the code to answer (default 503).
    :param headers: headers to answer, such as ``{"Retry-After": "2"}``.
    :param body: text to answer.
    :param location: where a redirect points, absolute or not.
    :param changes: what ``mutate`` does (see :func:`.seed_data.mutate`; default one insert).
    :param seed: of the changes (default 0).
    :param seen: matching requests so far; kept by the server.
    """

    kind: str
    method: str = ""
    path: str = ""
    nth: int = 1
    times: int | None = 1
    after: bool = False
    seconds: float = 0.0
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    location: str = ""
    changes: list[str] = field(default_factory=lambda: ["insert"])
    seed: int = 0
    seen: int = 0

    def __post_init__(self) -> None:
        """Refuse a rule that could never act as meant."""
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of fault {self.kind!r}; known are {', '.join(KINDS)}")
        if self.kind == "redirect" and not self.location:
            raise ValueError("a redirect needs a 'location'")
        if self.seconds < 0 or (self.status is not None and not 200 <= self.status <= 599):
            raise ValueError("'seconds' must not be negative, and 'status' lies between 200 and 599")
        if unknown := sorted(set(self.changes) - set(CHANGES)):
            raise ValueError(f"unknown change {unknown[0]!r}; known are {', '.join(CHANGES)}")
        if self.nth < 1 or (self.times is not None and self.times < 1):
            raise ValueError("'nth' and 'times' count from 1; times=None means for ever")
        try:
            re.compile(self.path)
        except re.error as error:
            raise ValueError(f"'path' is not a regular expression: {error}") from error

    def meets(self, method: str, target: str) -> bool:
        """Count a request if it matches, and tell whether the rule acts on it."""
        if (self.method and self.method.upper() != method) or not re.search(self.path, target):
            return False
        self.seen += 1
        return self.seen >= self.nth and (self.times is None or self.seen < self.nth + self.times)


def fault_from_json(data: Mapping[str, Any]) -> Fault:
    """Return a rule from JSON values.

    :raises ValueError: a name or a value that does not exist.
    """
    known = {entry.name for entry in fields(Fault)} - _SERVER_STATE
    unknown = sorted(set(data) - known)
    if unknown or "kind" not in data:
        wrong = f"unknown field {unknown[0]!r}" if unknown else "'kind' is missing"
        raise ValueError(f"a fault rule: {wrong}; known are {', '.join(sorted(known))}")
    try:
        return Fault(**data)
    except TypeError as error:
        raise ValueError(f"a fault rule: {error}") from error


class Faults:
    """The rules in force."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []

    def add(self, kind: str, **options: Any) -> Fault:
        """Add a rule; the options are the fields of :class:`Fault`.

        :return: the rule; its ``seen`` counts the matching requests.
        :raises ValueError: a name or a value that does not exist.
        """
        fault = fault_from_json({"kind": kind, **options})
        self.rules.append(fault)
        return fault

    def replace(self, rules: list[Fault]) -> None:
        """Put these rules in force, and no others."""
        self.rules = rules

    def clear(self) -> None:
        """Take all rules away."""
        self.rules = []

    def acting_on(self, method: str, target: str) -> list[Fault]:
        """Return the rules that act on a request, and count it for all that match."""
        return [rule for rule in self.rules if rule.meets(method, target)]

    def to_json(self) -> list[dict[str, Any]]:
        """Return the rules as JSON values."""
        return [asdict(rule) for rule in self.rules]
