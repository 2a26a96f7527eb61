"""The simulator as a running server, for tests, demos and the command line."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

try:
    import uvicorn

    from airflow_provider_achieveit.simulator.app import Simulator as _Application
    from airflow_provider_achieveit.simulator.gate import Protocol
except ImportError as error:
    raise ImportError(
        f"The simulator needs packages that are not installed ({error}): "
        "pip install 'airflow-provider-achieveit[simulator]'"
    ) from error

from airflow_provider_achieveit.simulator.faults import Faults
from airflow_provider_achieveit.simulator.files import write_atomically
from airflow_provider_achieveit.simulator.seed_data import demo_world
from airflow_provider_achieveit.simulator.tls import write_certificates
from airflow_provider_achieveit.simulator.world import World

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_WILDCARDS = {"", "0.0.0.0", "::"}  # noqa: S104 - recognised, not bound to
_START_SECONDS = 30


@dataclass(frozen=True, slots=True)
class RunningSimulator:
    """A simulator that answers.

    :param url: its base URL.
    :param api_key: a key that it accepts (the first user's).
    :param ca_file: the CA to verify it by; None without TLS.
    :param world: its state, live.
    :param faults: its fault rules.
    """

    url: str
    api_key: str
    ca_file: Path | None
    world: World
    faults: Faults

    def connection(self) -> str:
        """Return the Airflow connection to it, as the JSON of an ``AIRFLOW_CONN_...`` variable."""
        extra: dict[str, object] = {"verify": str(self.ca_file)} if self.ca_file else {"allow_http": True}
        if self.world.plans:
            extra["plan_id"] = next(iter(self.world.plans))
        return json.dumps({"conn_type": "achieveit", "host": self.url, "password": self.api_key, "extra": extra})


@contextmanager
def running(
    port: int = 0,
    *,
    host: str = "127.0.0.1",
    tls: bool = False,
    tls_names: Sequence[str] = (),
    ca_file: Path | None = None,
    job_seconds: float | None = None,
    state_file: Path | None = None,
    world: World | None = None,
) -> Iterator[RunningSimulator]:
    """Run the simulator in a thread of this process while the block lasts.

    :param port: TCP port; 0 takes a free one (default).
    :param host: address to listen on (default: this machine only).
    :param tls: serve HTTPS by a certificate of its own (default no).
    :param tls_names: further names that the certificate is for, besides localhost and ``host``.
    :param ca_file: where the CA is kept, its private key beside it; one that is there is used again while it is valid
        (default: beside the state file, else in a directory that vanishes with the server).
    :param job_seconds: how long a job is processed (default: what the world says, else 0).
    :param state_file: file to load the state from, if it exists, and to save it to after every change.
    :param world: the state (default: :func:`.seed_data.demo_world`). A state file that exists is loaded into it.
    :return: the server, for the ``with`` block.
    :raises OSError: the port is taken, or a file cannot be written.
    :raises ValueError: the state file holds no state, or there is no such port.
    :raises ImportError: a package of the extra ``simulator`` is not installed.
    """
    world = world if world is not None else demo_world()
    if job_seconds is not None:
        world.settings.job_seconds = job_seconds
    initial, given_users = world.to_json(), world.users
    if state_file is not None and state_file.exists():
        _load(world, state_file)
        # Who starts it with a key can use it, whatever keys the file knows.
        world.users = given_users | world.users
        if job_seconds is not None:
            world.settings.job_seconds = job_seconds

    def save() -> None:
        if state_file is not None:
            write_atomically(state_file, json.dumps(world.to_json(), ensure_ascii=False).encode())

    faults = Faults()
    application = _Application(world, faults, save, initial)
    shown_host = "127.0.0.1" if host in _WILDCARDS else host
    shown_host = f"[{shown_host}]" if ":" in shown_host else shown_host
    with (
        closing(_listen(host, port)) as listener,
        tempfile.TemporaryDirectory(prefix="achieveit-simulator-") as private,
    ):
        save()
        url = f"{'https' if tls else 'http'}://{shown_host}:{listener.getsockname()[1]}"
        certificate = None
        if tls:
            beside_state = state_file and state_file.with_name(f"{state_file.name}.ca.pem")
            ca_file = ca_file or beside_state or Path(private) / "ca.pem"
            names = dict.fromkeys([*_LOCAL_NAMES, *([] if host in _WILDCARDS else [host]), *tls_names])
            certificate = write_certificates(Path(private), ca_file, list(names))
        config = uvicorn.Config(
            application.app(),
            http=Protocol,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="critical",
            access_log=False,
            ssl_certfile=certificate,
            # Who stops the simulator does not want to wait for a delayed answer.
            timeout_graceful_shutdown=0,
        )
        with _thread(_Server(config), listener):
            yield RunningSimulator(url, next(iter(given_users)), ca_file if tls else None, world, faults)


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # Those whose answer a fault still held back.
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)  # the loop closes an aborted transport in its next round


@contextmanager
def _thread(server: uvicorn.Server, listener: socket.socket) -> Iterator[None]:
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="achieveit-simulator", daemon=True
    )
    thread.start()
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the simulator did not start")
            time.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        thread.join()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if not 0 <= port <= 65535:
        raise ValueError(f"port {port} lies not between 0 and 65535")
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener


def _load(world: World, state_file: Path) -> None:
    try:
        world.restore(json.loads(state_file.read_bytes()))
    except ValueError as error:
        raise ValueError(f"{state_file}: {error}; move it away to begin anew") from error
