"""The trigger that waits for jobs without a worker."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind
from airflow_provider_achieveit.api.jobs import JobWait, WaitOutcome
from airflow_provider_achieveit.exceptions import AchieveItUnavailableError

log = logging.getLogger(__name__)
"""Not the trigger's own, which would be objects more for each of thousands of waits (see api/polling.py)."""


class AchieveItJobTrigger(BaseTrigger):
    """Wait until jobs have ended or the deadline is there, then fire one event.

    One trigger waits for all jobs of a task, on an HTTP session it shares with the other waits of the triggerer. It
    keeps no key: it looks the connection up when it runs. The event is
    ``{"outcome": <WaitOutcome as JSON>, "payload": <payload>}``; errors come inside it, as data, so that the worker can
    raise them typed.

    :param job_ids: the jobs.
    :param kind: ``progress`` (default) or ``metric``.
    :param achieveit_conn_id: id of the connection, default ``achieveit_default``.
    :param deadline: when to give up, in seconds since the epoch.
    :param poll_interval: seconds between two looks at a job, default 10.
    :param payload: JSON value handed through to the event, default none (``dag.test()`` drops the arguments of
        ``defer``).
    """

    def __init__(
        self,
        *,
        job_ids: Sequence[str],
        kind: str = UpdateKind.PROGRESS.value,
        achieveit_conn_id: str = "achieveit_default",
        deadline: float,
        poll_interval: float = 10.0,
        payload: Any = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.job_ids = list(job_ids)
        self.kind = UpdateKind(kind).value
        self.achieveit_conn_id = achieveit_conn_id
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.payload = payload

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments to make the trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "job_ids": self.job_ids,
                "kind": self.kind,
                "achieveit_conn_id": self.achieveit_conn_id,
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
                "payload": self.payload,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, fire one event, and end."""
        outcome = await self._wait()
        yield TriggerEvent({"outcome": outcome.to_json(), "payload": self.payload})
        # A trigger that yields and does not return is cancelled like one that a user killed.
        return

    async def _wait(self) -> WaitOutcome:
        from airflow_provider_achieveit.api.aio import AsyncAchieveItClient
        from airflow_provider_achieveit.hooks.achieveit import AchieveItHook

        wait = JobWait(self.job_ids, poll_interval=self.poll_interval, deadline=self.deadline, now=time.time())
        try:
            # Not the hook's get_async_conn: the hook and its generator would stay as long as the wait.
            config = await AchieveItHook(self.achieveit_conn_id).get_async_config()
            async with AsyncAchieveItClient(config) as client:
                # The worker has said what is waited for, Airflow says that the trigger starts, and a triggerer has
                # little room for the lines of thousands of waits.
                log.debug("Waiting for %d job(s): %s", len(wait.pending), wait.told_pending())
                return await client.wait_for_jobs(UpdateKind(self.kind), wait)
        except ApiError as error:
            return WaitOutcome({}, error.failure)
        except AirflowException as error:
            # No such connection, or one whose settings cannot be used: no waiting mends it.
            return WaitOutcome({}, Failure(FailureKind.REQUEST, str(error)))

    async def on_kill(self) -> None:
        """Say what a killed task leaves behind (Airflow 3.3 and later): AchieveIt has no way to cancel a job."""
        log.warning("Killed while waiting for jobs %s: AchieveIt will still apply them", ", ".join(self.job_ids[:20]))


def read_event(event: Any) -> tuple[WaitOutcome, Any]:
    """Return what the event of an :class:`AchieveItJobTrigger` tells: how the wait ended, and the payload.

    :param event: what ``execute_complete`` was given.
    :raises AchieveItUnavailableError: it is none of ours; the wait has to be done again.
    """
    if not isinstance(event, dict) or "outcome" not in event:
        raise AchieveItUnavailableError(
            f"The task was resumed without an event of its trigger, with {event!r}: how the jobs ended is not known",
            retryable=True,
        )
    return WaitOutcome.from_json(event["outcome"]), event.get("payload")
