"""The end of a pipeline as a progress update of a plan item."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from copy import copy
from datetime import UTC, date, datetime
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseNotifier

from airflow_provider_achieveit.api.contract import BodyFormat, UpdateField, UpdateKind
from airflow_provider_achieveit.exceptions import AchieveItInvalidRowsError, typed_errors
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.operators.dates import run_moment

if TYPE_CHECKING:
    from decimal import Decimal

    import jinja2
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_achieveit.api.client import AchieveItClient
    from airflow_provider_achieveit.api.config import ClientConfig
    from airflow_provider_achieveit.updates.spool import Batch


class AchieveItProgressNotifier(BaseNotifier):
    """Tell AchieveIt how a pipeline ended: one progress update of one plan item.

    For ``on_success_callback``, ``on_failure_callback`` and the other callbacks of DAGs and tasks, and for deadline
    alerts (Airflow 3.1 and later), where it runs in the triggerer. The update is checked as the submit operators check
    their rows, queued, and not waited for: the log has its job id. Where it cannot be sent, Airflow logs why, and the
    run goes its way. See "Callbacks" and "Deadline Alerts" in Airflow's documentation, and "Submitting Progress
    Updates" in the help centre.

    :param external_id: the plan item. Templated.
    :param status: its status, such as ``On Track``. Templated.
    :param metric_value: a number, default none. Templated.
    :param as_of_date: the day of the update; default: as the submit operators take it from the run, today (UTC) where
        Airflow does not tell the run's dates. Templated.
    :param comment: default: names the DAG, the run, the task if it is the one that tells, and the state. Templated.
    :param achieveit_conn_id: id of the AchieveIt connection, default ``achieveit_default``. Templated.
    :param extra_statuses: statuses that only this tenant has, default none.
    :param kwargs: what Airflow itself gives a notifier (the ``context`` of a deadline alert).
    :raises ValueError: ``extra_statuses`` are no statuses.
    """

    template_fields: Sequence[str] = (
        "external_id",
        "status",
        "metric_value",
        "as_of_date",
        "comment",
        "achieveit_conn_id",
    )

    def __init__(
        self,
        *,
        external_id: str,
        status: str,
        metric_value: str | float | Decimal | None = None,
        as_of_date: str | date | datetime | None = None,
        comment: str | None = None,
        achieveit_conn_id: str = AchieveItHook.default_conn_name,
        extra_statuses: Collection[str] = (),
        **kwargs: Any,
    ) -> None:
        from airflow_provider_achieveit.updates.checks import check_status_options

        super().__init__(**kwargs)
        check_status_options(None, extra_statuses)
        self.external_id = external_id
        self.status = status
        self.metric_value = metric_value
        self.as_of_date = as_of_date
        self.comment = comment
        self.achieveit_conn_id = achieveit_conn_id
        self.extra_statuses = extra_statuses

    def __call__(self, *args: Any) -> None:
        """Render the templates and send the update."""
        # Rendering leaves no template behind, and one process may call the same notifier for several runs and tasks.
        super(AchieveItProgressNotifier, copy(self)).__call__(*args)

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        # Before 3.3 Airflow leaves a template as it is where nothing comes out of it, and that would be sent.
        for name in template_fields:
            template = getattr(parent, name)
            if callable(template):
                rendered = template(context=context, jinja_env=jinja_env)
            else:
                rendered = self.render_template(template, context, jinja_env, seen_oids)
            setattr(parent, name, rendered)

    def notify(self, context: Context) -> None:
        """Send the update (callbacks of DAGs and tasks).

        :param context: what Airflow tells of the run.
        :raises AchieveItInvalidRowsError: the update cannot be sent as it is; nothing was sent.
        :raises AchieveItUnsureSubmissionError: nobody can tell whether it is queued.
        :raises AchieveItError: another of the typed errors; it is not queued.
        """
        with AchieveItHook(self.achieveit_conn_id).get_conn() as client:
            self._send(client, context)

    async def async_notify(self, context: Context) -> None:
        """Send the update without blocking the event loop (deadline alerts).

        :param context: what Airflow tells of the run; it may be empty.
        :raises AchieveItError: as :meth:`notify`.
        """
        config = await AchieveItHook(self.achieveit_conn_id).get_async_config()
        # A thread of its own: in an outage it waits for minutes, and the event loop needs its few threads, for one to
        # look up the hosts of all other triggers.
        thread = ThreadPoolExecutor(1, thread_name_prefix="achieveit-notifier")
        try:
            send = partial(copy_context().run, self._connect_and_send, config, context)
            await asyncio.get_running_loop().run_in_executor(thread, send)
        finally:
            thread.shutdown(wait=False)

    def _connect_and_send(self, config: ClientConfig, context: Context) -> None:
        from airflow_provider_achieveit.api.client import AchieveItClient

        with AchieveItClient(config) as client:
            self._send(client, context)

    def _send(self, client: AchieveItClient, context: Context) -> None:
        from airflow_provider_achieveit.updates.filenames import batch_filename

        run = _Run(context)
        try:
            batch = self._checked(run)
        except ValueError as error:
            raise AchieveItInvalidRowsError(f"The update was not sent: {error}") from None
        filename = batch_filename(
            dag_id=run.dag_id or "airflow",
            task_id=run.task_id or "notifier",
            run_id=run.run_id or "no-run",
            map_index=-1,
            number=1,
            sha256=batch.sha256,
            body_format=BodyFormat.CSV,
        )
        with typed_errors():
            job_id = client.submit(UpdateKind.PROGRESS, filename, batch.body)
        self.log.info(
            "The update of plan item %s to %r is queued as job %s (%s)", self.external_id, self.status, job_id, filename
        )

    def _checked(self, run: _Run) -> Batch:
        from airflow_provider_achieveit.updates.single import single_update

        values = {
            UpdateField.EXTERNAL_ID: self.external_id,
            UpdateField.STATUS: self.status,
            UpdateField.METRIC_VALUE: self.metric_value,
            UpdateField.AS_OF_DATE: run.moment() if self.as_of_date is None else self.as_of_date,
            UpdateField.COMMENT: run.told() if self.comment is None else self.comment,
        }
        return single_update(values, extra_statuses=self.extra_statuses)


class _Run:
    """What a callback's context tells of its run: all of it, some, or nothing.

    :param context: of a task; of a DAG, which may have no more than ``dag``, ``run_id`` and ``reason``; of a deadline
        alert, which has ``deadline``, and the run as the REST API shows it; or an empty one.
    """

    def __init__(self, context: Mapping[str, Any]) -> None:
        run = context.get("dag_run")
        if isinstance(run, Mapping):
            # Its dates have the same names as those of a whole context.
            context = {**run, **context, "dag_run": (run := SimpleNamespace(**run))}
        self._context = context
        # Airflow gives the callbacks of a DAG the task that ended last, too.
        self._task = None if "reason" in context else context.get("ti")
        self.dag_id: str | None = getattr(context.get("dag"), "dag_id", None) or getattr(run, "dag_id", None)
        self.run_id: str | None = context.get("run_id") or getattr(run, "dag_run_id", None)
        self.task_id: str | None = getattr(self._task, "task_id", None)

    def moment(self) -> datetime:
        """Return the moment that the run stands for, the present where nothing tells it."""
        try:
            return run_moment(self._context)[0]
        except ValueError:
            return datetime.now(UTC)

    def told(self) -> str | None:
        """Return what there is to say of the run, None where nothing is known of it."""
        if self.dag_id is None:
            return None
        task = f", task {self.task_id}" if self.task_id else ""
        state = self._state()
        return f"Airflow: DAG {self.dag_id}, run {self.run_id}{task}{': ' if state else ''}{state}"

    def _state(self) -> str:
        if "deadline" in self._context:
            return f"deadline {self._context['deadline'].get('deadline_time')} missed"
        told = self._context.get("reason") if self._task is None else getattr(self._task, "state", None)
        state = str(getattr(told, "value", told) or "").replace("_", " ")
        # A task that was lost with its worker is "running" too.
        return "" if state == "running" else state
