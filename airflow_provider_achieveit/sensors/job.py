"""The sensor that waits for jobs somebody else submitted."""

from __future__ import annotations

import time
from ast import literal_eval
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseSensorOperator, conf

from airflow_provider_achieveit import metrics
from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.exceptions import AchieveItRequestError, error_for
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.retry_policy import DEFAULT_RETRY_POLICY, policy_argument
from airflow_provider_achieveit.triggers.job import AchieveItJobTrigger, read_event

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_CONFIRM_PAUSE = 10.0


class AchieveItJobSensor(BaseSensorOperator):
    """Wait until AchieveIt has applied one or more jobs.

    A refused job (400) fails the sensor at once, a failed one (500) when AchieveIt says so three times in a row;
    ``soft_fail`` and ``timeout`` mean what they mean for every sensor. See "Checking on Status of Data Processing" in
    the help centre.

    :param job_id: a job id or a list of them, such as the ``job_ids`` XCom of a submit operator. An empty list (nothing
        had to be sent) succeeds at once. Templated.
    :param kind: ``progress`` (default) or ``metric``.
    :param achieveit_conn_id: id of the connection, default ``achieveit_default``. Templated.
    :param deferrable: wait in the triggerer; default: Airflow's ``[operators] default_deferrable``.
    :param retry_policy: default (Airflow 3.3 and later): fail at once what a retry cannot mend, and wait as long as
        AchieveIt asked to; None: Airflow's own way.
    :param kwargs: those of every sensor: ``poke_interval`` (time between two looks, default 60 s), ``timeout``
        (default: Airflow's ``[sensors] default_timeout``, seven days), ``mode``, ``soft_fail`` and so on.
    :raises ValueError: ``kind`` is neither (when the DAG is parsed).
    :raises AchieveItJobRefusedError: AchieveIt refused the data of a job.
    :raises AchieveItJobFailedError: AchieveIt's side failed.
    :raises AchieveItJobTimeoutError: the time was up while deferred; else it ends as every sensor does.
    :raises AchieveItRequestError: ``job_id`` holds no job id.
    """

    template_fields: Sequence[str] = ("job_id", "achieveit_conn_id")
    ui_color = "#dff1f4"

    def __init__(
        self,
        *,
        job_id: Any,
        kind: str = UpdateKind.PROGRESS.value,
        achieveit_conn_id: str = AchieveItHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        retry_policy: Any = DEFAULT_RETRY_POLICY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs, **policy_argument(retry_policy))
        self.job_id = job_id
        self.kind = UpdateKind(kind).value
        self.achieveit_conn_id = achieveit_conn_id
        self.deferrable = deferrable
        self._applied: set[str] = set()

    def execute(self, context: Context) -> None:
        """Wait here, or in the triggerer when deferrable."""
        job_ids = self._job_ids()
        if not job_ids:
            self.log.info("There is no job to wait for: nothing was sent")
            return
        if not self.deferrable:
            super().execute(context)
            return
        # Airflow does not see to execution_timeout while a task is deferred.
        limits = [self.timeout] + ([self.execution_timeout.total_seconds()] if self.execution_timeout else [])
        self.log.info("Waiting for %d job(s) in the triggerer, %.0f s at most", len(job_ids), min(limits))
        self.defer(
            trigger=AchieveItJobTrigger(
                job_ids=job_ids,
                kind=self.kind,
                achieveit_conn_id=self.achieveit_conn_id,
                deadline=time.time() + min(limits),
                poll_interval=self.poke_interval,
            ),
            method_name="execute_complete",
            # Holds even when no triggerer is running; a little later, so that the trigger can tell more.
            timeout=timedelta(seconds=min(limits) + 60),
        )

    def poke(self, context: Context) -> bool:
        """Look once at every job; ask again where one says it failed, as a single 500 may be a passing fault."""
        from airflow_provider_achieveit.api.jobs import JobWait

        now = time.time()
        pause = min(self.poke_interval, _CONFIRM_PAUSE)
        # What was seen applied is not asked about again: AchieveIt promises nothing about how long it knows a job.
        job_ids = [job_id for job_id in self._job_ids() if job_id not in self._applied]
        wait = JobWait(job_ids, poll_interval=pause, deadline=now + self.timeout, now=self._started(context))
        with AchieveItHook(self.achieveit_conn_id).get_conn() as client:
            outcome = client.look_at_jobs(UpdateKind(self.kind), wait)
        failure = outcome.combined_failure()
        # A rescheduled sensor asks about all jobs each time; they count once.
        if failure or not wait.pending or not self.reschedule:
            metrics.jobs_ended(outcome, UpdateKind(self.kind))
        if failure:
            raise error_for(failure)
        self._applied.update(outcome.results)
        if wait.pending:
            self.log.info("%d job(s) are applied, not yet %s", len(self._applied), wait.told_pending())
        else:
            self.log.info("All %d job(s) are applied", len(self._applied))
        return not wait.pending

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """Read the trigger's event: all jobs applied, or a typed error."""
        outcome, _ = read_event(event)
        metrics.jobs_ended(outcome, UpdateKind(self.kind))
        if failure := outcome.combined_failure():
            raise error_for(failure)
        self.log.info("All %d job(s) are applied", len(outcome.results))

    def _job_ids(self) -> list[str]:
        if self.job_id is None or self.job_id == "":
            raise AchieveItRequestError(
                f"Task {self.task_id}: job_id is empty. Did the upstream task push job_ids? (It is skipped or waits "
                "itself when it has nothing to hand over.)"
            )
        job_ids = list(_flattened(self.job_id))
        for job_id in job_ids:
            if not isinstance(job_id, str) or not job_id.strip() or any(char in job_id for char in "[]{}'\" \n"):
                raise AchieveItRequestError(
                    f"Task {self.task_id}: job_id holds {job_id!r}, which is no job id. Give an id, a list of ids, or "
                    "the job_ids of a submit task, such as push.output['job_ids']"
                )
        return job_ids

    def _started(self, context: Context) -> float:
        """Return when this wait began: for mode ``reschedule`` every look is another process."""
        # Airflow 2.11 does not tell it: there a job nobody knows ends with the sensor's timeout.
        told = getattr(context["ti"], "get_first_reschedule_date", None)
        if self.reschedule and told and (first := told(context)):
            return float(first.timestamp())
        if not hasattr(self, "_first_look"):
            self._first_look = time.time()
        return self._first_look


def _flattened(job_id: Any) -> Iterator[Any]:
    """Yield the ids of one id, of lists of them (a mapped task pushes one list each), and of the text of a list."""
    if isinstance(job_id, str) and job_id.strip().startswith("["):
        # What a template makes of a list.
        with suppress(ValueError, SyntaxError):
            job_id = literal_eval(job_id.strip())
    if isinstance(job_id, str) or not isinstance(job_id, Iterable):
        yield job_id
        return
    for entry in job_id:
        yield from _flattened(entry)
