"""A TCP gate before AchieveIt that can be shut: refused as by a server that is down, or silent as by one that hangs."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

_CHUNK = 64 * 1024


class Gate:
    """Passes connections on to a port of this machine, while the block lasts.

    :param target: that port.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        # Bound for as long as the gate lasts, so that nobody else gets the port while the gate refuses.
        self._placeholder = _bound(0)
        self.port: int = self._placeholder.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._open_streams: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self._lets_through = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"gate {self.port}", daemon=True)

    def __enter__(self) -> Gate:
        self._thread.start()
        self.open()
        return self

    def __exit__(self, *_: Any) -> None:
        self._do(self._shut)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._placeholder.close()

    def open(self) -> None:
        """Let everything through, and what was held back too."""
        self._do(self._open)

    def refuse(self) -> None:
        """Break all connections and refuse new ones."""
        self._do(self._shut)

    def hang(self) -> None:
        """Keep all connections, take new ones, and let no byte through."""
        self._do(self._hang)

    def _do(self, what: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run_coroutine_threadsafe(what(), self._loop).result(timeout=30)

    async def _open(self) -> None:
        self._lets_through.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, sock=_bound(self.port))

    async def _hang(self) -> None:
        self._lets_through.clear()

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for stream in self._open_streams:
            stream.transport.abort()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._passing.add(task)
        self._open_streams.add(writer)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._lets_through.wait()
                there, back = await asyncio.open_connection("127.0.0.1", self._target)
                self._open_streams.add(back)
                try:
                    await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
                finally:
                    self._open_streams.discard(back)
                    back.transport.abort()
        finally:
            self._passing.discard(task)
            self._open_streams.discard(writer)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._lets_through.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound
