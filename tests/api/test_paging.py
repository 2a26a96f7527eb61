"""Paging: whole plans arrive in order, and a plan that changes meanwhile is never read wrongly in silence."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_achieveit.api.contract import Page
from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind
from airflow_provider_achieveit.api.paging import PlanRead, check_paging, read_plan, read_plan_once
from tests.busy_plans import BusyPlan, FakePlan, Item, plan_items


class Reader:
    """Keeps what a read gave, and forgets it when told so."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.restarts: list[str] = []

    def restart(self, reason: str) -> None:
        self.items.clear()
        self.restarts.append(reason)

    def read(self, fetch: Any, **options: Any) -> PlanRead:
        return read_plan(fetch, plan_id="plan", on_page=self.items.extend, on_restart=self.restart, **options)


@given(count=st.integers(0, 40), page_size=st.integers(1, 12), parallel=st.integers(1, 5))
def test_a_plan_that_stands_still_arrives_whole_and_in_order(count: int, page_size: int, parallel: int) -> None:
    plan, reader = FakePlan(plan_items(count)), Reader()
    read = reader.read(plan, page_size=page_size, parallel_pages=parallel)
    assert reader.items == plan.items
    assert (read.items, read.reads, reader.restarts) == (count, 1, [])
    assert all(take <= page_size for _, take, _ in plan.requests)
    assert read.pages <= len(plan.requests)


@pytest.mark.parametrize("count", [0, 1, 1500])
def test_a_plan_of_one_page_is_one_request_besides_a_small_one(count: int) -> None:
    plan = FakePlan(plan_items(count))
    assert Reader().read(plan, parallel_pages=1) == PlanRead(items=count, pages=1, reads=1)
    assert plan.requests == [(0, 1500, "sequenceId")]
    plan = FakePlan(plan_items(count))
    assert Reader().read(plan) == PlanRead(items=count, pages=1, reads=1)
    assert set(plan.requests) <= {(0, 1500, "sequenceId"), (0, 1, "lastUpdated")}


def test_3210_items_are_three_pages() -> None:
    plan, reader = FakePlan(plan_items(3210)), Reader()
    assert reader.read(plan) == PlanRead(items=3210, pages=3, reads=1)
    assert reader.items == plan.items


def test_a_thousand_plans_that_change_between_pages_are_never_read_wrongly_in_silence() -> None:
    loaded = refused = reread = 0
    for seed in range(1000):
        plan, reader = BusyPlan(seed), Reader()
        options = {"page_size": 3 + seed % 4, "parallel_pages": 1 + seed % 3, "max_reads": 3}
        try:
            read = reader.read(plan, **options)
        except ApiError as error:
            refused += error.failure.kind is FailureKind.INCONSISTENT_EXPORT
            continue
        assert reader.items in plan.states, f"seed {seed}: loaded a state that the plan never had"
        loaded, reread = loaded + 1, reread + (read.reads > 1)
    # All three ends must have been reached, or the seeds would prove nothing.
    assert min(loaded, refused, reread) > 50
    assert loaded + refused == 1000


def test_the_same_plans_fool_a_loop_that_only_counts() -> None:
    """Shows that the seeds above hold what unique ids and equal counts do not see."""
    fooled = 0
    for seed in range(1000):
        plan, page_size = BusyPlan(seed), 3 + seed % 4
        pages = [plan(skip=0, take=page_size, sort_key="sequenceId")]
        for skip in range(page_size, pages[0].total_count, page_size):
            pages.append(plan(skip=skip, take=page_size, sort_key="sequenceId"))
        items = [item for page in pages for item in page.items]
        fits = len({item["id"] for item in items}) == len(items) == pages[0].total_count
        fooled += fits and len({page.total_count for page in pages}) == 1 and items not in plan.states
    assert fooled > 0


def scripted(script: dict[int, Callable[[list[Item]], None]]) -> Callable[[FakePlan, int], None]:
    def before(plan: FakePlan, number: int) -> None:
        if number in script:
            script[number](plan.items)

    return before


