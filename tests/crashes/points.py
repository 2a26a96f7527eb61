"""The points at which a process of the campaign may be killed: wherever something has changed that outlives it.

What leaves a process is what counts: messages to Airflow, commits to the ledger, requests to AchieveIt. Each has one
point, after it. The one before it is the same as the one after the change before: nothing happens in between that a
killed process could leave behind. Installed in the processes of the campaign only; the package knows nothing of it.
"""

from __future__ import annotations

import importlib
import os
import re
import select
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial, wraps
from typing import Any

import sqlalchemy.event
from sqlalchemy.engine import Engine

from tests.airflow_versions import AIRFLOW

BATCHES = 3

CHANGES = {"SetXCom", "SetTaskStateStore", "DeleteTaskStateStore", "ClearTaskStateStore", "DeferTask", "SucceedTask"}
CHANGES |= {"RetryTask", "TaskState"}
"""Messages to Airflow that change what a later try finds; the others ask, mask, or are for the UI."""

_WRITES = ("INSERT", "UPDATE", "DELETE", "CREATE")
"""Statements whose commit changes something: a commit of what was only read does not."""

Function = Callable[..., Any]


class Points:
    """Writes each point down for the parent, and kills the process at the chosen one.

    :param trace: descriptor that the names are written to; what is written outlives a SIGKILL.
    :param kill_at: the number of the point to die at, from 0; None to live.
    """

    def __init__(self, trace: int, kill_at: int | None) -> None:
        self._trace, self._kill_at = trace, kill_at
        self._count = 0
        self._seen: Counter[str] = Counter()
        self.doing = ""
        self.posting = False
        self.written = False

    def reach(self, name: str) -> None:
        """Be at a point; perhaps the last one."""
        os.write(self._trace, f"{name}\n".encode())
        if self._count == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._count += 1

    def reach_first(self, name: str) -> None:
        """Be at a point that counts once for each batch: how often a job is looked at is chance."""
        self._seen[name] += 1
        if self._seen[name] <= BATCHES:
            self.reach(f"{name} {self._seen[name]}")

    def reach_after(self, what: str, *detail: str) -> None:
        """Be at the point after a change, named by what the process is doing."""
        self.reach(" ".join(filter(None, [what, *detail, self.doing])))


# --- What outlives the process ----------------------------------------------------------------------------------------


def _message(points: Points, original: Function, comms: Any, msg: Any) -> Any:
    answer = original(comms, msg)
    if type(msg).__name__ in CHANGES:
        points.reach_after(type(msg).__name__, msg.key if type(msg).__name__ == "SetXCom" else "")
    return answer


def _xcom(points: Points, original: Function, instance: Any, key: str, *args: Any, **options: Any) -> None:
    original(instance, key, *args, **options)
    points.reach_after("SetXCom", key)


def _deferral(points: Points, original: Function, instance: Any, *args: Any, **options: Any) -> None:
    original(instance, *args, **options)
    points.reach_after("DeferTask")


def _saved(points: Points, original: Function, ti: Any, *args: Any, **options: Any) -> None:
    original(ti, *args, **options)
    if ti.state == "success":
        points.reach_after("SucceedTask")


def _commit(points: Points, original: Function, dialect: Any, connection: Any) -> None:
    original(dialect, connection)
    # Airflow's own database is an SQLite, and other threads write to it.
    if dialect.name == "postgresql" and points.written:
        points.written = False
        points.reach_after("commit")


def _submit(points: Points, original: Function, *args: Any, **options: Any) -> Any:
    points.posting = True
    try:
        job_id = original(*args, **options)
    finally:
        points.posting = False
    points.reach("POST: the job id is there")
    return job_id


def _send(points: Points, original: Function, connection: Any, data: Any) -> None:
    if points.posting and not bytes(data).startswith(b"POST "):
        points.reach("POST: headers sent")
    original(connection, data)


def _answer(points: Points, original: Function, connection: Any, *args: Any, **options: Any) -> Any:
    if points.posting:
        # The server has taken the batch, and its answer lies on this machine, when it can be read.
        select.select([connection.sock], [], [])
        points.reach("POST: taken, answer not read")
    return original(connection, *args, **options)


def _look(points: Points, original: Function, *args: Any, **options: Any) -> Any:
    status = original(*args, **options)
    points.reach_first("looked at a job")
    return status


async def _async_look(points: Points, original: Function, *args: Any, **options: Any) -> Any:
    status = await original(*args, **options)
    points.reach_first("looked at a job")
    return status


