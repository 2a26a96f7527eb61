"""Operators that bring a plan out of AchieveIt."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_achieveit import metrics
from airflow_provider_achieveit.api.paging import PlanRead
from airflow_provider_achieveit.assets.targets import file_uri, table_uri
from airflow_provider_achieveit.exceptions import AchieveItLoadRefusedError
from airflow_provider_achieveit.files.formats import FileFormat, format_by_name
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.links import push_links
from airflow_provider_achieveit.operators.choices import one_of
from airflow_provider_achieveit.operators.databases import database_hook
from airflow_provider_achieveit.operators.past_runs import snapshot_day
from airflow_provider_achieveit.operators.plan_export import PlanExportOperator
from airflow_provider_achieveit.operators.plan_reading import looks_the_same
from airflow_provider_achieveit.warehouse.errors import WarehouseError
from airflow_provider_achieveit.warehouse.model import Mode, Nested, plan_tables

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage
    from sqlalchemy.engine import Engine

    from airflow_provider_achieveit.warehouse.compare import Changes
    from airflow_provider_achieveit.warehouse.loads import LastLoad


class AchieveItExportPlanOperator(PlanExportOperator):
    """Load a plan's items, as they are now, into tables of a database.

    The tables: ``<table>`` with the items, and ``<table>_members``, ``_admins``, ``_tags``, ``_metric_goals``,
    ``_checklists`` and ``_checklist_items``; they are made if they do not exist. Several plans share them (key:
    ``plan_id``, ``id``). The load is one transaction: readers see the plan as it was or as it is, never half of it.
    What no column can hold as it came is in the JSON column ``extra``. ``_extracted_at`` tells when the state was read.

    Rests on "Exporting Plan Items" of the AchieveIt help centre.

    The arguments that concern the reading are those of :class:`.plan_export.PlanExportOperator`: ``plan_id``,
    ``achieveit_conn_id``, ``page_size``, ``sort_key``, ``parallel_pages``, ``max_reads``, ``unescape_html``,
    ``past_runs``, ``emit_asset`` and ``retry_policy``.

    :param conn_id: Airflow connection of the warehouse (templated): PostgreSQL, SQLite, MariaDB, MySQL or DuckDB;
        docs/export.md tells of others with a ``DbApiHook``.
    :param schema: schema of the tables (templated), default: that of the connection. It must exist.
    :param table: name of the items' table (templated), default ``plan_items``; the others' names begin with it.
    :param mode: ``replace`` (default): the tables mirror the plan; rows of items that are gone go too. ``merge``: rows
        that differ are brought up to date; items that are gone stay, with the moment in ``_deleted_at``. ``snapshot``:
        one state a day, told by ``_snapshot_date``. ``scd2``: every state a row has had, from ``_valid_from`` until
        ``_valid_to`` (NULL: current). A table stays with the mode it was made with.
    :param nested: the lists in an item go to child ``tables`` (default), to ``json`` columns, or nowhere (``drop``).
    :param max_delete_ratio: refuse a load in which more than this share of the plan's items would vanish, 0 to 1,
        default 0.5; 1 allows everything.
    :param snapshot_date: the day that a snapshot stands for (templated), such as ``{{ ds }}``: a text ``YYYY-MM-DD`` or
        a date; default: the day of the read in UTC. With mode ``snapshot`` only.
    :param skip_unchanged: end at once where one small request tells that the plan has as many items and the same newest
        change as at the last load, default False. It cannot see changes that leave both as they are.
    :return: (``execute``) ``plan_id``, ``items``, ``pages``, ``reads``, ``table``, ``mode``, ``inserted``, ``updated``,
        ``deleted`` (items; updated: those that differ in anything) and ``extracted_at`` (ISO 8601, UTC); and
        ``unchanged``, True, where the plan was not read because of ``skip_unchanged``.
    :raises ValueError: a setting that cannot be used (when the DAG is parsed).
    :raises AchieveItForbiddenError: this key's user may not see the plan.
    :raises AchieveItInconsistentExportError: the plan kept changing while it was read; the warehouse is untouched.
    :raises AchieveItLoadRefusedError: the tables cannot take the rows, a state that was read later is there already, or
        too many items would vanish; the warehouse is untouched.
    """

    template_fields: Sequence[str] = ("plan_id", "conn_id", "achieveit_conn_id", "schema", "table", "snapshot_date")
    texts = ("plan_id", "conn_id", "achieveit_conn_id", "table")

    def __init__(
        self,
        *,
        conn_id: str,
        schema: str | None = None,
        table: str = "plan_items",
        mode: str = "replace",
        nested: str = "tables",
        max_delete_ratio: float = 0.5,
        snapshot_date: str | date | None = None,
        skip_unchanged: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        one_of("mode", mode, [choice.value for choice in Mode])
        one_of("nested", nested, [choice.value for choice in Nested])
        is_number = isinstance(max_delete_ratio, int | float) and not isinstance(max_delete_ratio, bool)
        if not is_number or not 0 <= max_delete_ratio <= 1:
            raise ValueError(f"max_delete_ratio must be a number from 0 to 1, not {max_delete_ratio!r}")
        if snapshot_date is not None and mode != Mode.SNAPSHOT:
            raise ValueError(f"snapshot_date goes with mode='snapshot', not with mode={mode!r}")
        self.conn_id = conn_id
        self.schema = schema
        self.table = table
        self.mode = mode
        self.nested = nested
        self.max_delete_ratio = max_delete_ratio
        self.snapshot_date = snapshot_date
        self.skip_unchanged = skip_unchanged

    def execute(self, context: Context) -> dict[str, Any]:
        """Read the plan, stage it beside the tables, and put it in place; return the summary (see the class)."""
        from airflow_provider_achieveit.warehouse.compare import Changes
        from airflow_provider_achieveit.warehouse.load import PlanStaging, plan_load

        self.check_rendered()
        push_links(self, context)
        day = self._snapshot_day(past=self.is_past(context))
        # What shapes the rows and is not seen in the tables.
        settings = f"nested={self.nested} unescape_html={bool(self.unescape_html)}"
        try:
            engine: Engine = database_hook(self.conn_id).get_sqlalchemy_engine()
            nested, mode = Nested(self.nested), Mode(self.mode)
            with plan_load(engine, table=self.table, schema=self.schema or None, nested=nested, mode=mode) as load:
                if self.skip_unchanged:
                    last = load.last(self.plan_id, day or datetime.now(UTC).date())
                    if last and last.settings == settings and self._is_unchanged(last):
                        nothing = PlanRead(last.items, 0, 0), Changes(last.items, 0, 0, 0)
                        # The database tells moments in its session's zone.
                        summary = self._summary(*nothing, last.extracted_at.astimezone(UTC)) | {"unchanged": True}
                        return self.done(context, summary, table_uri(engine, self.schema, self.table))
                staging = PlanStaging(load, self.plan_id, nested=nested, unescape_html=self.unescape_html)
                read, extracted_at = self.read_into(staging)
                label = day or extracted_at.date()
                self.log.info("Loading %d items into %s (mode %s)", read.items, self._full_name, self.mode)
                started = time.monotonic()
                changed = load.apply(
                    self.plan_id,
                    extracted_at=extracted_at,
                    max_delete_ratio=self.max_delete_ratio,
                    snapshot_date=label,
                    newest_change=staging.newest_change,
                    settings=settings,
                )
        except WarehouseError as refused:
            raise AchieveItLoadRefusedError(str(refused)) from None
        self.log.info(
            "Loaded plan %s into %s%s in %.1f s: %d items inserted, %d updated, %d deleted",
            self.plan_id,
            self._full_name,
            f" as the snapshot of {label}" if mode is Mode.SNAPSHOT else "",
            seconds := time.monotonic() - started,
            changed.inserted,
            changed.updated,
            changed.deleted,
        )
        metrics.plan_loaded(changed, seconds, self.mode)
        summary = self._summary(read, changed, extracted_at)
        return self.done(context, summary, table_uri(engine, self.schema, self.table))

    def _snapshot_day(self, *, past: bool) -> date | None:
        """Return the day that the snapshot is to be labelled with; None: that of the read."""
        day = snapshot_day(self.snapshot_date, datetime.now(UTC))
        if past and day:
            self.log.warning("The snapshot is labelled with the day it is read, not with snapshot_date %s", day)
            return None
        return day

    def _is_unchanged(self, last: LastLoad) -> bool:
        """Tell whether the plan looks as it did at the last load, and say so."""
        same = looks_the_same(
            AchieveItHook(self.achieveit_conn_id), self.plan_id, items=last.items, newest_change=last.newest_change
        )
        if same:
            self.log.info(
                "Plan %s has %d items and its newest change at %s, as when it was read at %s: nothing was read or "
                "written (skip_unchanged)",
                self.plan_id,
                last.items,
                last.newest_change,
                last.extracted_at,
            )
        return same

    @property
    def _full_name(self) -> str:
        return f"{self.schema}.{self.table}" if self.schema else self.table

    def _summary(self, read: PlanRead, changed: Changes, extracted_at: datetime) -> dict[str, Any]:
        return {
            "plan_id": self.plan_id,
            "items": read.items,
            "pages": read.pages,
            "reads": read.reads,
            "table": self._full_name,
            "mode": self.mode,
            "inserted": changed.inserted,
            "updated": changed.updated,
            "deleted": changed.deleted,
            "extracted_at": extracted_at.isoformat(),
        }

    def check_rendered(self) -> None:
        """Look at what templates gave, before anything is sent."""
        super().check_rendered()
        if "." in self.table:
            raise AchieveItLoadRefusedError(
                f"table {self.table!r} has a dot in it; give the part before it as 'schema'"
            )

    def lineage(self, result: dict[str, Any] | None) -> OperatorLineage[Any, Any]:
        """Return the lineage of this task (OpenLineage)."""
        from airflow_provider_achieveit.lineage.export import table_lineage

        return table_lineage(
            achieveit_conn_id=self.achieveit_conn_id,
            plan_id=self.plan_id,
            conn_id=self.conn_id,
            schema=self.schema,
            tables=[f"{self.table}{table.suffix}" for table in plan_tables(Nested(self.nested))],
            result=result,
        )


class AchieveItExportPlanToFileOperator(PlanExportOperator):
    """Write a plan's items, as they are now, into one file, here or in any object store.

    The file is written in private, and only when the pages of the plan fit together is it brought beside its place
    and moved there: readers see the old file whole, or the new one whole. Formats:

    - ``parquet`` (extra ``parquet``): the columns of the warehouse's ``<table>``, typed; lists are lists of structs.
    - ``jsonl``: the API's items as they came, one a line.
    - ``csv``: the same columns as Parquet as text (RFC 4180, UTF-8, with a header), lists as JSON; text is quoted, so
      that ``""`` is empty text and nothing is NULL.

    The arguments that concern the reading are those of :class:`.plan_export.PlanExportOperator`: ``plan_id``,
    ``achieveit_conn_id``, ``page_size``, ``sort_key``, ``parallel_pages``, ``max_reads``, ``unescape_html`` (not for
    ``jsonl``), ``past_runs``, ``emit_asset`` and ``retry_policy``.

    Rests on "Exporting Plan Items" of the AchieveIt help centre.

    :param path: the file (templated), such as ``s3://lake/plans/{{ ds }}.parquet``: any that Airflow's
        ``ObjectStoragePath`` knows. What is there is replaced. Directories are made on this machine only.
    :param path_conn_id: Airflow connection of the store (templated), default: none.
    :param format: ``parquet``, ``jsonl`` or ``csv``; default: by the extension (``.parquet``, ``.jsonl``, ``.ndjson``,
        ``.csv``).
    :return: (``execute``) ``plan_id``, ``items``, ``pages``, ``reads``, ``path``, ``format``, ``bytes`` and
        ``extracted_at`` (ISO 8601, UTC).
    :raises ValueError: a setting that cannot be used (when the DAG is parsed).
    :raises AchieveItForbiddenError: this key's user may not see the plan.
    :raises AchieveItInconsistentExportError: the plan kept changing while it was read; the file is as it was.
    :raises AchieveItLoadRefusedError: the file cannot be written there, or not in this format; it is as it was.
    """

    template_fields: Sequence[str] = ("plan_id", "path", "path_conn_id", "achieveit_conn_id")
    texts = ("plan_id", "path", "achieveit_conn_id")

    def __init__(
        self,
        *,
        path: str,
        path_conn_id: str | None = None,
        format: str | None = None,  # noqa: A002 - as the submit operators call it
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if format is not None:
            one_of("format", format, [choice.value for choice in FileFormat])
        self.path = path
        self.path_conn_id = path_conn_id
        self.format = format

    def execute(self, context: Context) -> dict[str, Any]:
        """Read the plan into a private file, and put it in place; return the summary (see the class)."""
        from airflow_provider_achieveit.files.place import PlaceRefusedError
        from airflow_provider_achieveit.files.plan_file import PlanFile
        from airflow_provider_achieveit.operators.places import place_of

        self.check_rendered()
        push_links(self, context)
        self.is_past(context)
        with _refused_by(PlaceRefusedError, ImportError, ValueError):
            file_format = FileFormat(self.format) if self.format else format_by_name(self.path)
            place = place_of(self.path, self.path_conn_id)
            place.prepare()
            file = PlanFile(file_format, self.plan_id, unescape_html=self.unescape_html)
        with file:
            read, extracted_at = self.read_into(file)
            started = time.monotonic()
            with _refused_by(PlaceRefusedError):
                size = file.put(place)
        self.log.info(
            "Wrote plan %s into %s in %.1f s: %d items, %d bytes",
            self.plan_id,
            self.path,
            time.monotonic() - started,
            read.items,
            size,
        )
        summary = {
            "plan_id": self.plan_id,
            "items": read.items,
            "pages": read.pages,
            "reads": read.reads,
            "path": self.path,
            "format": file_format.value,
            "bytes": size,
            "extracted_at": extracted_at.isoformat(),
        }
        return self.done(context, summary, file_uri(self.path))

    def check_rendered(self) -> None:
        """Look at what templates gave, before anything is sent."""
        super().check_rendered()
        if self.path.endswith("/"):
            raise AchieveItLoadRefusedError(f"path {self.path!r} is a directory; add the name of the file")

    def lineage(self, result: dict[str, Any] | None) -> OperatorLineage[Any, Any]:
        """Return the lineage of this task (OpenLineage)."""
        from airflow_provider_achieveit.lineage.export import file_lineage

        return file_lineage(
            achieveit_conn_id=self.achieveit_conn_id, plan_id=self.plan_id, path=self.path, result=result
        )


@contextmanager
def _refused_by(*errors: type[Exception]) -> Iterator[None]:
    """Tell what a retry would meet again."""
    try:
        yield
    except errors as error:
        raise AchieveItLoadRefusedError(str(error)) from error