# Requests of a read of 10 items by 4: 0 first page, 1 newest change, 2 and 3 other pages, 4 first page again, 5 newest.
@pytest.mark.parametrize(
    ("script", "reason", "mended"),
    [
        (
            {2: lambda it: it.append({"id": "x", "lastUpdated": "1"})},
            "totalCount went from 10 to 11 at the page at 3",
            True,
        ),
        ({3: lambda it: it.pop()}, "totalCount went from 10 to 9 at the page at 6", True),
        ({2: lambda it: it.append(it.pop(0))}, "the page at 3 begins with item 'i4' instead of 'i3'", True),
        ({4: lambda it: it[0].update(name="other")}, "the first page was another one after the last", True),
        # The first page is of the state before, all others and both looks are of the one after.
        (
            {1: lambda it: [it[n].update(name="other", lastUpdated="9") for n in (0, 9)]},
            "the first page was another one after the last",
            True,
        ),
        (
            {5: lambda it: it[9].update(lastUpdated="9")},
            "newest change went from 000002 to 9 while the pages were read",
            True,
        ),
        ({2: lambda it: it.__setitem__(8, it[1])}, "1 ids came twice up to the page at 6, 9 of 10 items", False),
    ],
)
def test_what_does_not_fit_is_told_and_the_plan_is_read_again(
    script: dict[int, Callable[[list[Item]], None]], reason: str, mended: bool
) -> None:
    plan, reader = FakePlan(plan_items(10), before=scripted(script)), Reader()
    if mended:
        assert reader.read(plan, page_size=4, parallel_pages=1).reads == 2
        assert reader.items == plan.items
    else:
        with pytest.raises(ApiError, match=r"plan plan changed .*3 time\(s\) in a row.*None of it was used") as caught:
            reader.read(plan, page_size=4, parallel_pages=1)
        assert reader.items == []
        assert (caught.value.failure.kind, caught.value.failure.retryable) == (FailureKind.INCONSISTENT_EXPORT, True)
    assert reason in reader.restarts[0]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (lambda it: it[5].pop("id"), "the page at 3 has an item without an id"),
        (lambda it: it[5].update(id=""), "the page at 3 has an item without an id"),
        (lambda it: it[5].update(id="i4"), "the page at 3 has 4 items but only 3 ids"),
        (lambda it: (it[4].update(id=7), it[5].update(id="7")), "the page at 3 has 4 items but only 3 ids"),
    ],
)
def test_a_page_that_is_wrong_by_itself_is_not_put_down_to_people_at_work(
    fault: Callable[[list[Item]], None], reason: str
) -> None:
    plan, reader = FakePlan(plan_items(10)), Reader()
    fault(plan.items)
    with pytest.raises(ApiError, match=r"plan plan with a page that cannot be right, 3 time\(s\) in a row") as caught:
        reader.read(plan, page_size=4, parallel_pages=1)
    assert "changed" not in str(caught.value)
    assert "people" not in str(caught.value)
    assert (reader.restarts, reader.items) == ([reason] * 3, [])
    assert (caught.value.failure.kind, caught.value.failure.retryable) == (FailureKind.INCONSISTENT_EXPORT, True)
    with pytest.raises(ApiError, match="cannot be right"):
        list(read_plan_once(plan, "plan", page_size=4))


@pytest.mark.parametrize("sent", [0, 1, 3])
def test_a_page_that_is_too_short_ends_the_read_and_never_loops(sent: int) -> None:
    items = plan_items(10)
    requests = []

    def fetch(*, skip: int, take: int, sort_key: str, descending: bool = False) -> Page:
        requests.append(skip)
        return Page(items[skip : skip + (take if skip == 0 else min(take, sent))], len(items))

    reader = Reader()
    with pytest.raises(ApiError, match=f"the page at 3 of 10 has {sent} items instead of 4") as caught:
        reader.read(fetch, page_size=4, parallel_pages=1, max_reads=2)
    assert caught.value.failure == Failure(FailureKind.INCONSISTENT_EXPORT, str(caught.value), retryable=True)
    assert len(reader.restarts) == 2
    assert len(requests) <= 2 * 4


