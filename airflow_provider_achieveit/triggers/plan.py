"""The event trigger that tells when a plan has changed: a DAG starts by an AssetWatcher (Airflow 3)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException
from airflow.providers.common.compat.triggers import BaseEventTrigger
from airflow.triggers.base import TriggerEvent

from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind
from airflow_provider_achieveit.api.http import LONGEST_PAUSE
from airflow_provider_achieveit.assets.cursor import Cursor
from airflow_provider_achieveit.operators.choices import seconds

log = logging.getLogger(__name__)

_STATE = ("items", "newest_change")
"""What tells that a plan has changed."""
_TILL_STORED = 5.0
"""Seconds that Airflow may need to write down an event that was fired."""


class AchieveItPlanChangedTrigger(BaseEventTrigger):
    """Fire an event each time a plan has changed; for an ``AssetWatcher`` of Airflow 3, it never ends.

    A look is one small request: how many items the plan has, and the newest ``lastUpdated`` among them. The plan has
    changed when either differs from the last look. The very first look only takes note. All watchers of one plan,
    connection and interval share one poll (Airflow 3.3 and later), and what was seen last is kept in the asset state
    store: a restart tells no change twice, and a change while the triggerer was down is told then. Before 3.3 what was
    seen is in memory only. In an outage it goes on asking, ever more seldom; where a person has to mend something
    (key, rights, plan id, connection), it says so once and asks every five minutes.

    The event's payload: ``plan_id``, ``items``, ``newest_change`` (AchieveIt's ``lastUpdated``), ``seen_at`` (ISO 8601,
    UTC) and ``uri`` (of the plan's asset). No key is kept: each look reads the connection.

    Rests on "Exporting Plan Items" of the AchieveIt help centre and "Event-driven scheduling" of Airflow.

    :param plan_id: the plan: Options menu of its root item, "Copy Plan ID".
    :param achieveit_conn_id: id of the connection, default ``achieveit_default``.
    :param poll_interval: time between two looks, seconds or timedelta, default 60 s.
    :raises ValueError: the plan id is empty, or the interval is none.
    """

    def __init__(
        self,
        *,
        plan_id: str,
        achieveit_conn_id: str = "achieveit_default",
        poll_interval: float | timedelta = 60.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if not isinstance(plan_id, str) or not plan_id.strip():
            raise ValueError(f"plan_id must be a text that is not empty, not {plan_id!r}")
        self.plan_id = plan_id
        self.achieveit_conn_id = achieveit_conn_id
        self.poll_interval = seconds("poll_interval", poll_interval)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments to make the trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "plan_id": self.plan_id,
                "achieveit_conn_id": self.achieveit_conn_id,
                "poll_interval": self.poll_interval,
            },
        )

    def shared_stream_key(self) -> Hashable:
        """Return what triggers have in common that share one poll."""
        return ("achieveit-plan", self.achieveit_conn_id, self.plan_id, self.poll_interval)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Look at the plan again and again, and give what was seen, as the payload of an event.

        :param kwargs: the arguments of one of the triggers that share the poll.
        """
        trigger = cls(**kwargs)
        pause, trouble = trigger.poll_interval, ""
        while True:
            seen = await trigger._look()
            if not isinstance(seen, Failure):
                if trouble:
                    log.info("Plan %s can be read again", trigger.plan_id)
                pause, trouble = trigger.poll_interval, ""
                yield seen
                await asyncio.sleep(pause)
                continue
            if seen.message != trouble:
                trouble = seen.message
                log.log(logging.WARNING if seen.retryable else logging.ERROR, "Watching a plan: %s", trouble)
            slowest = max(LONGEST_PAUSE, trigger.poll_interval)
            pause = min(2 * pause, slowest) if seen.retryable else slowest
            await asyncio.sleep(max(pause, seen.retry_after or 0.0))

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[dict[str, Any]]
    ) -> AsyncGenerator[TriggerEvent, None]:
        """Fire for what differs from what was seen last.

        :param shared_stream: what :meth:`open_shared_stream` gives.
        """
        cursor = Cursor(getattr(self, "asset_state_store", None), f"achieveit/{self.achieveit_conn_id}/{self.plan_id}")
        async for seen in shared_stream:
            try:
                last = await cursor.get()
            except Exception as error:
                # Not taken for a first look, which would tell nothing.
                log.warning("Watching plan %s: the asset state store does not answer: %s", self.plan_id, error)
                continue
            if last is not None:
                if all(last[name] == seen[name] for name in _STATE):
                    continue
                yield TriggerEvent(seen)
                # Not before Airflow has the event: killed in between, it tells a change twice rather than never.
                await asyncio.sleep(_TILL_STORED)
            await cursor.set(seen)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll for this trigger alone, where Airflow cannot share a poll."""
        async for event in self.filter_shared_stream(type(self).open_shared_stream(self.serialize()[1])):
            yield event

    async def _look(self) -> dict[str, Any] | Failure:
        """Return what is seen of the plan now, or why nothing is."""
        from airflow_provider_achieveit.assets.plan import api_host, plan_uri
        from airflow_provider_achieveit.hooks.achieveit import AchieveItHook

        try:
            # The connection is read each time: somebody may have mended it.
            async with AchieveItHook(self.achieveit_conn_id).get_async_conn() as client:
                page = await client.plan_page(self.plan_id, skip=0, take=1, sort_key="lastUpdated", descending=True)
        except ApiError as error:
            return error.failure
        except AirflowException as error:
            # No such connection, or one whose settings cannot be used.
            return Failure(FailureKind.REQUEST, str(error))
        except Exception as error:
            # A watcher that ends is started again at once, so none does.
            return Failure(FailureKind.UNAVAILABLE, f"{type(error).__name__}: {error}", retryable=True)
        return {
            "plan_id": self.plan_id,
            "items": page.total_count,
            "newest_change": page.items[0].get("lastUpdated") if page.items else None,
            "seen_at": datetime.now(UTC).isoformat(),
            "uri": plan_uri(api_host(client.config.base_url), self.plan_id),
        }
