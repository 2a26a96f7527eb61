"""The page's HTML. Whatever comes from the ledger is text: templates escape it."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.history.chart import TONES, draw
from airflow_provider_achieveit.history.filters import DAYS, Filters
from airflow_provider_achieveit.history.queries import MOST_OPEN, MOST_TASKS, PAGE, History, LastRun
from airflow_provider_achieveit.stores.records import BatchState

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATES = Path(__file__).parent / "templates"
_WORST_FIRST = (
    BatchState.FAILED.value,
    BatchState.REFUSED.value,
    "rejected",
    BatchState.UNKNOWN.value,
    BatchState.SENDING.value,
    BatchState.QUEUED.value,
    BatchState.PLANNED.value,
    BatchState.APPLIED.value,
)
_STEPS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, slots=True)
class Pages:
    """Where one is in a long list."""

    page: int
    total: int

    @property
    def last(self) -> int:
        """The last page."""
        return max(-(-self.total // PAGE), 1)

    @property
    def first_row(self) -> int:
        """The number of the first row on this page."""
        return min((self.page - 1) * PAGE + 1, self.total)

    @property
    def last_row(self) -> int:
        """The number of the last row on this page."""
        return min(self.page * PAGE, self.total)


def history_page(history: History, filters: Filters, dag_ids: list[str], now: datetime) -> str:
    """Return the page.

    :param history: the ledger, as the person may see it.
    :param filters: what they want to see.
    :param dag_ids: the choices of DAGs.
    :param now: the present moment.
    """
    counts = history.days()
    since = filters.since(now)
    open_batches = history.open_batches()
    newest = history.last_runs()
    runs = [run for run in newest if not filters.state or filters.state in run.states]
    return _template("history.html").render(
        filters=filters,
        choices=_choices(filters, dag_ids),
        days=_days(filters),
        now=now,
        tiles=_tiles(counts),
        chart=draw(counts, first=since.date() if since else None, last=now.date()),
        runs=sorted(runs, key=_urgency),
        all_runs=len(newest) < MOST_TASKS,
        open_batches=open_batches[:MOST_OPEN],
        all_open=len(open_batches) <= MOST_OPEN,
        batches=history.batches(),
        batch_pages=Pages(filters.page, sum(count.batches for count in counts)),
        rejects=history.rejects(),
        reject_pages=Pages(filters.rejects_page, history.reject_count()),
    )


def message_page(title: str, *, what: str, steps: tuple[str, ...] = (), code: str = "") -> str:
    """Return a page that says why there is nothing to see, and what to do.

    :param title: what is so, in a few words.
    :param what: the same in a sentence.
    :param steps: what to do about it.
    :param code: lines to copy.
    """
    return _template("message.html").render(title=title, what=what, steps=steps, code=code)


def states_of(run: LastRun) -> list[tuple[str, int]]:
    """Return the states of a run's batches and their numbers, the one to worry about first.

    It is ``rejected`` where nothing was left to send.
    """
    return sorted((run.states or {"rejected": 0}).items(), key=lambda item: _rank(item[0]))


def _choices(filters: Filters, dag_ids: list[str]) -> list[tuple[Any, ...]]:
    """Return the fields of the form: name, label, the word for no choice, value and text of each, what is chosen."""
    # A DAG that was asked for by its address stays chosen, whether it has rows or not.
    dags = sorted({*dag_ids, filters.dag_id} - {""})
    fields = (
        ("dag_id", "DAG", "All DAGs", dags),
        ("kind", "Kind", "All kinds", [kind.value for kind in UpdateKind]),
        ("state", "State", "All states", [state.value for state in BatchState]),
    )
    words = [(*field, [(value, value) for value in values], getattr(filters, field[0])) for *field, values in fields]
    return [*words, ("days", "Time", "", list(_days(filters).items()), filters.days)]


def _days(filters: Filters) -> dict[int, str]:
    return {**DAYS, **({} if filters.days in DAYS else {filters.days: f"{filters.days} days"})}


def _urgency(run: LastRun) -> tuple[int, float]:
    return _rank(states_of(run)[0][0]), -run.at.timestamp()


def _rank(state: str) -> int:
    return _WORST_FIRST.index(state) if state in _WORST_FIRST else -1


@cache
def security_headers() -> Mapping[str, str]:
    """Return the headers of every page: it loads nothing from anywhere, and shows itself within Airflow only."""
    style, script = (_digest((_TEMPLATES / name).read_text(encoding="utf-8")) for name in ("style.css", "theme.js"))
    policy = {
        "default-src": "'none'",
        "style-src": f"'{style}'",
        "script-src": f"'{script}'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'self'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "SAMEORIGIN",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def _digest(text: str) -> str:
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _tiles(counts: list[Any]) -> list[tuple[int, str, str]]:
    by_tone: dict[str, int] = {}
    for count in counts:
        tone = TONES.get(count.state, "idle")
        by_tone[tone] = by_tone.get(tone, 0) + count.rows
    return [
        (sum(count.batches for count in counts), "batches", ""),
        (by_tone.get("good", 0), "rows applied", "good"),
        (by_tone.get("open", 0), "rows on their way", "open"),
        (by_tone.get("bad", 0), "rows refused or failed", "bad"),
        (by_tone.get("warn", 0), "rows in an unknown state", "warn"),
    ]


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(tones=TONES, states_of=states_of, source=_source)
    environment.filters.update(number=_number, when=_when, ago=_ago, span=_span)
    return environment.get_template(name)


def _source(name: str) -> str:
    """Return a file of our own as it is, for a ``style`` or ``script`` element."""
    from markupsafe import Markup

    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704  (no input is in it)


def _number(value: int) -> str:
    return f"{value:,}"


def _when(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _ago(moment: datetime, now: datetime) -> str:
    return f"{_span(now - moment)} ago" if now > moment else "just now"


def _span(length: timedelta) -> str:
    seconds = max(length.total_seconds(), 0)
    for size, unit in _STEPS:
        if seconds >= size:
            rest = f" {int(seconds % 3600 // 60)} min" if unit == "h" and seconds < 10 * size else ""
            return f"{int(seconds // size)} {unit}{rest}"
    return "under 1 s"
