"""Below the synchronous carrier: its connections, and what they know that requests does not tell."""

from __future__ import annotations

import io
import socket
import ssl
import threading
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from airflow_provider_achieveit.api.failure import ApiError, unusable_ca
from airflow_provider_achieveit.api.http import is_loopback


class Body(io.BytesIO):
    """A request body that knows whether anybody has begun to send it.

    The connection (name, TCP, proxy, TLS) is made before the first read; so as long as ``touched`` is False, the
    server cannot have got the batch.
    """

    touched = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Give the next bytes to send."""
        self.touched = True
        return super().read(size)


class Limit:
    """Cuts the connection of a request that takes too long as a whole; for the ``with`` block around the request.

    A timeout of requests is one of silence: a request whose answer drips, headers or body, would go on for ever.

    :param seconds: how long the request may take.
    """

    _current = threading.local()

    def __init__(self, seconds: float) -> None:
        self.reached = False
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Limit:
        self._current.limit = self
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._current.limit = None

    def _cut(self) -> None:
        self.reached = True
        if self._socket is not None:
            _shut_down(self._socket)

    @classmethod
    def holds_for(cls, connection: HTTPConnection) -> None:
        """Let the limit of this thread's request cut this connection."""
        limit = getattr(cls._current, "limit", None)
        if limit is not None and connection.sock is not None:
            limit._socket = connection.sock
            if limit.reached:
                _shut_down(connection.sock)


def _shut_down(connected: socket.socket) -> None:
    try:
        # That of TLS would not stop a thread that is reading.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)
    except OSError:
        # It is closed already.
        return


class _Connection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        Limit.holds_for(self)

    def getresponse(self) -> Any:
        # One that was kept alive has not been connected by this request.
        Limit.holds_for(self)
        return super().getresponse()


class _TlsConnection(_Connection, HTTPSConnection):
    """The same: what it calls of its parent is that of HTTPSConnection."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}
_OLDEST_TLS = ssl.TLSVersion.TLSv1_2
"""As AchieveIt demands."""


class Adapter(HTTPAdapter):
    """Connections that a :class:`Limit` can cut, TLS 1.2 at least, and no proxy for this machine itself."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the connections to the server itself."""
        super().init_poolmanager(*args, **options, ssl_minimum_version=_OLDEST_TLS)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Make the connections through a proxy."""
        manager = super().proxy_manager_for(proxy, **options, ssl_minimum_version=_OLDEST_TLS)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Tell a CA file that is not there (``REQUESTS_CA_BUNDLE`` can name one) as what it is."""
        try:
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]
        except OSError as error:
            raise ApiError(unusable_ca(str(verify), error)) from None

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        """Send a request."""
        # With plain http, which is allowed for loopback hosts only, a proxy would see the key, and be believed.
        if is_loopback(urlsplit(request.url or "").hostname):
            options["proxies"] = {}
        return super().send(request, **options)
