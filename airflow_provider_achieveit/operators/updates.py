"""The operators that turn upstream rows into checked batches and submit them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow.providers.common.compat.sdk import AirflowException, AirflowSkipException, BaseOperator, conf

from airflow_provider_achieveit import metrics
from airflow_provider_achieveit.api.contract import BodyFormat, UpdateField, UpdateKind
from airflow_provider_achieveit.assets.events import add_outlet, emit_submitted, plan_asset
from airflow_provider_achieveit.assets.plan import api_host
from airflow_provider_achieveit.exceptions import (
    AchieveItInvalidRowsError,
    AchieveItJobTimeoutError,
    AchieveItUnavailableError,
    error_for,
    typed_errors,
)
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.lineage.operator import TellsLineage
from airflow_provider_achieveit.links import SUBMIT_LINKS, push_links
from airflow_provider_achieveit.operators.batches import named_batches, pack, unpack
from airflow_provider_achieveit.operators.choices import one_of, seconds
from airflow_provider_achieveit.operators.dates import date_for_all
from airflow_provider_achieveit.operators.inline_rows import InlineRows, hold_rows
from airflow_provider_achieveit.operators.rejected import check_rejects_path, refuse_rejects, tell_rejects
from airflow_provider_achieveit.operators.stores import open_store
from airflow_provider_achieveit.operators.summary import summarize
from airflow_provider_achieveit.retry_policy import DEFAULT_RETRY_POLICY, policy_argument
from airflow_provider_achieveit.triggers.job import AchieveItJobTrigger, read_event

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_achieveit.api.client import AchieveItClient
    from airflow_provider_achieveit.api.jobs import WaitOutcome
    from airflow_provider_achieveit.stores.records import SubmissionStore, SubmittedBatch
    from airflow_provider_achieveit.submission import Submission
    from airflow_provider_achieveit.updates.spool import Prepared

_DEFER_MARGIN = 60.0
_TOLD_JOBS = 20


class _SubmitUpdatesOperator(TellsLineage, BaseOperator):
    """Read rows, check every one, write them in batches, submit these, and wait until they are applied.

    Every row read ends in exactly one bucket: submitted, unchanged (applied before with the same content) or rejected
    with its reasons. All rows are checked before the first batch is sent. A retry finds what was sent before and waits
    for it instead of sending again (Airflow 3.3 and later, or with a ledger); docs/delivery.md tells every case. See
    "Submitting Progress Updates" and "Submitting Metric Updates" in AchieveIt's help centre.

    :param achieveit_conn_id: id of the AchieveIt connection, default ``achieveit_default``. Templated.
    :param sql: source (exactly one of ``sql``, ``path`` and ``rows``): a query, or a ``.sql`` file. Templated.
        Without ORDER BY its rows are batched by id and date; an ORDER BY should leave no ties, so that a retry makes
        the same batches and knows them.
    :param conn_id: connection the query runs on; any hook that is a ``DbApiHook``. Goes with ``sql``. Templated.
    :param parameters: bind parameters of the query, default none. Templated.
    :param path: source: a ``.csv``, ``.json``, ``.jsonl`` or ``.parquet`` file on any object store. Templated.
    :param path_conn_id: connection of that store, default none. Templated.
    :param rows: source: a list of dicts, a DataFrame, or the XCom of a task that returns one. Its values are never
        treated as templates.
    :param columns: which source column holds which field: ``external_id``, ``status`` (progress updates only),
        ``metric_value``, ``as_of_date``, ``comment``; default: columns of these names.
    :param as_of_date: one date for all rows where there is no such column; default: the end of the run's data
        interval, else its logical date, else the time the run may start after. Templated.
    :param timezone: where a source gives a moment, the calendar day in this zone is sent; default ``UTC``.
    :param status_map: the source's own words for statuses, such as ``{"G": "On Track"}``; default none.
    :param extra_statuses: statuses that only this tenant has, default none.
    :param format: ``csv`` (default) or ``json``.
    :param header: write a header row into CSV batches, default True.
    :param batch_size: rows in one batch, default 5000.
    :param on_invalid: what bad rows mean: ``fail`` (default; nothing at all is sent) or ``skip`` (the rest is sent).
    :param rejects_path: CSV file for all rejected rows: row number, column, value, reason; default none. Templated.
    :param on_duplicate: same external id and date twice: ``fail`` (default), or send the ``last`` or ``first`` one.
    :param on_empty: no rows at all: ``skip`` the task (default), ``fail`` or ``succeed``.
    :param artifact_path: directory in which the exact bytes of each batch are kept, default none. Templated.
    :param resubmit: a cleared task sends a batch again only ``if_changed`` or not yet applied (default), or ``always``.
    :param on_unsure: an answer got lost after a batch went out: ``fail`` (default) or ``resubmit``.
    :param durable: write down what was sent where retries find it, default True: in the ledger if ``ledger_conn_id`` is
        given, else in Airflow's task state store (3.3 and later).
    :param ledger_conn_id: connection of a SQL database (any hook that is a ``DbApiHook``) in which a table tells what
        was sent when and how it ended, default none. Templated.
    :param ledger_table: that table, ``schema.table`` if need be, default ``achieveit_submissions``; rejected rows go to
        ``<ledger_table>_rejects``. Both are made if they do not exist. Templated.
    :param wait_for_completion: wait until AchieveIt has applied the batches, default True.
    :param deferrable: wait in the triggerer; default: Airflow's ``[operators] default_deferrable``.
    :param poll_interval: time between two looks at a job, seconds or timedelta, default 10 s.
    :param wait_timeout: how long to wait for a batch that was sent, seconds or timedelta, default 1 h. The clock goes
        on while deferred and over retries; ``execution_timeout`` bounds a deferred wait too.
    :param plan_id: the plan that the updates belong to, for links, assets and lineage only: AchieveIt finds items by
        their external ids alone. Default: none of these name a plan. Templated.
    :param emit_asset: tell Airflow that the plan has changed, default False: an event of the asset
        ``achieveit://<host>/plans/<plan_id>`` as soon as rows are applied. Needs ``plan_id``; docs/assets.md.
    :param dry_run: do all but the POST, default False.
    :param retry_policy: default (Airflow 3.3 and later): fail at once what a retry cannot mend, and wait as long as
        AchieveIt asked to; None: Airflow's own way.
    :return: counts and the first 20 batches; the job ids are the XCom ``job_ids``.
    :raises ValueError: an argument that cannot be used (when the DAG is parsed).
    :raises AchieveItInvalidRowsError: rows cannot be sent as they are.
    :raises AchieveItUnsureSubmissionError: nobody can tell whether a batch is queued.
    :raises AchieveItJobRefusedError: AchieveIt refused the data of a batch.
    :raises AchieveItJobFailedError: AchieveIt's side failed.
    :raises AchieveItJobTimeoutError: a job had not ended in time.
    :raises AchieveItError: another of the typed errors.
    """

    kind: ClassVar[UpdateKind]
    template_fields: Sequence[str] = (
        "achieveit_conn_id",
        "sql",
        "conn_id",
        "parameters",
        "path",
        "path_conn_id",
        "rows",
        "as_of_date",
        "rejects_path",
        "artifact_path",
        "ledger_conn_id",
        "ledger_table",
        "plan_id",
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql", "parameters": "json"}
    ui_color = "#c8e6d0"
    operator_extra_links = SUBMIT_LINKS

    def __init__(
        self,
        *,
        achieveit_conn_id: str = AchieveItHook.default_conn_name,
        sql: str | None = None,
        conn_id: str | None = None,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        path: str | None = None,
        path_conn_id: str | None = None,
        rows: Any = None,
        columns: Mapping[str, str] | None = None,
        as_of_date: str | date | datetime | None = None,
        timezone: str = "UTC",
        status_map: Mapping[Any, str] | None = None,
        extra_statuses: Collection[str] = (),
        format: Literal["csv", "json"] = "csv",  # noqa: A002  (the fixed public name)
        header: bool = True,
        batch_size: int = 5000,
        on_invalid: Literal["fail", "skip"] = "fail",
        rejects_path: str | None = None,
        on_duplicate: Literal["fail", "last", "first"] = "fail",
        on_empty: Literal["skip", "fail", "succeed"] = "skip",
        artifact_path: str | None = None,
        resubmit: Literal["if_changed", "always"] = "if_changed",
        on_unsure: Literal["fail", "resubmit"] = "fail",
        durable: bool = True,
        ledger_conn_id: str | None = None,
        ledger_table: str = "achieveit_submissions",
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | timedelta = 10.0,
        wait_timeout: float | timedelta = 3600.0,
        plan_id: str | None = None,
        emit_asset: bool = False,
        dry_run: bool = False,
        retry_policy: Any = DEFAULT_RETRY_POLICY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs, **policy_argument(retry_policy))
        self.achieveit_conn_id = achieveit_conn_id
        self.sql = sql
        self.conn_id = conn_id
        self.parameters = parameters
        self.path = path
        self.path_conn_id = path_conn_id
        self.rows = rows
        self.columns = columns
        self.as_of_date = as_of_date
        self.timezone = timezone
        self.status_map = status_map
        self.extra_statuses = extra_statuses
        self.format = BodyFormat(one_of("format", format, ("csv", "json")))
        self.header = header
        self.batch_size = batch_size
        self.on_invalid = one_of("on_invalid", on_invalid, ("fail", "skip"))
        self.rejects_path = rejects_path
        self.on_duplicate = on_duplicate
        self.on_empty = one_of("on_empty", on_empty, ("skip", "fail", "succeed"))
        self.artifact_path = artifact_path
        self.resubmit = one_of("resubmit", resubmit, ("if_changed", "always"))
        self.on_unsure = one_of("on_unsure", on_unsure, ("fail", "resubmit"))
        self.durable = durable
        self.ledger_conn_id = ledger_conn_id
        self.ledger_table = ledger_table
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = seconds("poll_interval", poll_interval)
        self.wait_timeout = seconds("wait_timeout", wait_timeout)
        self.plan_id = plan_id
        self.emit_asset = emit_asset
        self.asset_alias = add_outlet(self) if emit_asset else None
        # BaseOperator has a method of the argument's own name.
        self.only_plan = dry_run
        self._submission: Submission | None = None
        self._check_arguments()

    # Rows are held by a wrapper: Airflow stores what template fields render to, and that must not be the data.
    @property
    def rows(self) -> Any:
        """The rows given, held so that Airflow shows their number only."""
        return self._rows

    @rows.setter
    def rows(self, value: Any) -> None:
        self._rows = hold_rows(value)

    def _check_arguments(self) -> None:
        from airflow_provider_achieveit.updates.checks import check_status_options
        from airflow_provider_achieveit.updates.columns import resolve_columns
        from airflow_provider_achieveit.updates.spool import check_batch_options

        given = [name for name in ("sql", "path", "rows") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"Give exactly one source: sql (with conn_id), path or rows; {' and '.join(given) or 'none'} was given"
            )
        if (self.sql is None) != (self.conn_id is None):
            raise ValueError("sql and conn_id go together: the query, and the connection it runs on")
        if self.ledger_conn_id is not None and not self.durable:
            raise ValueError("durable=False and ledger_conn_id exclude each other: nothing written down, or a ledger")
        if self.emit_asset and (self.plan_id is None or not self.wait_for_completion):
            raise ValueError(
                "emit_asset=True needs plan_id, the plan whose asset it tells of, and wait_for_completion=True: nobody "
                "else knows when the plan has changed"
            )
        fields = resolve_columns(self.columns, self.kind)
        if self.columns is not None and UpdateField.AS_OF_DATE in fields and self.as_of_date is not None:
            raise ValueError("as_of_date is given twice: as one date for all rows, and as a column in columns")
        check_status_options(self.status_map, self.extra_statuses)
        check_batch_options(self.batch_size, self.on_duplicate)
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"timezone {self.timezone!r} is not known; use a name such as 'Europe/Berlin'") from None

    def execute(self, context: Context) -> dict[str, Any]:
        """Do the whole work, or all up to the wait when deferrable."""
        return self._run(context, give_up_at=time.time() + self.wait_timeout)

    def _run(self, context: Context, *, give_up_at: float) -> dict[str, Any]:
        started = time.time()
        # A sensor behind this task finds its list however this task ends.
        context["ti"].xcom_push(key="job_ids", value=[])
        with ExitStack() as stack:
            # First of all, so that a connection that cannot be used is told before a long query has run.
            client = None if self.only_plan else stack.enter_context(AchieveItHook(self.achieveit_conn_id).get_conn())
            if client and self.emit_asset:
                # Checks the plan id before anything is sent.
                plan_asset(self.achieveit_conn_id, self.plan_id or "")
            check_rejects_path(self.rejects_path, self.path)
            server = api_host(client.config.base_url) if client else ""
            store = stack.enter_context(self._store(context, server))
            try:
                prepared = stack.enter_context(self._prepare(context))
            except (ValueError, TypeError) as error:
                # A column or a file that is not as it should be: no retry mends that.
                raise AchieveItInvalidRowsError(f"The source cannot be used, nothing was sent: {error}") from error
            except Exception as error:
                error.add_note("The source could not be read; nothing was sent")
                raise
            tell_rejects(prepared, path=self.rejects_path, store=store, log=self.log)
            if prepared.rows_read == 0:
                if client:
                    # An earlier try may have found rows, and their jobs may still run.
                    self._submit(client, store, prepared, [], context, give_up_at)
                return self._nothing_to_send(context)
            refuse_rejects(prepared, skip_invalid=self.on_invalid == "skip", path=self.rejects_path)
            named = named_batches(prepared, context["ti"], self.format, artifact_path=self.artifact_path)
            plan = [batch for batch, _ in named]
            self.log.info("Planned %d batch(es) of %d rows in all", len(plan), prepared.rows_valid)
            batches = self._submit(client, store, prepared, plan, context, give_up_at) if client else plan
            counts = {"rows_read": prepared.rows_read, "rows_rejected": prepared.rows_rejected}
        waiting = [batch for batch in batches if batch.job_id and not batch.unchanged]
        if not waiting or not self.wait_for_completion:
            return self._summary(context, counts, batches)

        deadline = self._deadline(started, waiting)
        # Past it, one look from here tells more than a trigger would, should a triggerer answer at all.
        deferring = self.deferrable and time.time() < deadline
        self.log.info(
            "Waiting for %d job(s) until %s, looking every %g s%s",
            len(waiting),
            datetime.fromtimestamp(deadline, UTC).isoformat(timespec="seconds"),
            self.poll_interval,
            ", in the triggerer" if deferring else "",
        )
        if deferring:
            self.defer(
                trigger=AchieveItJobTrigger(
                    job_ids=[batch.job_id for batch in waiting if batch.job_id],
                    kind=self.kind.value,
                    achieveit_conn_id=self.achieveit_conn_id,
                    deadline=deadline,
                    poll_interval=self.poll_interval,
                    payload={
                        "counts": counts,
                        "batches": pack(batches),
                        "server": server,
                        "try_number": context["ti"].try_number,
                    },
                ),
                method_name="execute_complete",
                # Holds even when no triggerer is running; a little later, so that the trigger can tell more.
                timeout=timedelta(seconds=max(deadline - time.time(), 0) + _DEFER_MARGIN),
            )
        return self._finish(context, self._wait(waiting, deadline), batches, counts, server)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Read the trigger's event: the same result as a synchronous wait, or a typed error."""
        outcome, payload = read_event(event)
        this_try = context["ti"].try_number
        if payload.get("try_number", this_try) != this_try and self._has_account(context):
            # Airflow 3.0 resumes a retry with the event of the try before, instead of executing it.
            return self._run(context, give_up_at=time.time() + self.wait_timeout)
        batches = unpack(payload["batches"])
        # That of the sending: the connection may have been changed meanwhile.
        return self._finish(context, outcome, batches, payload["counts"], payload["server"])

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; where no triggerer answered in time, find out from here what became of the jobs."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowException as error:
            # By its name: every version keeps this class in another place; Airflow 2.11 has none, only this text.
            if type(error).__name__ != "TaskDeferralTimeout" and str(error) != "Trigger/execution timeout":
                raise
        ti = context["ti"]
        job_ids = ti.xcom_pull(task_ids=ti.task_id, map_indexes=ti.map_index, key="job_ids") or []
        told = (
            f"No triggerer told in time how the jobs {', '.join(job_ids[:_TOLD_JOBS])} ended; AchieveIt may still "
            "apply them. Is a triggerer running?"
        )
        if self._has_account(context):
            # All is written down: the work goes on where it was and looks at the jobs once, as the time is up.
            self.log.warning(told)
            return self._run(context, give_up_at=time.time())
        raise AchieveItJobTimeoutError(told, job_id=job_ids[0] if job_ids else None)

    def _has_account(self, context: Context) -> bool:
        return bool(self.ledger_conn_id or (self.durable and "task_state_store" in context))

    def on_kill(self) -> None:
        """Send no further batch, and say what a killed task leaves behind: AchieveIt has no way to cancel a job."""
        if self._submission is None:
            return
        self._submission.stop()
        if batch := self._submission.sending:
            self.log.warning("Killed while batch %s was on its way: AchieveIt may have it", batch.filename)
        if job_ids := self._job_ids(self._submission.sent):
            self.log.warning("Killed; AchieveIt will still apply the jobs %s", ", ".join(job_ids[:_TOLD_JOBS]))

    def _prepare(self, context: Context) -> Prepared:
        """Read and check all rows."""
        from airflow_provider_achieveit.operators.sources import open_source
        from airflow_provider_achieveit.updates.record import Checker
        from airflow_provider_achieveit.updates.spool import prepare

        began = time.monotonic()
        self.log.info("Reading %s", f"the query on connection {self.conn_id}" if self.sql else self.path or "the rows")
        with open_source(
            sql=self.sql,
            conn_id=self.conn_id,
            parameters=self.parameters,
            path=self.path,
            path_conn_id=self.path_conn_id,
            rows=self.rows.value if isinstance(self.rows, InlineRows) else self.rows,
        ) as source:
            checker = Checker(
                kind=self.kind,
                columns=self.columns,
                status_map=self.status_map,
                extra_statuses=self.extra_statuses,
                as_of_date=date_for_all(
                    context, self.as_of_date, self.columns if self.columns is not None else source.columns, log=self.log
                ),
                date_is_default=self.as_of_date is None,
                timezone=self.timezone,
            )
            prepared = prepare(
                source,
                checker,
                kind=self.kind,
                body_format=self.format,
                header=self.header,
                batch_size=self.batch_size,
                on_duplicate=self.on_duplicate,
            )
        self.log.info(
            "Read %d rows from %s: %d to send, %d rejected (%.1f s)",
            prepared.rows_read,
            source.name,
            prepared.rows_valid,
            prepared.rows_rejected,
            seconds := time.monotonic() - began,
        )
        metrics.rows_checked(prepared, seconds, self.kind)
        return prepared

    def _nothing_to_send(self, context: Context) -> dict[str, Any]:
        if self.on_empty == "skip":
            raise AirflowSkipException("The source has no rows (on_empty='skip')")
        if self.on_empty == "fail":
            raise AchieveItInvalidRowsError(
                "The source has no rows, nothing was sent (on_empty='fail'). Is the query's window empty? Airflow 3's "
                "plain cron schedules give data_interval_start == data_interval_end"
            )
        return self._summary(context, {"rows_read": 0, "rows_rejected": 0}, [])

    def _submit(
        self,
        client: AchieveItClient,
        store: SubmissionStore,
        prepared: Prepared,
        plan: list[SubmittedBatch],
        context: Context,
        give_up_at: float,
    ) -> list[SubmittedBatch]:
        from airflow_provider_achieveit.submission import Submission

        self._submission = submission = Submission(
            client,
            kind=self.kind,
            store=store,
            generation=context["ti"].max_tries,
            resubmit_always=self.resubmit == "always",
            resubmit_unsure=self.on_unsure == "resubmit",
        )
        try:
            with typed_errors():
                submission.begin(plan, poll_interval=self.poll_interval, deadline=give_up_at)
                return submission.send_all(named_batches(prepared, context["ti"], self.format))
        finally:
            # Before the wait, and also when a later batch failed: what is queued must be known.
            context["ti"].xcom_push(key="job_ids", value=self._job_ids(submission.sent))
            push_links(self, context)
            metrics.batches_sent(submission, self.kind)

    @staticmethod
    def _job_ids(batches: list[SubmittedBatch]) -> list[str]:
        return [batch.job_id for batch in batches if batch.job_id and not batch.unchanged]

    def _store(self, context: Context, server: str) -> AbstractContextManager[SubmissionStore]:
        # A dry run is no submission: nothing of it is written down.
        durable = self.durable and not self.only_plan
        return open_store(
            context,
            kind=self.kind,
            achieveit_conn_id=self.achieveit_conn_id,
            server=server,
            durable=durable,
            ledger_conn_id=self.ledger_conn_id if durable else None,
            ledger_table=self.ledger_table,
            log=self.log,
        )

    def _deadline(self, started: float, waiting: list[SubmittedBatch]) -> float:
        """Return when to give up waiting: a retry goes on with the clock of the try that sent the batches."""
        sent = max(batch.sent_at for batch in waiting)
        limits = [sent + self.wait_timeout]
        if self.execution_timeout:
            limits.append(min(started, sent) + self.execution_timeout.total_seconds())
        return min(limits)

    def _wait(self, waiting: list[SubmittedBatch], deadline: float) -> WaitOutcome:
        from airflow_provider_achieveit.api.jobs import JobWait

        wait = JobWait(
            [batch.job_id for batch in waiting if batch.job_id],
            poll_interval=self.poll_interval,
            deadline=deadline,
            now=time.time(),
        )
        with typed_errors(), AchieveItHook(self.achieveit_conn_id).get_conn() as client:
            return client.wait_for_jobs(self.kind, wait)

    def _finish(
        self,
        context: Context,
        outcome: WaitOutcome,
        batches: list[SubmittedBatch],
        counts: dict[str, int],
        server: str,
    ) -> dict[str, Any]:
        from airflow_provider_achieveit.stores.records import BatchState
        from airflow_provider_achieveit.submission import settle

        with self._store(context, server) as store:
            settled = settle(store, batches, outcome, generation=context["ti"].max_tries)
        metrics.jobs_ended(outcome, self.kind, {batch.job_id: batch.sent_at for batch in settled})
        names = {batch.job_id: batch.filename for batch in settled if batch.job_id}
        if failure := outcome.combined_failure(names):
            raise error_for(failure)
        if untold := [batch.job_id for batch in settled if batch.job_id and batch.state is BatchState.QUEUED]:
            raise AchieveItUnavailableError(
                f"The wait ended and told nothing of the jobs {', '.join(untold[:_TOLD_JOBS])}; a retry asks for them",
                retryable=True,
            )
        took = time.time() - min(batch.sent_at for batch in settled if batch.job_id in outcome.results)
        self.log.info("All %d job(s) are applied, %.1f s after the first was sent", len(outcome.results), took)
        return self._summary(context, counts, settled)

    def _summary(self, context: Context, counts: Mapping[str, int], batches: list[SubmittedBatch]) -> dict[str, Any]:
        summary = summarize(self.kind, counts, batches, only_planned=self.only_plan)
        told = {name: value for name, value in summary.items() if name != "batches"}
        self.log.info("Result: %s", ", ".join(f"{name} {value}" for name, value in told.items()))
        if self.asset_alias and not self.only_plan:
            emit_submitted(self, context, self.asset_alias, summary, found=self._rows_found_applied())
        self.result = summary
        return summary

    def _rows_found_applied(self) -> int:
        return sum(batch.rows for batch in self._submission.found_applied) if self._submission else 0

    def lineage(self, result: dict[str, Any] | None) -> OperatorLineage[Any, Any]:
        """Return the lineage of this task (OpenLineage)."""
        from airflow_provider_achieveit.lineage.submit import submit_lineage

        return submit_lineage(
            kind=self.kind,
            achieveit_conn_id=self.achieveit_conn_id,
            plan_id=self.plan_id,
            sql=self.sql,
            conn_id=self.conn_id,
            has_parameters=bool(self.parameters),
            path=self.path,
            result=result,
        )


class AchieveItSubmitProgressUpdatesOperator(_SubmitUpdatesOperator):
    """Submit progress updates: status, metric value, date and comment of plan items."""

    kind = UpdateKind.PROGRESS
    __doc__ = f"{__doc__}\n{(_SubmitUpdatesOperator.__doc__ or '').partition(chr(10))[2]}"


class AchieveItSubmitMetricUpdatesOperator(_SubmitUpdatesOperator):
    """Submit metric updates: metric value, date and comment of plan items; they have no status."""

    kind = UpdateKind.METRIC
    __doc__ = f"{__doc__}\n{(_SubmitUpdatesOperator.__doc__ or '').partition(chr(10))[2]}"
