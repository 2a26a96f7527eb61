"""The chart of rows by day and state, as figures that a template draws."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from airflow_provider_achieveit.history.queries import DayCount
from airflow_provider_achieveit.stores.records import BatchState

WIDTH, HEIGHT = 960, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 8, 10, 28
_MOST_BARS = 62
_MOST_LABELS = 9
_BROADEST = 44

TONES = {
    BatchState.APPLIED.value: "good",
    BatchState.PLANNED.value: "open",
    BatchState.SENDING.value: "open",
    BatchState.QUEUED.value: "open",
    BatchState.UNKNOWN.value: "warn",
    BatchState.REFUSED.value: "bad",
    BatchState.FAILED.value: "bad",
}
"""How a state looks, on the whole page; a state that somebody wrote by hand is ``idle``."""
LEGEND = (
    ("good", "applied"),
    ("open", "planned, sending or queued"),
    ("warn", "unknown"),
    ("bad", "refused or failed"),
    ("idle", "another state"),
)
"""The parts of a bar, from the ground up."""


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle."""

    tone: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One day, or several where there are many.

    :param label: the day, or the first and the last.
    :param rows: the rows by tone.
    """

    label: str
    x: float
    width: float
    parts: tuple[Part, ...]
    rows: dict[str, int]
    batches: int


@dataclass(frozen=True, slots=True)
class Chart:
    """The whole chart.

    :param grid: lines at round numbers of rows: number and height.
    :param ticks: days below: text and middle.
    :param legend: tone and text, those that occur.
    :param days_a_bar: how many days each bar stands for.
    """

    bars: tuple[Bar, ...]
    grid: tuple[tuple[int, float], ...]
    ticks: tuple[tuple[str, float], ...]
    legend: tuple[tuple[str, str], ...]
    days_a_bar: int
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    ground: int = HEIGHT - _BOTTOM


def draw(counts: Sequence[DayCount], *, first: date | None, last: date) -> Chart | None:
    """Return the chart, or None where there is nothing to draw.

    :param counts: rows by day and state.
    :param first: the first day of the chart; None: the first that has rows.
    :param last: the last day; later ones (of a clock that is ahead) extend it.
    """
    if not counts:
        return None
    days = [count.day for count in counts]
    begin, end = first or min(days), max(last, *days)
    length = (end - begin).days + 1
    step = -(-length // _MOST_BARS)
    # The last bar is whole, and the first may begin before the first day.
    number = -(-length // step)
    begin = end - timedelta(days=number * step - 1)
    sums: list[dict[str, int]] = [{} for _ in range(number)]
    batches = [0] * number
    for count in counts:
        at = max((count.day - begin).days // step, 0)
        tone = TONES.get(count.state, "idle")
        sums[at][tone] = sums[at].get(tone, 0) + count.rows
        batches[at] += count.batches
    top, unit = _scale(max(sum(each.values()) for each in sums))
    pitch = (WIDTH - _LEFT - _RIGHT) / number
    width = min(pitch * 0.72, _BROADEST)
    bars = tuple(
        Bar(
            label=_label(begin + timedelta(days=i * step), step),
            x=round(_LEFT + pitch * i + (pitch - width) / 2, 2),
            width=round(width, 2),
            parts=tuple(_parts(rows, top)),
            rows=rows,
            batches=batches[i],
        )
        for i, rows in enumerate(sums)
    )
    every = -(-number // _MOST_LABELS)
    named = [i for i in range(number) if (number - 1 - i) % every == 0]
    return Chart(
        bars=bars,
        grid=tuple((value, _y(value, top)) for value in range(0, top + 1, unit)),
        ticks=tuple((_short(begin + timedelta(days=i * step)), round(_LEFT + pitch * (i + 0.5), 2)) for i in named),
        legend=tuple((tone, text) for tone, text in LEGEND if any(tone in rows for rows in sums)),
        days_a_bar=step,
    )


def _scale(most: int) -> tuple[int, int]:
    """Return a round number not below ``most``, and a round part of it."""
    unit = 1
    while unit * 4 < most:
        # 1, 2, 5, 10, 20, 50, …
        unit = unit * 5 // 2 if str(unit).startswith("2") else unit * 2
    return max(-(-most // unit), 1) * unit, unit


def _y(rows: int, top: int) -> float:
    return round(HEIGHT - _BOTTOM - rows / top * (HEIGHT - _BOTTOM - _TOP), 2)


def _parts(rows: dict[str, int], top: int) -> Iterable[Part]:
    below = 0
    for tone, _ in LEGEND:
        if here := rows.get(tone, 0):
            y = _y(below + here, top)
            yield Part(tone, y, round(max(_y(below, top) - y, 1), 2))
            below += here


def _label(day: date, step: int) -> str:
    return day.isoformat() if step == 1 else f"{day.isoformat()} to {(day + timedelta(days=step - 1)).isoformat()}"


def _short(day: date) -> str:
    return f"{day.day} {day:%b}"
