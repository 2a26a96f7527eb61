"""Operators that bring a plan out of AchieveIt."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_achieveit.api.contract import MAX_TAKE
from airflow_provider_achieveit.api.paging import PlanRead, check_paging, read_plan
from airflow_provider_achieveit.exceptions import AchieveItLoadRefusedError, typed_errors
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.operators.choices import one_of
from airflow_provider_achieveit.operators.databases import database_hook
from airflow_provider_achieveit.retry_policy import DEFAULT_RETRY_POLICY, policy_argument
from airflow_provider_achieveit.warehouse.errors import WarehouseError
from airflow_provider_achieveit.warehouse.model import Nested

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from sqlalchemy.engine import Engine

    from airflow_provider_achieveit.warehouse.load import PlanLoad

_MODES = ("replace",)
_PROGRESS_PAGES = 10
"""A line in the log after so many pages."""


class AchieveItExportPlanOperator(BaseOperator):
    """Load a plan's items, as they are now, into tables of a database.

    The tables: ``<table>`` with the items, and ``<table>_members``, ``_admins``, ``_tags``, ``_metric_goals``,
    ``_checklists`` and ``_checklist_items``; they are made if they do not exist. Several plans share them (key:
    ``plan_id``, ``id``). The load is one transaction: readers see the plan as it was or as it is, never half of it.
    What no column can hold as it came is in the JSON column ``extra``. ``_extracted_at`` tells when the state was read.

    Rests on "Exporting Plan Items" of the AchieveIt help centre.

    :param plan_id: the plan (templated): Options menu of its root item, "Copy Plan ID". ``.expand(plan_id=[...])`` maps
        one task over many plans.
    :param conn_id: Airflow connection of the warehouse (templated): SQLite or PostgreSQL, or any other with a
        ``DbApiHook`` that SQLAlchemy knows.
    :param achieveit_conn_id: Airflow connection of AchieveIt (templated), default ``achieveit_default``.
    :param schema: schema of the tables (templated), default: that of the connection. It must exist.
    :param table: name of the items' table (templated), default ``plan_items``; the others' names begin with it.
    :param mode: ``replace`` (default): the tables mirror the plan; rows of items that are gone go too.
    :param nested: the lists in an item go to child ``tables`` (default), to ``json`` columns, or nowhere (``drop``).
    :param page_size: items in one request, 1 to 1500 (default 1500, the API's limit).
    :param sort_key: the API's sort key for paging, default ``sequenceId``.
    :param parallel_pages: pages requested at the same time, default 4; so many pages are held in memory at most.
    :param max_reads: how often to read the plan if it changes between its pages, default 3.
    :param max_delete_ratio: refuse a load in which more than this share of the plan's items would vanish, 0 to 1,
        default 0.5; 1 allows everything.
    :param unescape_html: turn ``&amp;`` and the like in names back into characters, default True; descriptions and
        comments stay as they are.
    :param retry_policy: default (Airflow 3.3 and later): fail at once what a retry cannot mend, and wait as long as
        AchieveIt asked to; None: Airflow's own way.
    :return: (``execute``) ``plan_id``, ``items``, ``pages``, ``reads``, ``table``, ``mode``, ``inserted``, ``updated``,
        ``deleted`` (items; updated: those that differ in anything) and ``extracted_at`` (ISO 8601, UTC).
    :raises ValueError: a setting that cannot be used (when the DAG is parsed).
    :raises AchieveItForbiddenError: this key's user may not see the plan.
    :raises AchieveItInconsistentExportError: the plan kept changing while it was read; the warehouse is untouched.
    :raises AchieveItLoadRefusedError: the tables cannot take the rows, a state that was read later is there already, or
        too many items would vanish; the warehouse is untouched.
    """

    template_fields: Sequence[str] = ("plan_id", "conn_id", "achieveit_conn_id", "schema", "table")
    ui_color = "#e3f1e9"

    def __init__(
        self,
        *,
        plan_id: str,
        conn_id: str,
        achieveit_conn_id: str = AchieveItHook.default_conn_name,
        schema: str | None = None,
        table: str = "plan_items",
        mode: str = "replace",
        nested: str = "tables",
        page_size: int = MAX_TAKE,
        sort_key: str = "sequenceId",
        parallel_pages: int = 4,
        max_reads: int = 3,
        max_delete_ratio: float = 0.5,
        unescape_html: bool = True,
        retry_policy: Any = DEFAULT_RETRY_POLICY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs, **policy_argument(retry_policy))
        one_of("mode", mode, _MODES)
        one_of("nested", nested, [choice.value for choice in Nested])
        check_paging(page_size=page_size, sort_key=sort_key, parallel_pages=parallel_pages, max_reads=max_reads)
        is_number = isinstance(max_delete_ratio, int | float) and not isinstance(max_delete_ratio, bool)
        if not is_number or not 0 <= max_delete_ratio <= 1:
            raise ValueError(f"max_delete_ratio must be a number from 0 to 1, not {max_delete_ratio!r}")
        self.plan_id = plan_id
        self.conn_id = conn_id
        self.achieveit_conn_id = achieveit_conn_id
        self.schema = schema
        self.table = table
        self.mode = mode
        self.nested = nested
        self.page_size = page_size
        self.sort_key = sort_key
        self.parallel_pages = parallel_pages
        self.max_reads = max_reads
        self.max_delete_ratio = max_delete_ratio
        self.unescape_html = unescape_html

    def execute(self, context: Context) -> dict[str, Any]:
        """Read the plan, stage it beside the tables, and put it in place; return the summary (see the class)."""
        from airflow_provider_achieveit.warehouse.load import plan_load

        self._check_rendered()
        schema = self.schema or None
        full_name = f"{schema}.{self.table}" if schema else self.table
        try:
            engine: Engine = database_hook(self.conn_id).get_sqlalchemy_engine()
            with plan_load(engine, table=self.table, schema=schema, nested=Nested(self.nested)) as load:
                read, extracted_at = self._stage(load)
                started = time.monotonic()
                changed = load.replace(self.plan_id, extracted_at=extracted_at, max_delete_ratio=self.max_delete_ratio)
        except WarehouseError as refused:
            raise AchieveItLoadRefusedError(str(refused)) from None
        self.log.info(
            "Loaded plan %s into %s in %.1f s: %d items inserted, %d updated, %d deleted",
            self.plan_id,
            full_name,
            time.monotonic() - started,
            changed.inserted,
            changed.updated,
            changed.deleted,
        )
        return {
            "plan_id": self.plan_id,
            "items": read.items,
            "pages": read.pages,
            "reads": read.reads,
            "table": full_name,
            "mode": self.mode,
            "inserted": changed.inserted,
            "updated": changed.updated,
            "deleted": changed.deleted,
            "extracted_at": extracted_at.isoformat(),
        }

    def _check_rendered(self) -> None:
        """Look at what templates gave, before anything is sent."""
        for name in ("plan_id", "conn_id", "achieveit_conn_id", "table"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise AchieveItLoadRefusedError(f"{name} must be a text that is not empty, not {value!r}")
            if "\x00" in value:
                raise AchieveItLoadRefusedError(f"{name} {value!r} has a null character in it")
        if "." in self.table:
            raise AchieveItLoadRefusedError(
                f"table {self.table!r} has a dot in it; give the part before it as 'schema'"
            )

    def _stage(self, load: PlanLoad) -> tuple[PlanRead, datetime]:
        """Read the plan until its pages fit together, each page into the staging tables as it comes."""
        started = time.monotonic()
        staging = _Staging(self, load)
        with typed_errors(), AchieveItHook(self.achieveit_conn_id).get_conn() as client:
            read = read_plan(
                partial(client.fetch_plan_page, self.plan_id),
                plan_id=self.plan_id,
                on_page=staging.add,
                on_restart=staging.restart,
                page_size=self.page_size,
                sort_key=self.sort_key,
                parallel_pages=self.parallel_pages,
                max_reads=self.max_reads,
            )
        self.log.info(
            "Read plan %s in %.1f s: %d items on %d pages, read %d time(s)",
            self.plan_id,
            time.monotonic() - started,
            read.items,
            read.pages,
            read.reads,
        )
        return read, staging.extracted_at


class _Staging:
    """Takes the pages of a plan, and forgets them when they did not fit together."""

    def __init__(self, operator: AchieveItExportPlanOperator, load: PlanLoad) -> None:
        self.operator, self.load = operator, load
        self._begin()

    def _begin(self) -> None:
        from airflow_provider_achieveit.warehouse.rows import RowMaker

        self.pages, self.items, self.extracted_at = 0, 0, datetime.now(UTC)
        self.maker = RowMaker(
            self.operator.plan_id,
            self.extracted_at,
            nested=Nested(self.operator.nested),
            unescape_html=self.operator.unescape_html,
            null_bytes=self.load.null_bytes,
        )

    def add(self, page: list[dict[str, Any]]) -> None:
        self.load.write(self.maker.rows(page))
        self.pages, self.items = self.pages + 1, self.items + len(page)
        if self.pages % _PROGRESS_PAGES == 0:
            self.operator.log.info("Read %d items so far", self.items)

    def restart(self, reason: str) -> None:
        self.operator.log.warning(
            "What was read of plan %s does not fit together: %s. Its pages are dropped.", self.operator.plan_id, reason
        )
        self.load.clear()
        self._begin()