def test_an_empty_first_page_of_a_plan_with_items_is_inconsistent() -> None:
    with pytest.raises(ApiError, match="the page at 0 of 7 has 0 items instead of 5"):
        Reader().read(lambda **_: Page([], 7), page_size=5)


def test_pages_are_asked_for_side_by_side_but_never_more_than_allowed() -> None:
    plan = FakePlan(plan_items(40))
    together = threading.Barrier(4, timeout=30)  # breaks unless four requests are under way at once
    active, most, lock = 0, 0, threading.Lock()

    def fetch(*, skip: int, take: int, sort_key: str, descending: bool = False) -> Page:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        try:
            if 0 < skip <= 4 * 4 and sort_key == "sequenceId":
                together.wait()
            return plan(skip=skip, take=take, sort_key=sort_key, descending=descending)
        finally:
            with lock:
                active -= 1

    assert Reader().read(fetch, page_size=5, parallel_pages=4).items == 40
    assert most == 4


def test_a_slow_taker_is_not_flooded_with_pages() -> None:
    plan = FakePlan(plan_items(100))
    taken = 0

    def take_page(_: list[Item]) -> None:
        nonlocal taken
        # The pages taken, this one, one more under way, and the look at the newest change.
        assert len(plan.requests) <= taken + 3
        taken += 1

    read = read_plan(plan, plan_id="plan", on_page=take_page, on_restart=pytest.fail, page_size=5, parallel_pages=2)
    assert (read.items, read.pages) == (100, taken)


def test_a_failing_page_ends_the_read_with_its_own_error() -> None:
    plan = FakePlan(plan_items(200))

    def fetch(*, skip: int, take: int, sort_key: str, descending: bool = False) -> Page:
        if skip == 8:
            raise ApiError(Failure(FailureKind.UNAVAILABLE, "no answer", retryable=True))
        return plan(skip=skip, take=take, sort_key=sort_key, descending=descending)

    reader = Reader()
    with pytest.raises(ApiError, match="no answer"):
        reader.read(fetch, page_size=5, parallel_pages=2)
    assert reader.restarts == []
    assert len(plan.requests) < 10


def test_read_plan_once_gives_pages_or_an_inconsistent_export() -> None:
    plan = FakePlan(plan_items(10))
    pages = list(read_plan_once(plan, "plan", page_size=4))
    assert [item for page in pages for item in page.items] == plan.items
    assert {page.total_count for page in pages} == {10}
    plan.before = lambda plan, number: plan.items.pop()
    with pytest.raises(ApiError) as caught:
        list(read_plan_once(plan, "plan", page_size=4))
    assert caught.value.failure.kind is FailureKind.INCONSISTENT_EXPORT
    with pytest.raises(ValueError, match="page_size"):
        next(read_plan_once(plan, "plan", page_size=1501))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("page_size", 0, "page_size must be a whole number from 1 to 1500, not 0"),
        ("page_size", 1501, "page_size must be a whole number from 1 to 1500, not 1501"),
        ("page_size", True, "page_size must be a whole number"),
        ("page_size", "100", "not '100'"),
        ("parallel_pages", 0, "parallel_pages must be a whole number of at least 1, not 0"),
        ("max_reads", 0, "max_reads must be a whole number of at least 1, not 0"),
        ("max_reads", None, "max_reads must be a whole number of at least 1, not None"),
        ("sort_key", "sequenceID", "did you mean 'sequenceId'?"),
        ("sort_key", "id", "sort_key 'id' does not exist"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_any_request(setting: str, value: object, message: str) -> None:
    good = {"page_size": 1500, "sort_key": "sequenceId", "parallel_pages": 4, "max_reads": 3}
    check_paging(**good)  # type: ignore[arg-type]
    plan = FakePlan(plan_items(3))
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        Reader().read(plan, **{**good, setting: value})
    assert plan.requests == []
