"""Who prints a traceback may print the variables of its frames: the key is in none of them, however a call ends."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import socket
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException
from rich.console import Console
from rich.traceback import Traceback

from airflow_provider_achieveit.api.aio import AsyncAchieveItClient
from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.api.failure import ApiError
from airflow_provider_achieveit.api.frames import cleared_frames
from airflow_provider_achieveit.exceptions import AchieveItError
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.sockets import misbehaving

KEY = "canary-key-that-nobody-may-read"
BODY = b"External ID,Status,Metric Value,As Of Date\npat-nps,On Track,41,2026-01-05"


class Interrupted(BaseException):
    """As Airflow's own of a task that has run too long, or is to end."""


def submit() -> object:
    return AchieveItHook().submit_updates(kind="progress", filename="a.csv", body=BODY)


def ask() -> object:
    return AchieveItHook().get_job_status("j-1")


def export() -> object:
    return list(AchieveItHook().iter_plan_items("p-1"))


async def ask_async(client: AsyncAchieveItClient) -> object:
    return await client.job_status(UpdateKind.PROGRESS, "j-1")


async def page_async(client: AsyncAchieveItClient) -> object:
    return await client.plan_page("p-1", skip=0, take=1, sort_key="lastUpdated")


def run_async(call: Callable[[AsyncAchieveItClient], Awaitable[object]]) -> object:
    async def run() -> object:
        async with AchieveItHook().get_async_conn() as client:
            return await call(client)

    return asyncio.run(run())


CALLS: dict[str, Callable[[], object]] = {
    "submit": submit,
    "ask": ask,
    "export": export,
    "ask in the triggerer": lambda: run_async(ask_async),
    "page in the triggerer": lambda: run_async(page_async),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))


class Connect:
    """Sets the connection with the key, and what else a test wants in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, host: str, extra: dict[str, Any] | str | None = None) -> None:
        if not isinstance(extra, str):
            extra = {"allow_http": True, "max_retries": 1, "timeout": 0.2, **(extra or {})}
        told = {"conn_type": "achieveit", "host": host, "password": KEY, "extra": extra}
        self._monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", json.dumps(told))


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    return Connect(monkeypatch)


def chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error and all behind it, also what ``from None`` hides from the usual printers."""
    found = [error]
    for each in found:
        behind = (each.__cause__, each.__context__)
        found += [other for other in behind if other is not None and not any(other is known for known in found)]
    yield from found


def variables(trace: TracebackType | None) -> Iterator[str]:
    for frame, _ in traceback.walk_tb(trace):
        for name, value in frame.f_locals.items():
            yield f"{frame.f_code.co_qualname}: {name} = {value!r}"


def assert_not_shown(error: BaseException) -> None:
    printed = io.StringIO()
    lines: dict[str, Any] = {"locals_max_string": None, "locals_max_length": None, "locals_hide_dunder": False}
    Console(file=printed, width=500).print(
        Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True, **lines)
    )
    assert "locals" in printed.getvalue()
    assert KEY not in printed.getvalue()
    assert KEY not in "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert not [told for each in chain(error) for told in variables(each.__traceback__) if KEY in told]
    assert not [str(each) for each in chain(error) if KEY in str(each)]


