"""What the page makes of the parameters of its address."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_achieveit.history.filters import Filters

NOW = datetime(2026, 3, 1, 17, 30, tzinfo=UTC)


def test_without_parameters_it_is_a_month_of_everything() -> None:
    filters = Filters.from_query({})
    assert filters == Filters(days=30)
    assert not filters.any
    assert filters.since(NOW) == datetime(2026, 1, 31, tzinfo=UTC)


def test_one_run_is_shown_however_old_it_is() -> None:
    assert Filters.from_query({"run_id": "manual__2020"}).since(NOW) is None
    assert Filters.from_query({"run_id": "manual__2020", "days": "1"}).since(NOW) == datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("days", "-1"),
        ("days", "x"),
        ("days", "٣"),
        ("days", "9" * 30),
        ("kind", "other"),
        ("state", "'; drop table"),
        ("run_id", "a\0b"),
    ],
)
def test_what_makes_no_sense_counts_as_not_given(name: str, value: str) -> None:
    assert Filters.from_query({name: value}) == Filters()


def test_numbers_stay_within_bounds() -> None:
    filters = Filters.from_query({"page": "0", "rejects_page": "999999999", "days": "99999"})
    assert (filters.page, filters.rejects_page, filters.days) == (1, 100_000, 3660)


@given(
    st.builds(
        Filters,
        dag_id=st.text(st.characters(exclude_characters="\0"), max_size=250),
        run_id=st.text(st.characters(exclude_characters="\0"), max_size=250),
        kind=st.sampled_from(["", "progress", "metric"]),
        state=st.sampled_from(["", "applied", "unknown"]),
        days=st.integers(0, 3660),
        page=st.integers(1, 100_000),
    )
)
def test_links_keep_the_filters(filters: Filters) -> None:
    assert Filters.from_query(dict(parse_qsl(filters.query()))) == filters
    assert Filters.from_query(dict(parse_qsl(filters.query(dag_id="a&b", page=1)))).dag_id == "a&b"
