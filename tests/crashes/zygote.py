"""A process that has imported everything and forks a child for every try: a kill costs a fork, no imports.

Run as ``python -m tests.crashes.zygote``; it reads a JSON line for each child to make and answers a JSON line when that
child has ended.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import threading
import traceback
from typing import Any

from sqlalchemy.orm import configure_mappers

from tests.crashes import one_run
from tests.crashes.dags import Setting, make_dag
from tests.crashes.points import Points, install

_LONGEST_TRY = 60
"""Seconds until a child that hangs is ended."""


def serve() -> None:
    """Serve until the parent closes the pipe."""
    # Airflow logs to standard output; the answers have a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    one_run.warm_up()
    for line in sys.stdin:
        answer = _in_child(json.loads(line))
        _import_too(answer.pop("imported"))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _in_child(request: dict[str, Any]) -> dict[str, Any]:
    # A fork copies no thread; those of the warm-up need a moment to be gone.
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(_LONGEST_TRY)
    assert threading.active_count() == 1
    gc.collect()
    # What is there now stays out of the children's collections, which would copy its pages.
    gc.freeze()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(_LONGEST_TRY)
            known = set(sys.modules)
            told = _do(request)
            os.write(writing, json.dumps({"told": told, "imported": sorted(set(sys.modules) - known)}).encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = json.loads(pipe.read() or '{"told": null, "imported": []}')
    _, status = os.waitpid(child, 0)
    return {"exit_code": os.waitstatus_to_exitcode(status), **answer}


def _import_too(names: list[str]) -> None:
    """Import what a child had to import: the next ones have it from the start."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    configure_mappers()


def _do(request: dict[str, Any]) -> Any:
    if request["do"] == "set up":
        one_run.set_up([make_dag(Setting(**setting)) for setting in request["settings"]])
        return None
    run = one_run.OneRun(make_dag(Setting(**request["setting"])), request["run_id"])
    if request["do"] == "correct":
        run.correct(request["key"], request["state"])
        return None
    if request["do"] == "clear":
        run.clear()
    install(Points(os.open(request["trace"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), request["kill_at"]))
    run.go_on()
    return run.told()


if __name__ == "__main__":
    serve()
