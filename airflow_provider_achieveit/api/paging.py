"""Reading a whole plan through offset pages that may drift.

"Exporting Plan Items" promises nothing about consistency between pages: an item that is added, removed or moved while
somebody pages can be missed or come twice. So a read of several pages is believed only if everything fits: every page
is as long as it must be and tells the same ``totalCount``, no id comes twice, neighbouring pages share one item (an
item deleted here and one added there shift the pages without changing any count), the first page and the newest change
of the plan are the same before and after. A plan of one page is one answer, which cannot drift.

Which requests may run side by side follows from what they prove. Whoever adds, moves or changes an item makes its
``lastUpdated`` newer than all others; deleting makes the plan smaller. So if two looks tell the same newest change and
the same count, and so does every page read between them, nothing happened in between, and those pages are of one state.

- The first look may run beside the first page, but must be over before any other page is asked for.
- The last look must not be asked for before the last page is there.
- Whether the first page was read before or after the first look, nobody knows: it is read again at the end and must be
  the same. That may run beside the last look. For suppose that something happened before the first look or after the
  last one, and the first page is the same nevertheless. Then all its items stood in their order all the time, for none
  is newer and none is deleted; so only items that came and went between them could make it wrong, and those would have
  pushed its last item on, with which the second page begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

from airflow_provider_achieveit.api.contract import MAX_TAKE, SORT_KEYS, Page
from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind
from airflow_provider_achieveit.api.nearest import nearest

Items = list[dict[str, Any]]


class FetchPage(Protocol):
    """Gets one page of one plan; called from several threads at once."""

    def __call__(self, *, skip: int, take: int, sort_key: str, descending: bool = False) -> Page:
        """Return ``take`` items after the first ``skip``, or raise :class:`~.failure.ApiError`."""
        ...


class FetchPlanPage(Protocol):
    """Whoever gets pages of any plan: :class:`.client.AchieveItClient`."""

    def fetch_plan_page(self, plan_id: str, *, skip: int, take: int, sort_key: str, descending: bool = False) -> Page:
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
    client: FetchPlanPage,
    plan_id: str,
    *,
    page_size: int = MAX_TAKE,
    sort_key: str = "sequenceId",
    parallel_pages: int = 4,
) -> Iterator[Page]:
    """Yield the pages of one read of a plan; what was yielded is worth nothing if it ends in an error.

    :param client: gets the pages.
    :param plan_id: the plan.
    :param page_size: items in one page (default 1500, the most AchieveIt gives).
    :param sort_key: the order in which AchieveIt counts (default ``sequenceId``).
    :param parallel_pages: pages asked for at the same time, and held in memory at most (default 4).
    :raises ApiError: a page could not be read, or (inconsistent export, worth a retry) the pages do not fit together.
    :raises ValueError: a setting that no read can use.
    """
    check_paging(page_size=page_size, sort_key=sort_key, parallel_pages=parallel_pages, max_reads=1)
    fetch = partial(client.fetch_plan_page, plan_id)
    try:
        yield from read_pages(fetch, page_size=page_size, sort_key=sort_key, parallel_pages=parallel_pages)
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
    pool = ThreadPoolExecutor(max_workers=parallel_pages, thread_name_prefix="achieveit-page")
    get = partial(fetch, take=page_size, sort_key=sort_key)
    coming: deque[tuple[int, Future[Page]]] = deque()
    skips: deque[int] = deque()

    def ask_until(most: int) -> None:
        while skips and len(coming) < most:
            coming.append((skips[0], pool.submit(get, skip=skips.popleft())))

    try:
        asked = pool.submit(get, skip=0)
        # A plan of one page needs no look, but only that page can tell.
        early_look = pool.submit(_newest_change, fetch) if parallel_pages > 1 else None
        first = asked.result()
        check = _FitCheck(first.total_count, page_size)
        fitting, print_of_first = check.take(0, first), _print(first)
        skips.extend(range(page_size - check.overlap, check.total - check.overlap, page_size - check.overlap))
        if not skips:
            yield fitting
            return
        before = (early_look or pool.submit(_newest_change, fetch)).result()
        check.count(before.items, "the first look at the newest change")
        del asked, first
        while True:
            ask_until(parallel_pages - 1)
            if not coming and not skips:
                again = pool.submit(lambda: _print(get(skip=0)))
                look = pool.submit(_newest_change, fetch)
            yield fitting
            ask_until(parallel_pages)
            if not coming:
                break
            skip, page = coming.popleft()
            fitting = check.take(skip, page.result())
        if again.result() != print_of_first:
            raise PlanChangedError("the first page was another one after the last")
        after = look.result()
        check.count(after.items, "the last look at the newest change")
        if after.moment != before.moment:
            raise PlanChangedError(
                f"the newest change went from {before.moment} to {after.moment} while the pages were read"
            )
    finally:
        pool.shutdown(cancel_futures=True)


class _NewestChange(NamedTuple):
    """How many items there are, and when the one changed last was changed, as the API tells it."""

    items: int
    moment: object


def _newest_change(fetch: FetchPage) -> _NewestChange:
    """Look at the item that was changed last; others may share its moment, so only that counts."""
    page = fetch(skip=0, take=1, sort_key="lastUpdated", descending=True)
    return _NewestChange(page.total_count, page.items[0].get("lastUpdated") if page.items else None)


def _print(page: Page) -> bytes:
    """Return a fingerprint of a page, without the lists in its items, whose order nobody promises."""
    told = [sorted((name, value) for name, value in item.items() if not isinstance(value, list)) for item in page.items]
    return blake2b(ascii((page.total_count, told)).encode()).digest()


class _FitCheck:
    """Looks at the pages of one read, in order; keeps nothing of them but hashes of the ids.

    Two ids with one hash (64 bits, other ones in each process) would refuse a read, never let a wrong one pass.
    """

    def __init__(self, total: int, page_size: int) -> None:
        self.total, self.page_size = total, page_size
        self.overlap = min(page_size - 1, 1)
        self.ids: set[int] = set()
        self.last: str | None = None

    def count(self, total: int, where: str) -> None:
        """Check the server's count of the items."""
        if total != self.total:
            raise PlanChangedError(f"totalCount went from {self.total} to {total} at {where}")

    def take(self, skip: int, page: Page) -> Page:
        """Return a page without the item that the one before it had too."""
        where = f"the page at {skip}"
        self.count(page.total_count, where)
        expected = min(self.page_size, self.total - skip)
        if len(page.items) != expected:
            raise PlanChangedError(f"{where} of {self.total} has {len(page.items)} items instead of {expected}")
        # As text, for that is what they are in a warehouse: 1 and "1" would be one key.
        ids = [str(item["id"]) for item in page.items if isinstance(item.get("id"), (str, int)) and item["id"] != ""]
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
        self.ids.update(map(hash, ids))
        twice = known + len(ids) - len(self.ids)
        if twice:
            raise PlanChangedError(f"{twice} ids came twice up to {where}, {len(self.ids)} of {self.total} items")
        self.last = ids[-1] if ids else None
        return Page(items, self.total)
