"""Reading a whole plan through offset pages that may drift.

"Exporting Plan Items" promises nothing about consistency between pages: an item that is added, removed or moved while
somebody pages can be missed or come twice. So a read of several pages is believed only if everything fits: every page
is as long as it must be and tells the same ``totalCount``, no id comes twice, neighbouring pages share one item (an
item deleted here and one added there shift the pages without changing any count), the first page and the newest change
of the plan are the same before and after. A plan of one page is one answer, which cannot drift.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from airflow_provider_achieveit.api.contract import MAX_TAKE, SORT_KEYS, Page
from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind
from airflow_provider_achieveit.api.nearest import nearest

Items = list[dict[str, Any]]


class FetchPage(Protocol):
    """Gets one page of one plan; called from several threads at once."""

    def __call__(self, *, skip: int, take: int, sort_key: str) -> Page:
        """Return ``take`` items after the first ``skip``, or raise :class:`~.failure.ApiError`."""
        ...


class FetchPlanPage(Protocol):
    """Whoever gets pages of any plan: :class:`.client.AchieveItClient`."""

    def fetch_plan_page(self, plan_id: str, *, skip: int, take: int, sort_key: str) -> Page:
        """Return ``take`` items of a plan after the first ``skip``."""
        ...


class PlanChangedError(Exception):
    """The pages of one read do not fit together; the message says what does not."""


class FaultyPageError(PlanChangedError):
    """A page does not fit by itself. It is one answer, so nobody's work on the plan explains that."""


@dataclass(frozen=True, slots=True)
class PlanRead:
    """What a consistent read took.

    :param items: items of the plan.
    :param pages: pages that carried them.
    :param reads: how often the plan was read until the pages fitted.
    """

    items: int
    pages: int
    reads: int


def check_paging(*, page_size: int, sort_key: str, parallel_pages: int, max_reads: int) -> None:
    """Refuse settings that no read can use.

    :param page_size: items asked for at once, 1 to :data:`.contract.MAX_TAKE`.
    :param sort_key: one of :data:`.contract.SORT_KEYS`.
    :param parallel_pages: pages asked for at the same time, at least 1.
    :param max_reads: reads of the whole plan until it fits, at least 1.
    :raises ValueError: names the setting, its value and what it may be.
    """
    _check_integer("page_size", page_size, 1, MAX_TAKE)
    _check_integer("parallel_pages", parallel_pages, 1)
    _check_integer("max_reads", max_reads, 1)
    if sort_key not in SORT_KEYS:
        near = nearest(str(sort_key), sorted(SORT_KEYS))
        hint = f"; did you mean {near!r}?" if near else "."
        raise ValueError(f"sort_key {sort_key!r} does not exist{hint} It is one of {', '.join(sorted(SORT_KEYS))}.")


def _check_integer(name: str, value: object, low: int, high: int | None = None) -> None:
    fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= (high or value)
    if not fits:
        span = f"from {low} to {high}" if high else f"of at least {low}"
        raise ValueError(f"{name} must be a whole number {span}, not {value!r}")


def read_plan(
    fetch: FetchPage,
    *,
    plan_id: str,
    on_page: Callable[[Items], None],
    on_restart: Callable[[str], None],
    page_size: int = MAX_TAKE,
    sort_key: str = "sequenceId",
    parallel_pages: int = 4,
    max_reads: int = 3,
) -> PlanRead:
    """Read a plan until its pages fit together.

    :param fetch: gets one page.
    :param plan_id: the plan, for messages.
    :param on_page: takes the items of one page; called in order, in the caller's thread.
    :param on_restart: told why what was read cannot be used: whatever ``on_page`` took must be forgotten.
    :param page_size: items in one page (default 1500, the most AchieveIt gives).
    :param sort_key: the order in which AchieveIt counts (default ``sequenceId``).
    :param parallel_pages: pages asked for at the same time, and held in memory at most (default 4).
    :param max_reads: reads until giving up (default 3).
    :return: what it took.
    :raises ApiError: a page could not be read, or (inconsistent export, worth a retry) no read fitted.
    :raises ValueError: a setting that no read can use.
    """
    check_paging(page_size=page_size, sort_key=sort_key, parallel_pages=parallel_pages, max_reads=max_reads)
    reasons: list[PlanChangedError] = []
    while len(reasons) < max_reads:
        items = pages = 0
        try:
            for page in read_pages(fetch, page_size=page_size, sort_key=sort_key, parallel_pages=parallel_pages):
                on_page(page.items)
                items, pages = items + len(page.items), pages + 1
        except PlanChangedError as changed:
            reasons.append(changed)
            on_restart(str(changed))
        else:
            return PlanRead(items, pages, reads=len(reasons) + 1)
    raise ApiError(_inconsistent(plan_id, reasons))


def read_plan_once(
    client: FetchPlanPage, plan_id: str, *, page_size: int = MAX_TAKE, sort_key: str = "sequenceId"
) -> Iterator[Page]:
    """Yield the pages of one read of a plan; what was yielded is worth nothing if it ends in an error.

    :param client: gets the pages.
    :param plan_id: the plan.
    :param page_size: items in one page (default 1500, the most AchieveIt gives).
    :param sort_key: the order in which AchieveIt counts (default ``sequenceId``).
    :raises ApiError: a page could not be read, or (inconsistent export, worth a retry) the pages do not fit together.
    :raises ValueError: a setting that no read can use.
    """
    check_paging(page_size=page_size, sort_key=sort_key, parallel_pages=1, max_reads=1)
    fetch = partial(client.fetch_plan_page, plan_id)
    try:
        yield from read_pages(fetch, page_size=page_size, sort_key=sort_key, parallel_pages=1)
    except PlanChangedError as changed:
        raise ApiError(_inconsistent(plan_id, [changed])) from None


