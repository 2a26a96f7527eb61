"""The chart: every row is in it once, and it is as high as the scale beside it says."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_achieveit.history.chart import draw
from airflow_provider_achieveit.history.queries import DayCount

TODAY = date(2026, 3, 1)
COUNTS = st.lists(
    st.builds(
        DayCount,
        day=st.integers(0, 900).map(lambda days: TODAY - timedelta(days=days)),
        state=st.sampled_from(["applied", "queued", "planned", "unknown", "failed", "refused", "by hand"]),
        batches=st.integers(1, 9),
        rows=st.integers(0, 10**9),
    ),
    min_size=1,
    max_size=40,
)


def test_without_counts_there_is_no_chart() -> None:
    assert draw([], first=TODAY, last=TODAY) is None


@given(COUNTS)
def test_all_rows_are_drawn_once_and_to_scale(counts: list[DayCount]) -> None:
    chart = draw(counts, first=None, last=TODAY)
    assert chart is not None
    assert len(chart.bars) <= 62
    assert sum(sum(bar.rows.values()) for bar in chart.bars) == sum(count.rows for count in counts)
    assert sum(bar.batches for bar in chart.bars) == sum(count.batches for count in counts)
    (zero, ground), (top, sky) = chart.grid[0], chart.grid[-1]
    assert (zero, ground) == (0, chart.ground)
    for bar in chart.bars:
        assert all(0 <= sky <= part.y <= part.y + part.height <= ground + 1 for part in bar.parts)
        for part in bar.parts:
            # A part too small to be seen is a line.
            assert abs(part.height - max(bar.rows[part.tone] / top * (ground - sky), 1)) < 0.02
    assert len(chart.grid) <= 6
    assert all(chart.left <= bar.x and bar.x + bar.width <= chart.right for bar in chart.bars)


def test_each_day_of_a_month_has_a_bar_and_a_year_is_drawn_by_the_week() -> None:
    counts = [DayCount(TODAY, "applied", 1, 5), DayCount(TODAY - timedelta(days=29), "failed", 1, 7)]
    chart = draw(counts, first=TODAY - timedelta(days=29), last=TODAY)
    assert chart is not None
    assert [bar.label for bar in chart.bars][:: len(chart.bars) - 1] == ["2026-01-31", "2026-03-01"]
    assert [tone for tone, _ in chart.legend] == ["good", "bad"]
    assert [text for text, _ in chart.ticks][-1] == "1 Mar"
    year = draw(counts, first=TODAY - timedelta(days=364), last=TODAY)
    assert year is not None
    assert (year.days_a_bar, len(year.bars)) == (6, 61)
    assert year.bars[-1].label == "2026-02-24 to 2026-03-01"
