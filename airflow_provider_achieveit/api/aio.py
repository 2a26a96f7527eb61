"""The asynchronous carrier of the contract, on aiohttp (triggerer). It only asks; it never sends a batch."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary

import aiohttp

from airflow_provider_achieveit.api import contract
from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.api.contract import JobStatus, Page, UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind, unreachable, unusable_ca
from airflow_provider_achieveit.api.frames import cleared_frames
from airflow_provider_achieveit.api.http import (
    MAX_REDIRECTS,
    MAX_STATUS_BYTES,
    SLOWEST_ANSWER,
    ApiResponse,
    is_loopback,
    safe_redirect,
    without_key,
)
from airflow_provider_achieveit.api.jobs import SHORTEST_LOOK, JobWait, WaitOutcome
from airflow_provider_achieveit.api.rate import RateLimit

log = logging.getLogger(__name__)

_MAX_SOCKETS = 64
_LONGEST_QUEUE = 45.0
"""Seconds that a request waits for one of these at least, also beyond its patience: the queue is ours, not AchieveIt's.

Less than what Airflow gives a deferred task beyond its deadline.
"""
_MAX_PAGE_BYTES = 16 * 1024 * 1024
"""A triggerer reads pages of a few items only."""


class AsyncAchieveItClient:
    """Asks for job states and small pages on one HTTP session; made by :func:`shared_client`.

    :param config: where and how to call.
    :param shared: what all clients with this config have in common.
    """

    def __init__(self, config: ClientConfig, shared: _Shared) -> None:
        self.config = config
        self._shared = shared
        self._session = shared.session
        # By hand, because aiohttp's trust_env would let an entry of .netrc take the place of the key. This machine
        # itself is not asked through a proxy, which would see the key, and be believed.
        parts = urlsplit(config.base_url)
        direct = is_loopback(parts.hostname) or proxy_bypass(parts.hostname or "")
        proxies = getproxies()
        self._proxy = None if direct else proxies.get(parts.scheme) or proxies.get("all")

    async def job_status(self, kind: UpdateKind, job_id: str, patience: float | None = None) -> JobStatus:
        """Ask once for a job's state.

        :param kind: progress or metric updates.
        :param job_id: the job.
        :param patience: seconds until the whole answer must be there (default: no limit but the timeout for silence).
            Who had to wait for a connection has a second left in any case.
        :raises ApiError: no answer, or one that says nothing about the job.
        """
        request = contract.job_status_request(kind, job_id)
        try:
            response = await self._get(self.config.url(request.path), patience)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ApiError(unreachable(f"status of job {job_id}", self.config.base_url, error)) from None
        return contract.read_job_status(response, job_id)

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
                response = await self._get(url, self.config.timeout * SLOWEST_ANSWER, enough=_MAX_PAGE_BYTES)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise ApiError(unreachable(f"export of plan {plan_id}", self.config.base_url, error)) from None
            # Older tenants have the same answer under another address; an unknown plan is 404 at both.
            if response.status != 404:
                break
        return contract.read_page(response, plan_id)

    async def wait_for_jobs(self, kind: UpdateKind, wait: JobWait) -> WaitOutcome:
        """Ask about the jobs of a wait, round by round, until it is over."""

        async def look(job_id: str) -> None:
            patience = wait.patience(time.time())
            if patience is None:
                return
            try:
                wait.observe(job_id, await self.job_status(kind, job_id, patience), time.time())
            except ApiError as error:
                wait.observe_failure(job_id, error.failure)

        while wait.pending:
            first, *others = (look(job_id) for job_id in wait.pending)
            # Most waits have one job. A task for it would be fifteen objects more, and Python's garbage collection,
            # which stops the event loop, goes through all of thousands of waits.
            await (asyncio.gather(first, *others) if others else first)
            if line := wait.report(time.time()):
                log.info(line)
            if wait.pending:
                await asyncio.sleep(wait.next_delay(time.time()))
        return wait.outcome()

    async def _get(self, url: str, patience: float | None = None, enough: int = MAX_STATUS_BYTES) -> ApiResponse:
        async with self._socket(patience) as patience:
            return await self._follow(url, patience, enough)

    @asynccontextmanager
    async def _socket(self, patience: float | None) -> AsyncIterator[float | None]:
        """Wait for one of the connections, first come, first served; give the patience that is left for the answer."""
        began = time.monotonic()
        rate = self._shared.rate
        longest = patience
        if patience is not None and rate.limit is None:
            longest = max(patience, _LONGEST_QUEUE)
        try:
            async with asyncio.timeout(longest):
                await self._shared.sockets.acquire()
        except TimeoutError:
            if rate.limit is not None:
                # Those in front are held back themselves, and each minute lets only some of them go.
                raise rate.turn().too_late() from None
            raise ApiError(_all_busy()) from None
        try:
            if patience is not None:
                patience = max(patience - (time.monotonic() - began), min(patience, SHORTEST_LOOK))
            yield patience
        finally:
            self._shared.sockets.release()

    async def _follow(self, url: str, patience: float | None, enough: int) -> ApiResponse:
        until = None if patience is None else asyncio.get_running_loop().time() + patience
        for _ in range(MAX_REDIRECTS + 1):
            turn = self._shared.rate.turn(patience)
            try:
                async with asyncio.timeout_at(until), self._shared.queue:
                    for pause in turn.pauses():
                        await asyncio.sleep(pause)
            except TimeoutError:
                raise turn.too_late() from None
            try:
                async with asyncio.timeout_at(until):
                    with cleared_frames():
                        response = await self._exchange(url, enough)
            finally:
                turn.answered()
            target = safe_redirect(url, response.header("location"))
            if response.status not in (301, 302, 303, 307, 308) or target is None:
                return response
            url = target
        return response

    async def _exchange(self, url: str, enough: int) -> ApiResponse:
        key = self.config.api_key
        headers = {contract.AUTHORIZATION: contract.authorization(key)}
        async with self._session.get(
            url, headers=headers, allow_redirects=False, ssl=self._shared.tls, proxy=self._proxy
        ) as answer:
            body = bytearray()
            async for chunk in answer.content.iter_chunked(64 * 1024):
                body += chunk
                if len(body) > enough:
                    answer.close()
                    break
            names = {name.lower(): without_key(value, key) for name, value in answer.headers.items()}
            told = without_key(body.decode("utf-8", "replace"), key)
            return ApiResponse(answer.status, names, told.encode(), url)


@dataclass
class _Shared:
    session: aiohttp.ClientSession
    tls: ssl.SSLContext
    rate: RateLimit
    sockets: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MAX_SOCKETS))
    """Of who may have a connection: the session's own limit would count the wait for it as one for AchieveIt."""
    queue: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Of the requests that are held back: one looks at the count, the others wait behind it."""
    users: int = 0


@dataclass
class _Sessions:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    by_config: dict[ClientConfig, _Shared] = field(default_factory=dict)


_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, _Sessions] = WeakKeyDictionary()


@asynccontextmanager
async def shared_client(config: ClientConfig) -> AsyncIterator[AsyncAchieveItClient]:
    """Give a client whose HTTP session is shared by all that run in this event loop with the same settings.

    A triggerer holds thousands of waits; a session each would be thousands of sockets. The last user closes it.

    :param config: where and how to call.
    """
    sessions = _sessions.setdefault(asyncio.get_running_loop(), _Sessions())
    async with sessions.lock:
        shared = sessions.by_config.get(config)
        if shared is None:
            # Reading the CA files takes milliseconds of disk: not in the event loop.
            tls = await asyncio.to_thread(_tls_context, config.verify)
            shared = sessions.by_config[config] = _Shared(_new_session(config), tls, RateLimit(config))
        shared.users += 1
    try:
        yield AsyncAchieveItClient(config, shared)
    finally:
        shared.users -= 1
        if shared.users == 0:
            # No await between the count and the removal: nobody can have joined meanwhile.
            del sessions.by_config[config]
            await shared.session.close()


def _new_session(config: ClientConfig) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_MAX_SOCKETS),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=config.connect_timeout, sock_read=config.timeout),
    )


def _all_busy() -> Failure:
    message = f"not asked: all {_MAX_SOCKETS} connections of this triggerer to AchieveIt were busy for too long"
    return Failure(FailureKind.UNAVAILABLE, message, retryable=True)


def _tls_context(verify: bool | str) -> ssl.SSLContext:
    """Trust what the synchronous carrier trusts, or a deferred wait would fail where the submit succeeded."""
    if isinstance(verify, str):
        trusted = verify
    else:
        from requests.utils import DEFAULT_CA_BUNDLE_PATH

        trusted = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
    is_directory = Path(trusted).is_dir()
    try:
        context = ssl.create_default_context(
            cafile=None if is_directory else trusted, capath=trusted if is_directory else None
        )
    except OSError as error:
        raise ApiError(unusable_ca(trusted, error)) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