def _inconsistent(plan_id: str, reasons: list[PlanChangedError]) -> Failure:
    told = f"{len(reasons)} time(s) in a row"
    why = "; then ".join(map(str, reasons))
    if all(isinstance(reason, FaultyPageError) for reason in reasons):
        message = (
            f"AchieveIt answered for plan {plan_id} with a page that cannot be right, {told} ({why}). None of it was "
            "used. Work on the plan does not explain this: if it stays so, tell AchieveIt's support."
        )
    else:
        message = (
            f"plan {plan_id} changed while it was read, {told}, and its pages do not fit together ({why}). None of it "
            "was used; try again when fewer people work on the plan."
        )
    return Failure(FailureKind.INCONSISTENT_EXPORT, message, retryable=True)


def read_pages(
    fetch: FetchPage, *, page_size: int = MAX_TAKE, sort_key: str = "sequenceId", parallel_pages: int = 4
) -> Iterator[Page]:
    """Yield the items of a plan page by page, and raise as soon as something does not fit.

    What was yielded before is worth nothing then. At most ``parallel_pages`` pages are asked for or held at once.

    :raises PlanChangedError: the pages do not fit together.
    :raises ApiError: a page could not be read.
    """
    first = fetch(skip=0, take=page_size, sort_key=sort_key)
    check = _FitCheck(first.total_count, page_size)
    yield check.take(0, first)
    if first.total_count <= page_size:
        return
    newest = _newest_change(fetch, first.total_count)
    skips = range(page_size - check.overlap, first.total_count - check.overlap, page_size - check.overlap)
    with ThreadPoolExecutor(max_workers=parallel_pages, thread_name_prefix="achieveit-page") as pool:
        coming: deque[tuple[int, Future[Page]]] = deque()
        try:
            for skip in skips:
                if len(coming) == parallel_pages:
                    asked, page = coming.popleft()
                    yield check.take(asked, page.result())
                coming.append((skip, pool.submit(fetch, skip=skip, take=page_size, sort_key=sort_key)))
            while coming:
                asked, page = coming.popleft()
                yield check.take(asked, page.result())
        finally:
            for _, page in coming:
                page.cancel()
    # The first page was read before the first look at the newest change, so only itself can vouch for it.
    again = fetch(skip=0, take=page_size, sort_key=sort_key)
    if again.total_count != first.total_count or _flat(again.items) != _flat(first.items):
        raise PlanChangedError("the first page was another one after the last")
    newest_now = _newest_change(fetch, first.total_count)
    if newest_now != newest:
        raise PlanChangedError(f"the newest change went from {newest} to {newest_now} while the pages were read")


def _flat(items: Items) -> Items:
    """Return items without their lists, whose order nobody promises."""
    return [{name: value for name, value in item.items() if not isinstance(value, list)} for item in items]


def _newest_change(fetch: FetchPage, total: int) -> tuple[int, object]:
    """Return how many items there are and when the one changed last was changed, in one small request.

    Only the moment counts: several items may share it, and nothing says which of them then comes last.
    """
    page = fetch(skip=total - 1, take=1, sort_key="lastUpdated")
    return page.total_count, page.items[-1].get("lastUpdated") if page.items else None


class _FitCheck:
    """Looks at the pages of one read, in order; keeps nothing of them but the ids."""

    def __init__(self, total: int, page_size: int) -> None:
        self.total, self.page_size = total, page_size
        self.overlap = min(page_size - 1, 1)
        self.ids: set[str | int] = set()
        self.last: str | int | None = None

    def take(self, skip: int, page: Page) -> Page:
        """Return a page without the item that the one before it had too."""
        where = f"the page at {skip}"
        if page.total_count != self.total:
            raise PlanChangedError(f"totalCount went from {self.total} to {page.total_count} at {where}")
        expected = min(self.page_size, self.total - skip)
        if len(page.items) != expected:
            raise PlanChangedError(f"{where} of {self.total} has {len(page.items)} items instead of {expected}")
        ids = [item["id"] for item in page.items if isinstance(item.get("id"), (str, int)) and item["id"] != ""]
        if len(ids) != len(page.items):
            raise FaultyPageError(f"{where} has an item without an id")
        if len(set(ids)) != len(ids):
            raise FaultyPageError(f"{where} has {len(ids)} items but only {len(set(ids))} ids")
        items = page.items
        if skip and self.overlap:
            if ids[0] != self.last:
                raise PlanChangedError(f"{where} begins with item {ids[0]!r} instead of {self.last!r}")
            ids, items = ids[1:], items[1:]
        known = len(self.ids)
        self.ids.update(ids)
        twice = known + len(ids) - len(self.ids)
        if twice:
            raise PlanChangedError(f"{twice} ids came twice up to {where}, {len(self.ids)} of {self.total} items")
        self.last = ids[-1] if ids else None
        return Page(items, self.total)
