"""What a person wants to see: the page's query parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.stores.records import BatchState

DAYS = {1: "1 day", 7: "7 days", 30: "30 days", 90: "90 days", 365: "a year", 0: "all time"}
"""The choices of the form; the address may name any number of days."""
_DEFAULT_DAYS = 30
_MOST_DAYS = 3660
_MOST_PAGES = 100_000
_LONGEST = 250


@dataclass(frozen=True, slots=True)
class Filters:
    """Which rows of the ledger to show; an empty text means all.

    :param days: how far to look back; 0: to the beginning.
    :param page: page of the batches, from 1.
    :param rejects_page: page of the rejected rows, from 1.
    """

    dag_id: str = ""
    task_id: str = ""
    run_id: str = ""
    kind: str = ""
    state: str = ""
    days: int = _DEFAULT_DAYS
    page: int = 1
    rejects_page: int = 1

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Filters:
        """Read the parameters of an address; what makes no sense counts as not given.

        :param query: the parameters. Without ``days`` it is a month; but all time where one run is asked for, so that
            the link of an old run does not lead to an empty page.
        """
        ids = {name: _id(query.get(name, "")) for name in ("dag_id", "task_id", "run_id")}
        days = _DEFAULT_DAYS if not ids["run_id"] else 0
        return cls(
            **ids,
            kind=_one_of([kind.value for kind in UpdateKind], query.get("kind", "")),
            state=_one_of([state.value for state in BatchState], query.get("state", "")),
            days=_number(query.get("days", ""), days, least=0, most=_MOST_DAYS),
            page=_number(query.get("page", ""), 1, least=1, most=_MOST_PAGES),
            rejects_page=_number(query.get("rejects_page", ""), 1, least=1, most=_MOST_PAGES),
        )

    @property
    def any(self) -> bool:
        """Whether more is left out than what is old."""
        return any((self.dag_id, self.task_id, self.run_id, self.kind, self.state))

    def since(self, now: datetime) -> datetime | None:
        """Return the first moment that is shown: a midnight, in UTC, so that no day is cut; None: all are."""
        if not self.days:
            return None
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight - timedelta(days=self.days - 1)

    def query(self, **changes: Any) -> str:
        """Return the query of an address with these filters, some of them changed."""
        changed = replace(self, **changes)
        pairs = {name: getattr(changed, name) for name in self.__slots__}
        return urlencode({name: value for name, value in pairs.items() if value != "" and (name, value) not in _USUAL})


_USUAL = (("page", 1), ("rejects_page", 1))


def _id(text: str) -> str:
    # No id has a NUL in it, and PostgreSQL's drivers take no such text.
    return "" if "\0" in text else text[:_LONGEST]


def _one_of(choices: list[str], text: str) -> str:
    return text if text in choices else ""


def _number(text: str, default: int, *, least: int, most: int) -> int:
    return min(max(int(text), least), most) if text.isascii() and text.isdigit() and len(text) < 10 else default
