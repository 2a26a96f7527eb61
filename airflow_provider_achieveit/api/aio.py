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
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary

import aiohttp

from airflow_provider_achieveit.api import contract
from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.api.contract import JobStatus, UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, unreachable, unusable_ca
from airflow_provider_achieveit.api.http import (
    MAX_REDIRECTS,
    MAX_STATUS_BYTES,
    ApiResponse,
    is_loopback,
    safe_redirect,
    without_key,
)
from airflow_provider_achieveit.api.jobs import JobWait, WaitOutcome

log = logging.getLogger(__name__)

_MAX_SOCKETS = 32


class AsyncAchieveItClient:
    """Asks for job states on one HTTP session; made by :func:`shared_client`.

    :param config: where and how to call.
    :param session: the session to use.
    :param tls: the TLS context for https.
    """

    def __init__(self, config: ClientConfig, session: aiohttp.ClientSession, tls: ssl.SSLContext) -> None:
        self._config = config
        self._session = session
        self._tls = tls
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
        :raises ApiError: no answer, or one that says nothing about the job.
        """
        request = contract.job_status_request(kind, job_id)
        try:
            async with asyncio.timeout(patience):
                response = await self._get(self._config.url(request.path))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ApiError(unreachable(f"status of job {job_id}", self._config.base_url, error)) from None
        return contract.read_job_status(response, job_id)

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
            await asyncio.gather(*(look(job_id) for job_id in wait.pending))
            if line := wait.report(time.time()):
                log.info(line)
            if wait.pending:
                await asyncio.sleep(wait.next_delay(time.time()))
        return wait.outcome()

    async def _get(self, url: str) -> ApiResponse:
        headers = {contract.AUTHORIZATION: contract.authorization(self._config.api_key)}
        for _ in range(MAX_REDIRECTS + 1):
            async with self._session.get(
                url, headers=headers, allow_redirects=False, ssl=self._tls, proxy=self._proxy
            ) as answer:
                body = bytearray()
                async for chunk in answer.content.iter_chunked(64 * 1024):
                    body += chunk
                    if len(body) > MAX_STATUS_BYTES:
                        answer.close()
                        break
                key = self._config.api_key
                names = {name.lower(): without_key(value, key) for name, value in answer.headers.items()}
                told = without_key(body.decode("utf-8", "replace"), key)
                response = ApiResponse(answer.status, names, told.encode(), url)
            target = safe_redirect(url, response.header("location"))
            if response.status not in (301, 302, 303, 307, 308) or target is None:
                return response
            url = target
        return response


@dataclass
class _Shared:
    session: aiohttp.ClientSession
    tls: ssl.SSLContext
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
            shared = sessions.by_config[config] = _Shared(_new_session(config), tls)
        shared.users += 1
    try:
        yield AsyncAchieveItClient(config, shared.session, shared.tls)
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
