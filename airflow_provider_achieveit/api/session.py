"""One HTTP session on aiohttp for all that asks AchieveIt in an event loop with the same settings (triggerer)."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from airflow_provider_achieveit.api import contract
from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind, unusable_ca
from airflow_provider_achieveit.api.frames import cleared_frames
from airflow_provider_achieveit.api.http import (
    MAX_REDIRECTS,
    ApiResponse,
    is_loopback,
    safe_redirect,
    without_key,
)
from airflow_provider_achieveit.api.jobs import SHORTEST_LOOK
from airflow_provider_achieveit.api.rate import RateLimit

_MAX_SOCKETS = 64
_LONGEST_QUEUE = 45.0
"""Seconds beyond its patience that a request waits for one of these: the queue is ours, not AchieveIt's.

Less than what Airflow gives a deferred task beyond its deadline.
"""


class AsyncSession:
    """GET requests, at most 64 at once.

    :param config: where and how to call.
    :param tls: what is trusted, of :func:`tls_context`.
    """

    def __init__(self, config: ClientConfig, tls: ssl.SSLContext) -> None:
        self.config = config
        self.tls = tls
        self.proxy = _proxy(config.base_url)
        self.rate = RateLimit(config)
        self.http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_MAX_SOCKETS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=config.connect_timeout, sock_read=config.timeout),
        )
        # Of who may have a connection: aiohttp's own limit would count the wait for it as one for AchieveIt.
        self.sockets = asyncio.Semaphore(_MAX_SOCKETS)
        # Of the requests that are held back: one looks at the count, the others wait behind it.
        self._held_back = asyncio.Lock()

    async def close(self) -> None:
        """Close all connections."""
        await self.http.close()

    def longest_queue(self, patience: float) -> float:
        """Return the seconds that a request may wait for a connection.

        :param patience: seconds until its whole answer should be there.
        """
        # With a limit those in front are held back themselves, and each minute lets only some of them go.
        return patience + (_LONGEST_QUEUE if self.rate.limit is None else SHORTEST_LOOK)

    def no_connection(self) -> ApiError:
        """Return the error of a request that had no connection for too long."""
        if self.rate.limit is not None:
            return self.rate.turn().too_late()
        message = f"not asked: all {_MAX_SOCKETS} connections of this triggerer to AchieveIt were busy for too long"
        return ApiError(Failure(FailureKind.UNAVAILABLE, message, retryable=True))

    @asynccontextmanager
    async def connection(self, patience: float | None) -> AsyncIterator[float | None]:
        """Wait for a connection, first come, first served; give the patience that is left for the answer.

        :param patience: seconds until the whole answer must be there; None: no limit.
        :raises ApiError: all were busy for too long.
        """
        began = time.monotonic()
        try:
            async with asyncio.timeout(None if patience is None else self.longest_queue(patience)):
                await self.sockets.acquire()
        except TimeoutError:
            raise self.no_connection() from None
        try:
            yield None if patience is None else patience_left(patience, time.monotonic() - began)
        finally:
            self.sockets.release()

    async def get(self, url: str, patience: float | None, enough: int) -> ApiResponse:
        """Ask once, on a connection that the caller has; redirects on the same host are followed.

        :param url: the address.
        :param patience: seconds until the whole answer must be there; None: no limit but the timeout for silence.
        :param enough: bytes of an answer after which the rest is left.
        """
        until = None if patience is None else asyncio.get_running_loop().time() + patience
        for _ in range(MAX_REDIRECTS + 1):
            turn = self.rate.turn(patience)
            try:
                async with asyncio.timeout_at(until), self._held_back:
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
        async with self.http.get(url, headers=headers, allow_redirects=False, ssl=self.tls, proxy=self.proxy) as answer:
            body = bytearray()
            async for chunk in answer.content.iter_chunked(64 * 1024):
                body += chunk
                if len(body) > enough:
                    answer.close()
                    break
            names = {name.lower(): without_key(value, key) for name, value in answer.headers.items()}
            told = without_key(body.decode("utf-8", "replace"), key)
            return ApiResponse(answer.status, names, told.encode(), url)


def patience_left(patience: float, queued: float) -> float:
    """Return the patience for an answer after a wait for a connection: a second is left in any case.

    :param patience: seconds, before the wait.
    :param queued: seconds that it took.
    """
    return max(patience - queued, min(patience, SHORTEST_LOOK))


def _proxy(base_url: str) -> str | None:
    """Return the proxy that the environment names for an address.

    By hand, because aiohttp's trust_env would let an entry of .netrc take the place of the key. This machine itself is
    not asked through a proxy, which would see the key, and be believed.
    """
    parts = urlsplit(base_url)
    if is_loopback(parts.hostname) or proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def tls_context(verify: bool | str) -> ssl.SSLContext:
    """Return a context that trusts what the synchronous carrier trusts; it reads files.

    Else a deferred wait would fail where the submit succeeded.

    :param verify: the setting: True (default of the connection), False, or a file or directory of CA certificates.
    :raises ApiError: the certificates cannot be used.
    """
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