def failing(call: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever it is
        call()
    assert_not_shown(caught.value)
    return caught.value


FAULTS: dict[str, dict[str, Any]] = {
    "reset": {"kind": "reset"},
    "reset after": {"kind": "reset", "after": True},
    "truncated": {"kind": "truncate"},
    "late": {"kind": "delay", "seconds": 5},
    "401": {"kind": "status", "status": 401},
    "403 with the key": {"kind": "status", "status": 403, "body": f"refused API-KEY {KEY}"},
    "503": {"kind": "status", "status": 503},
    "redirect": {"kind": "redirect", "location": f"https://elsewhere.example/{KEY}"},
    "bad redirect": {"kind": "redirect", "location": "http://[bad"},
}


@every_call
@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_after_a_fault(
    call: Callable[[], object], fault: dict[str, Any], simulator: RunningSimulator, connect: Connect
) -> None:
    simulator.world.users[KEY] = simulator.world.users.pop(simulator.api_key)
    simulator.faults.add(**fault, times=None)
    connect(simulator.url, {"timeout": 0.1})
    assert isinstance(failing(call), ApiError | AchieveItError)


@pytest.mark.parametrize("name", [name for name in CALLS if name != "ask in the triggerer"])
def test_of_an_answer_that_drips(name: str, simulator: RunningSimulator, connect: Connect) -> None:
    """Its connection is cut by another thread."""
    simulator.faults.add("slow", seconds=0.02, times=None)
    connect(simulator.url, {"timeout": 0.05, "max_retries": 0})
    assert isinstance(failing(CALLS[name]), ApiError | AchieveItError)


@every_call
def test_where_nobody_listens(call: Callable[[], object], connect: Connect) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        connect(f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert "nothing listens there" in str(failing(call))


@every_call
def test_where_the_certificate_is_not_trusted(
    call: Callable[[], object], tls_simulator: RunningSimulator, connect: Connect
) -> None:
    connect(tls_simulator.url)
    assert "is not trusted" in str(failing(call))


@every_call
def test_where_the_answer_is_no_http(call: Callable[[], object], connect: Connect) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"nothing that anybody knows\r\n\r\n")

    with misbehaving(serve) as (port, _):
        connect(f"http://127.0.0.1:{port}")
        failing(call)


@pytest.mark.parametrize("call", [submit, ask], ids=["submit", "ask"])
def test_when_the_task_is_interrupted(call: Callable[[], object], connect: Connect) -> None:
    """The error of a signal comes out of whatever frame is running, and is none that the carrier knows."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        connection.recv(65536)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with misbehaving(serve) as (port, _):
            connect(f"http://127.0.0.1:{port}", {"timeout": 60})
            error = failing(call)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert isinstance(error, Interrupted)
    # Where it was is still told.
    assert "urllib3" in "".join(traceback.format_exception(error))


def test_when_the_triggerer_cancels(simulator: RunningSimulator, connect: Connect) -> None:
    simulator.faults.add("delay", seconds=30, times=None)
    connect(simulator.url, {"timeout": 60})

    async def cancelled(client: AsyncAchieveItClient) -> object:
        asking = asyncio.create_task(ask_async(client))
        while not simulator.world.requests:  # noqa: ASYNC110 - the server knows no events
            await asyncio.sleep(0.01)
        asking.cancel()
        return await asking

    assert isinstance(failing(lambda: run_async(cancelled)), asyncio.CancelledError)


@pytest.mark.parametrize("call", [submit, CALLS["ask in the triggerer"]], ids=["worker", "triggerer"])
@pytest.mark.parametrize(
    "extra",
    [{"max_retries": "many"}, {"timeout": -1}, {"allow_http": False}, {"verify": "/nowhere.pem"}, "{nothing", "[1]"],
    ids=str,
)
def test_where_the_settings_cannot_be_used(
    call: Callable[[], object], extra: dict[str, Any] | str, connect: Connect, capfd: pytest.CaptureFixture[str]
) -> None:
    connect("http://127.0.0.1:9", extra)
    # To Airflow 3.0 and 3.1 there is no connection where its extra cannot be read.
    assert isinstance(failing(call), AirflowException)
    assert KEY not in "".join(capfd.readouterr())


def test_an_error_that_was_there_before_keeps_its_variables() -> None:
    def before() -> None:
        mine = "of the caller"
        raise KeyError(mine)

    def within() -> None:
        secret = KEY
        raise ValueError(len(secret))

    def handling() -> None:
        try:
            before()
        except KeyError:
            with cleared_frames():
                within()

    with pytest.raises(ValueError, match=str(len(KEY))) as caught:
        handling()
    [error, handled] = chain(caught.value)
    assert "of the caller" in "".join(variables(handled.__traceback__))
    assert KEY not in "".join(variables(error.__traceback__))
    assert traceback.extract_tb(error.__traceback__)[-1].name == "within"
