"""Servers that no HTTP server is: for what happens on the wire."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def misbehaving(serve: Callable[[socket.socket], object]) -> Iterator[tuple[int, dict[str, int]]]:
    """Listen on a port and hand every connection to ``serve``."""
    seen = {"connections": 0}
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    seen["connections"] += 1
                    serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1], seen
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def drip(connection: socket.socket, told: bytes, *, every: float = 0.1) -> None:
    """Send byte by byte until the client has gone away."""
    with suppress(OSError):
        for at in range(len(told)):
            connection.sendall(told[at : at + 1])
            time.sleep(every)