# --- What it is doing: part of the names ------------------------------------------------------------------------------


def _doing(what: str) -> Function:
    def wrapper(points: Points, original: Function, *args: Any, **options: Any) -> Any:
        outer, points.doing = points.doing, what
        try:
            return original(*args, **options)
        finally:
            points.doing = outer

    return wrapper


def _write(points: Points, original: Function, store: Any, fingerprint: str, record: Any) -> Any:
    # Its filename tells the number; a retry does not write again what it finds as it should be.
    number = re.search(r"\.b(\d+)\.", record.filename)
    assert number, record
    doing = _doing(f"{record.state.value} {int(number[1])}")
    return doing(points, original, store, fingerprint, record)


# --- Where the work changes hands -------------------------------------------------------------------------------------


def _begin(name: str) -> Function:
    def wrapper(points: Points, original: Function, *args: Any, **options: Any) -> Any:
        points.reach(name)
        return original(*args, **options)

    return wrapper


async def _trigger(points: Points, original: Function, trigger: Any) -> AsyncIterator[Any]:
    points.reach("the trigger runs")
    async for event in original(trigger):
        points.reach("the trigger has its event")
        yield event


def _event(points: Points, original: Function, *args: Any, **options: Any) -> None:
    original(*args, **options)
    points.reach("the event is handed in")


_OPERATOR = "airflow_provider_achieveit.operators.updates._SubmitUpdatesOperator"
_STORES = (
    "airflow_provider_achieveit.stores.task_state.TaskStateStore",
    "airflow_provider_achieveit.stores.ledger.Ledger",
)

_AIRFLOW: list[tuple[str, Function]] = (
    [("airflow.sdk.execution_time.supervisor.InProcessSupervisorComms.send", _message)]
    if AIRFLOW >= (3,)
    # A worker of Airflow 2 writes to the metadata database by itself.
    else [
        ("airflow.models.taskinstance.TaskInstance.xcom_push", _xcom),
        ("airflow.models.taskinstance.TaskInstance.defer_task", _deferral),
        ("airflow.models.taskinstance.TaskInstance.save_to_db", _saved),
    ]
)

INSTRUMENTED: list[tuple[str, Function]] = [
    *_AIRFLOW,
    ("sqlalchemy.engine.default.DefaultDialect.do_commit", _commit),
    ("airflow_provider_achieveit.api.client.AchieveItClient.submit", _submit),
    ("http.client.HTTPConnection.send", _send),
    ("urllib3.connection.HTTPConnection.getresponse", _answer),
    ("airflow_provider_achieveit.api.client.AchieveItClient.job_status", _look),
    ("airflow_provider_achieveit.api.polling.JobPoller._look", _async_look),
    *((f"{store}.plan", _doing("plan")) for store in _STORES),
    *((f"{store}.write_rejects", _doing("rejects")) for store in _STORES),
    *((f"{store}.{write}", _write) for store in _STORES for write in ("claim", "put")),
    (f"{_OPERATOR}.execute", _begin("execute begins")),
    (f"{_OPERATOR}._wait", _begin("the wait begins")),
    (f"{_OPERATOR}.defer", _begin("the deferral is raised")),
    ("airflow_provider_achieveit.triggers.job.AchieveItJobTrigger.run", _trigger),
    ("airflow.models.trigger.Trigger.submit_event", _event),
    (f"{_OPERATOR}.execute_complete", _begin("execute_complete begins")),
]
"""The function, and what it is wrapped by: called with the points, the function and its arguments."""


def install(points: Points) -> None:
    """Wrap all of :data:`INSTRUMENTED` in this process."""
    for path, wrapper in INSTRUMENTED:
        owner_path, _, name = path.rpartition(".")
        module, _, owner_name = owner_path.rpartition(".")
        owner = getattr(importlib.import_module(module), owner_name)
        original = getattr(owner, name)
        setattr(owner, name, _bound(wrapper, points, original))

    @sqlalchemy.event.listens_for(Engine, "before_cursor_execute")
    def note_writes(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if connection.dialect.name == "postgresql" and statement.lstrip().upper().startswith(_WRITES):
            points.written = True


def _bound(wrapper: Function, points: Points, original: Function) -> Function:
    call = partial(wrapper, points, original)

    # A partial is no method: it would not get its ``self``.
    @wraps(original)
    def method(*args: Any, **options: Any) -> Any:
        return call(*args, **options)

    return method
