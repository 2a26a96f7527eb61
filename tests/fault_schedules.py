"""Seeded schedules of faults, and another host that must never hear anything."""

from __future__ import annotations

import random
import socket
import threading
import time
from email.utils import formatdate
from typing import Any

Schedule = list[tuple[str, dict[str, Any]]]


class OtherHost:
    """Another host that a redirect may point to; keeps what it is sent."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/elsewhere"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                self.received.append(connection.recv(65536))

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


def schedule(rng: random.Random, other: str, *, key: str) -> Schedule:
    """Return up to six faults, on the first POSTs and the first looks at the jobs.

    :param rng: makes it.
    :param other: address of another host.
    :param key: the API key, which a server may repeat in its answer.
    """
    faults = []
    for _ in range(rng.randint(1, 6)):
        method = rng.choice(["POST", "GET"])
        times = rng.choice([1, 1, 1, 2, 4, 4, None])
        where: dict[str, Any] = {"method": method, "nth": rng.randint(1, 4), "times": times}
        retry_after = rng.choice(["0", "0", "1", formatdate(time.time() + 1, usegmt=True), "later"])
        kind, how = rng.choice(
            [
                ("reset", {"after": False}),
                ("reset", {"after": True}),
                ("truncate", {}),
                ("delay", {"seconds": 0.4, "after": rng.choice([False, True])}),
                ("delay", {"seconds": 0.05}),
                ("slow", {"seconds": rng.choice([0.001, 0.001, 0.05])}),
                ("status", {"status": 429, "headers": {"Retry-After": retry_after}}),
                ("status", {"status": 500}),
                ("status", {"status": rng.choice([500, 502, 503, 504])}),
                ("status", {"status": rng.choice([500, 502, 503, 504]), "after": True}),
                ("status", {"status": 503, "headers": {"Retry-After": retry_after}}),
                ("status", {"status": rng.choice([400, 401, 403, 502, 502, 504]), "body": f"not with API-KEY {key}"}),
                ("status", {"status": 200, "body": rng.choice(["", "<html>login</html>", "{", "null"])}),
                ("redirect", {"status": rng.choice([301, 302, 303, 307, 308]), "location": f"/api/after-{method}"}),
                ("redirect", {"status": rng.choice([301, 302, 303, 307, 308]), "location": other}),
                ("fail_job", {"method": "POST"}),
            ]
        )
        faults.append((kind, {**where, **how}))
    return faults
