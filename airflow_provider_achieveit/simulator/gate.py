"""The gate before the application: it logs every request and plays the faults, down to the TCP connection.

Plain ASGI, because a framework would not let an answer break off in the middle.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_provider_achieveit.simulator.faults import Fault, Faults
from airflow_provider_achieveit.simulator.seed_data import mutate
from airflow_provider_achieveit.simulator.world import ReceivedRequest, World

CONTROL_PREFIX = "/_simulator"
_TRANSPORT = "simulator.transport"
_LINGER_ZERO = struct.pack("ii", 1, 0)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class Protocol(H11Protocol):
    """uvicorn's HTTP protocol that hands its connection to the application, so that a fault can break it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Put the connection into the scope of each of its requests."""
        super().connection_made(transport)
        app = self.app

        async def with_transport(scope: Any, receive: Any, send: Any) -> None:
            scope[_TRANSPORT] = transport
            await app(scope, receive, send)

        self.app = with_transport


class Gate:
    """ASGI application around another one.

    :param app: the application.
    :param world: where the requests are logged and plans are changed.
    :param faults: the rules.
    """

    def __init__(self, app: App, world: World, faults: Faults) -> None:
        self._app, self._world, self._faults = app, world, faults

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request; what belongs to the simulator itself passes without log and faults."""
        if scope["type"] != "http" or scope["path"].startswith(CONTROL_PREFIX) or scope["path"] == "/":
            await self._app(scope, receive, send)
            return
        body = await _read_body(receive)
        if body is None:
            return
        request = _logged(scope)
        self._world.requests.append(request)
        target = request.path + ("?" + request.query if request.query else "")
        acting = self._faults.acting_on(request.method, target)
        scope["simulator.fail_job"] = any(fault.kind == "fail_job" for fault in acting)
        exchange = _Exchange(scope, receive, send, request)

        for fault in acting:
            if not fault.after and await self._play(fault, exchange):
                return
        answer = await _answer_of(self._app, scope, body)
        for fault in acting:
            if (fault.after or fault.kind in ("truncate", "slow")) and await self._play(fault, exchange, answer):
                return
        await exchange.answer(answer)

    async def _play(self, fault: Fault, exchange: _Exchange, answer: list[Message] | None = None) -> bool:
        """Play a fault; return whether the request has had its answer by that."""
        match fault.kind:
            case "delay":
                await asyncio.sleep(fault.seconds)
            case "mutate":
                with self._world.lock:
                    for plan in self._world.plans.values():
                        mutate(plan, fault.changes, seed=fault.seed)
            case "status" | "redirect":
                location = {"Location": fault.location} if fault.kind == "redirect" else {}
                status = fault.status or (302 if location else 503)
                await exchange.answer(_messages(status, location | fault.headers, fault.body.encode()))
                return True
            case "reset":
                await exchange.reset()
                return True
            case "truncate" if answer is not None:
                await exchange.truncate(answer)
                return True
            case "slow" if answer is not None:
                await exchange.drip(answer, fault.seconds)
                return True
        return False


class _Exchange:
    """One request on its connection."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send, request: ReceivedRequest) -> None:
        self._transport: asyncio.Transport = scope[_TRANSPORT]
        self._receive, self._send, self._request = receive, send, request

    async def answer(self, messages: list[Message]) -> None:
        self._request.status = messages[0]["status"]
        for message in messages:
            await self._send(message)

    async def reset(self) -> None:
        # A socket closed with linger 0 sends RST at once; over TLS, too, nothing is said before.
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()
        await self._gone()

    async def truncate(self, messages: list[Message]) -> None:
        start, body = messages[0], messages[1]["body"]
        self._request.status = start["status"]
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        self._transport.close()
        await self._gone()

    async def drip(self, messages: list[Message], pause: float) -> None:
        start, body = messages[0], messages[1]["body"]
        self._request.status = start["status"]
        # Past uvicorn, which would send the headers at once.
        headers = b"".join(b"%s: %s\r\n" % (name, value) for name, value in start["headers"])
        head = b"HTTP/1.1 %d Slow\r\n%sConnection: close\r\n\r\n" % (start["status"], headers)
        for byte in head + body:
            if self._transport.is_closing():
                break
            self._transport.write(bytes([byte]))
            await asyncio.sleep(pause)
        self._transport.close()
        await self._gone()

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def _read_body(receive: Receive) -> bytes | None:
    """Return the whole body, or None if the client left while sending it."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def _answer_of(app: App, scope: MutableMapping[str, Any], body: bytes) -> list[Message]:
    """Let the application process the request, and return its answer instead of sending it."""
    start: Message = {}
    parts: list[bytes] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return [start, {"type": "http.response.body", "body": b"".join(parts)}]


def _messages(status: int, headers: dict[str, str], body: bytes) -> list[Message]:
    given = {name.lower(): value for name, value in headers.items()}
    given = {"content-type": "text/plain; charset=utf-8"} | given | {"content-length": str(len(body))}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given.items()]
    return [
        {"type": "http.response.start", "status": status, "headers": encoded},
        {"type": "http.response.body", "body": body},
    ]


def _logged(scope: MutableMapping[str, Any]) -> ReceivedRequest:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    if "authorization" in headers:
        # That a key came is worth knowing, the key itself is not.
        headers["authorization"] = headers["authorization"].partition(" ")[0] + " ***"
    return ReceivedRequest(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=headers,
        received_at=datetime.now(UTC).isoformat(),
    )
