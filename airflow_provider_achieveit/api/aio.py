"""The asynchronous carrier of the contract, on aiohttp (triggerer). It only asks; it never sends a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

import aiohttp

from airflow_provider_achieveit.api import contract
from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.api.contract import JobStatus, Page, UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, unreachable
from airflow_provider_achieveit.api.http import SLOWEST_ANSWER
from airflow_provider_achieveit.api.jobs import JobWait, WaitOutcome
from airflow_provider_achieveit.api.polling import JobPoller, ask_job_status
from airflow_provider_achieveit.api.session import AsyncSession, tls_context

_MAX_PAGE_BYTES = 16 * 1024 * 1024
"""A triggerer reads pages of a few items only."""


class AsyncAchieveItClient:
    """Asks for job states and small pages; an asynchronous context manager.

    All clients of one event loop with the same settings have one HTTP session in common: a triggerer holds thousands of
    waits, and a session each would be thousands of sockets. The last client that is left closes it.

    A waiting client is made of few objects, and so is all that calls it: Python's garbage collection, which stops the
    event loop, goes through all of thousands of waits.

    :param config: where and how to call.
    """

    __slots__ = ("_shared", "config")
    _shared: _Shared

    def __init__(self, config: ClientConfig) -> None:
        self.config = config

    async def __aenter__(self) -> Self:
        """Join the session of the others, or open one.

        :raises ApiError: the CA certificates that the settings name cannot be used.
        """
        sessions = _sessions.setdefault(asyncio.get_running_loop(), _Sessions())
        async with sessions.lock:
            shared = sessions.by_config.get(self.config)
            if shared is None:
                # Reading the CA files takes milliseconds of disk: not in the event loop.
                session = AsyncSession(self.config, await asyncio.to_thread(tls_context, self.config.verify))
                shared = sessions.by_config[self.config] = _Shared(session, JobPoller(session))
            shared.users += 1
        self._shared = shared
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave the session; the last one closes it."""
        self._shared.users -= 1
        if self._shared.users == 0:
            # No await between the count and the removal: nobody can have joined meanwhile.
            del _sessions[asyncio.get_running_loop()].by_config[self.config]
            try:
                await self._shared.poller.close()
            finally:
                await self._shared.session.close()

    async def job_status(self, kind: UpdateKind, job_id: str, patience: float | None = None) -> JobStatus:
        """Ask once for a job's state.

        :param kind: progress or metric updates.
        :param job_id: the job.
        :param patience: seconds until the whole answer must be there (default: no limit but the timeout for silence).
            Who had to wait for a connection has a second left in any case.
        :raises ApiError: no answer, or one that says nothing about the job.
        """
        async with self._shared.session.connection(patience) as patience:
            return await ask_job_status(self._shared.session, kind, job_id, patience)

    async def plan_page(self, plan_id: str, *, skip: int, take: int, sort_key: str, descending: bool = False) -> Page:
        """Ask once for a page of a plan's items; no more than 16 MB of it are read.

        :param plan_id: the plan.
        :param skip: items to leave out at the start.
        :param take: items wanted.
        :param sort_key: one of :data:`.contract.SORT_KEYS`.
        :param descending: turn the order round (default: no).
        :raises ApiError: not reachable, not allowed, or no readable page.
        """
        for legacy in (False, True):
            request = contract.plan_page_request(
                plan_id, skip=skip, take=take, sort_key=sort_key, descending=descending, legacy=legacy
            )
            try:
                url = f"{self.config.url(request.path)}?{urlencode(request.params)}"
                async with self._shared.session.connection(self.config.timeout * SLOWEST_ANSWER) as patience:
                    response = await self._shared.session.get(url, patience, _MAX_PAGE_BYTES)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise ApiError(unreachable(f"export of plan {plan_id}", self.config.base_url, error)) from None
            # Older tenants have the same answer under another address; an unknown plan is 404 at both.
            if response.status != 404:
                break
        return contract.read_page(response, plan_id)

    def wait_for_jobs(self, kind: UpdateKind, wait: JobWait) -> Coroutine[Any, Any, WaitOutcome]:
        """Ask about the jobs of a wait, round by round, until it is over.

        :param kind: progress or metric updates.
        :param wait: the jobs, and how to ask about them.
        :return: to be awaited.
        """
        return self._shared.poller.outcome(kind, wait)


@dataclass
class _Shared:
    session: AsyncSession
    poller: JobPoller
    users: int = 0


@dataclass
class _Sessions:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    by_config: dict[ClientConfig, _Shared] = field(default_factory=dict)


_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, _Sessions] = WeakKeyDictionary()
