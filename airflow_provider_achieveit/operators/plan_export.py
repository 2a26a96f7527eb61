"""What all operators share that bring a plan out of AchieveIt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_achieveit.api.contract import MAX_TAKE
from airflow_provider_achieveit.api.paging import PlanRead, check_paging
from airflow_provider_achieveit.assets.events import add_outlet, emit_exported
from airflow_provider_achieveit.exceptions import AchieveItLoadRefusedError
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.lineage.operator import TellsLineage
from airflow_provider_achieveit.links import EXPORT_LINKS
from airflow_provider_achieveit.operators.choices import one_of
from airflow_provider_achieveit.operators.past_runs import PAST_RUNS, refuse_past_run
from airflow_provider_achieveit.operators.plan_reading import PlanReader, PlanSink
from airflow_provider_achieveit.retry_policy import DEFAULT_RETRY_POLICY, policy_argument

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class PlanExportOperator(TellsLineage, BaseOperator):
    """Reads a plan as it is now; where to, its subclasses say.

    :param plan_id: the plan (templated): Options menu of its root item, "Copy Plan ID". ``.expand(plan_id=[...])`` maps
        one task over many plans.
    :param achieveit_conn_id: Airflow connection of AchieveIt (templated), default ``achieveit_default``.
    :param page_size: items in one request, 1 to 1500 (default 1500, the API's limit).
    :param sort_key: the API's sort key for paging, default ``sequenceId``.
    :param parallel_pages: pages requested at the same time, default 4; so many pages are held in memory at most.
    :param max_reads: how often to read the plan if it changes between its pages, default 3.
    :param unescape_html: turn ``&amp;`` and the like in names back into characters, default True; descriptions and
        comments stay as they are.
    :param past_runs: a run of the past (a later one of its schedule is due already: backfills, catching up, a cleared
        old run; or a manual one for a day long gone) would give today's state an old date. ``skip`` (default): the task
        is skipped; ``fail``: it fails; ``run``: it loads the present all the same.
    :param emit_asset: tell Airflow that the table or file has changed, default False: an event of its asset, with the
        counts; docs/assets.md.
    :param retry_policy: default (Airflow 3.3 and later): fail at once what a retry cannot mend, and wait as long as
        AchieveIt asked to; None: Airflow's own way.
    """

    ui_color = "#e3f1e9"
    operator_extra_links = EXPORT_LINKS
    texts: Sequence[str] = ("plan_id", "achieveit_conn_id")
    """The templated arguments that must not be empty."""

    def __init__(
        self,
        *,
        plan_id: str,
        achieveit_conn_id: str = AchieveItHook.default_conn_name,
        page_size: int = MAX_TAKE,
        sort_key: str = "sequenceId",
        parallel_pages: int = 4,
        max_reads: int = 3,
        unescape_html: bool = True,
        past_runs: str = "skip",
        emit_asset: bool = False,
        retry_policy: Any = DEFAULT_RETRY_POLICY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs, **policy_argument(retry_policy))
        check_paging(page_size=page_size, sort_key=sort_key, parallel_pages=parallel_pages, max_reads=max_reads)
        self.plan_id = plan_id
        self.achieveit_conn_id = achieveit_conn_id
        self.page_size = page_size
        self.sort_key = sort_key
        self.parallel_pages = parallel_pages
        self.max_reads = max_reads
        self.unescape_html = unescape_html
        self.past_runs = one_of("past_runs", past_runs, PAST_RUNS)
        self.asset_alias = add_outlet(self) if emit_asset else None

    def check_rendered(self) -> None:
        """Look at what templates gave, before anything is sent."""
        for name in self.texts:
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise AchieveItLoadRefusedError(f"{name} must be a text that is not empty, not {value!r}")
            if "\x00" in value:
                raise AchieveItLoadRefusedError(f"{name} {value!r} has a null character in it")

    def is_past(self, context: Context) -> bool:
        """Tell whether this run is one of the past that loads the present all the same; else refuse one."""
        return refuse_past_run(context, self.past_runs, log=self.log)

    def read_into(self, sink: PlanSink) -> tuple[PlanRead, datetime]:
        """Read the plan until its pages fit together; return what it took, and when the read that fitted began."""
        reader = PlanReader(
            self.plan_id,
            page_size=self.page_size,
            sort_key=self.sort_key,
            parallel_pages=self.parallel_pages,
            max_reads=self.max_reads,
            log=self.log,
        )
        return reader.read_into(sink, AchieveItHook(self.achieveit_conn_id))

    def done(self, context: Context, summary: dict[str, Any], target: str | None) -> dict[str, Any]:
        """Return the summary; with ``emit_asset``, tell of the table or file at this address first."""
        if self.asset_alias:
            emit_exported(self, context, self.asset_alias, summary, target)
        self.result = summary
        return summary
