"""Reading a whole plan, page by page, into whatever takes its items."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_achieveit import metrics
from airflow_provider_achieveit.api.pace import Pace
from airflow_provider_achieveit.api.paging import PlanRead, read_plan
from airflow_provider_achieveit.api.progress import report
from airflow_provider_achieveit.exceptions import typed_errors

if TYPE_CHECKING:
    from airflow_provider_achieveit.api.client import AchieveItClient
    from airflow_provider_achieveit.api.contract import Page
    from airflow_provider_achieveit.hooks.achieveit import AchieveItHook

_COLLECT_AFTER = 100_000
"""So many objects more than at the last collection: a few pages of them."""


class PlanSink(Protocol):
    """Takes the items of a plan: a database's staging tables, or a file."""

    def begin(self, extracted_at: datetime) -> None:
        """Forget all that was taken; a read begins at this moment."""
        ...

    def add(self, items: list[dict[str, Any]]) -> None:
        """Take the items of one page."""
        ...


class PlanReader:
    """Reads a plan until its pages fit together; tells the log how it goes.

    :param plan_id: the plan.
    :param page_size: items in one request, 1 to 1500.
    :param sort_key: the API's sort key for paging.
    :param parallel_pages: pages requested at the same time, and held in memory at most.
    :param max_reads: how often to read the plan if it changes between its pages.
    :param log: the task's logger.
    """

    def __init__(
        self, plan_id: str, *, page_size: int, sort_key: str, parallel_pages: int, max_reads: int, log: Any
    ) -> None:
        self.plan_id, self.log = plan_id, log
        self.paging: dict[str, Any] = {
            "page_size": page_size,
            "sort_key": sort_key,
            "parallel_pages": parallel_pages,
            "max_reads": max_reads,
        }
        self.extracted_at = datetime.now(UTC)
        self.pages = self.items = self.total = 0
        self.pace = Pace()

    def read_into(self, sink: PlanSink, hook: AchieveItHook) -> tuple[PlanRead, datetime]:
        """Read the plan; return what it took, and when the read that the sink holds began.

        :param sink: takes each page as it comes, in the plan's order.
        :param hook: where to read from.
        :raises AchieveItInconsistentExportError: the plan kept changing while it was read.
        :raises AchieveItError: another of the typed errors.
        """
        self.log.info("Reading plan %s, %d items a page", self.plan_id, self.paging["page_size"])
        self._begin(sink)
        with typed_errors(), hook.get_conn() as client, _rare_collections():
            read = read_plan(
                partial(self._fetch, client),
                plan_id=self.plan_id,
                on_page=partial(self._add, sink),
                on_restart=partial(self._restart, sink),
                **self.paging,
            )
        self.log.info(
            "Read plan %s in %.1f s: %d items on %d page(s), read %d time(s)",
            self.plan_id,
            self.pace.seconds,
            read.items,
            read.pages,
            read.reads,
        )
        metrics.plan_read(read, self.pace.seconds)
        return read, self.extracted_at

    def _fetch(self, client: AchieveItClient, **asked: Any) -> Page:
        page = client.fetch_plan_page(self.plan_id, **asked)
        self.total = page.total_count
        return page

    def _begin(self, sink: PlanSink) -> None:
        self.pages, self.items, self.extracted_at = 0, 0, datetime.now(UTC)
        sink.begin(self.extracted_at)

    def _add(self, sink: PlanSink, items: list[dict[str, Any]]) -> None:
        sink.add(items)
        self.pages, self.items = self.pages + 1, self.items + len(items)
        report("items read", self.items, self.total)
        if self.pages == 1 and self.items < self.total:
            self.log.info("The plan has %d items; the first page took %.1f s", self.total, self.pace.seconds)
        elif self.pace.due():
            self.log.info("Read %d of %d items so far (%.0f s)", self.items, self.total, self.pace.seconds)

    def _restart(self, sink: PlanSink, reason: str) -> None:
        self.log.warning(
            "What was read of plan %s does not fit together: %s. Its %d page(s) are dropped (%.1f s)",
            self.plan_id,
            reason,
            self.pages,
            self.pace.seconds,
        )
        self._begin(sink)


def looks_the_same(hook: AchieveItHook, plan_id: str, *, items: int, newest_change: str | None) -> bool:
    """Tell by one small request whether a plan has as many items, and the same newest change, as it had.

    :param hook: where to ask.
    :param plan_id: the plan.
    :param items: how many items it had.
    :param newest_change: the greatest ``lastUpdated`` among them, as the API told it.
    :raises AchieveItError: one of the typed errors.
    """
    with typed_errors(), hook.get_conn() as client:
        page = client.fetch_plan_page(plan_id, skip=0, take=1, sort_key="lastUpdated", descending=True)
    newest = page.items[0].get("lastUpdated") if page.items else None
    # Items that tell no moment can change unseen; none can in a plan without items.
    return page.total_count == items and newest == newest_change and (newest is not None or not items)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let the garbage collector look only when there is something to find.

    A page is tens of thousands of objects, none in a cycle, all gone with it. By default the collector would look at
    them, and now and then at all of Airflow, every few hundred objects: a third of the time a read takes.
    """
    usual = gc.get_threshold()
    gc.set_threshold(_COLLECT_AFTER, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
