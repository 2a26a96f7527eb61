"""Loads in processes of their own, which may be killed; a process that has imported everything forks them.

Run as ``python -m tests.warehouse.killed``: it reads a JSON line with the loads to do side by side, and answers with a
JSON line of exit codes when all have ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import Engine

from airflow_provider_achieveit.warehouse import load as load_module
from airflow_provider_achieveit.warehouse.model import Mode
from tests.warehouse.loading import Item, load
from tests.warehouse.real_databases import Warehouse

KILLED = -signal.SIGKILL
_LONGEST_LOAD = 60
"""Seconds until a child that hangs is ended."""
# A load compiles its statements anew; here all are of the same tables, and what one has compiled serves the next.
_engine = lru_cache(sqlalchemy.create_engine)
load_module.plan_tables = lru_cache(load_module.plan_tables)
load_module.database_of = lru_cache(load_module.database_of)


class Loads:
    """Asks for loads.

    :param process: forks them.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def together(self, *loads: dict[str, Any]) -> list[int]:
        """Do loads side by side; return their exit codes."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(loads) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that forks all others is gone"
        codes: list[int] = json.loads(answer)
        return codes

    def load(self, *arguments: Any, kill_at: int | None = None) -> int:
        """Do a load, or the part of it before a boundary between statements; return its exit code."""
        return self.together(request(*arguments, kill_at=kill_at))[0]


def request(
    warehouse: Warehouse,
    items: list[Item],
    plan: str,
    table: str,
    mode: Mode,
    at: datetime,
    *,
    kill_at: int | None = None,
    times: int = 1,
) -> dict[str, Any]:
    """Return what to ask for.

    :param kill_at: the number of the boundary; None: go on to the end.
    :param times: how often to load.
    """
    return {
        "warehouse": [warehouse.url, warehouse.schema, ""],
        "items": items,
        "plan_id": plan,
        "table": table,
        "mode": mode,
        "extracted_at": at.isoformat(),
        "kill_at": kill_at,
        "times": times,
    }


@contextmanager
def loads_in_processes() -> Iterator[Loads]:
    """Give a process that forks others."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.warehouse.killed"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Loads(process)
        finally:
            # At the end of its input it ends; its children have ended before it answered.
            assert process.stdin
            process.stdin.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def serve() -> None:
    """Serve until the parent closes the pipe."""
    for line in sys.stdin:
        asked = json.loads(line)
        if len(asked) == 1 and asked[0]["kill_at"] is None:
            # What is compiled here, children need not.
            _do(asked[0])
            codes = [0]
        else:
            children = [_fork(one) for one in asked]
            codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), flush=True)


def _fork(asked: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        signal.alarm(_LONGEST_LOAD)
        _do(asked)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _do(asked: dict[str, Any]) -> None:
    engine = _engine(asked["warehouse"][0])
    if asked["kill_at"] is not None:
        _kill_at(engine, asked["kill_at"])
    for _ in range(asked["times"]):
        load(
            Warehouse(*asked["warehouse"]),
            asked["items"],
            asked["plan_id"],
            table=asked["table"],
            mode=Mode(asked["mode"]),
            extracted_at=datetime.fromisoformat(asked["extracted_at"]),
            engine=engine,
        )


def _kill_at(engine: Engine, number: int) -> None:
    """Let this process be killed before a statement, before a commit, or after it."""
    boundaries = count()

    def boundary(*_: Any) -> None:
        if next(boundaries) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def before_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        # Looks at the catalogue leave nothing; there are a hundred of them.
        if not any(catalogue in statement for catalogue in ("pg_catalog", "sqlite_master", "PRAGMA")):
            boundary()

    def commit(connection: Any) -> None:
        boundary()
        plain(connection)
        boundary()

    plain = engine.dialect.do_commit
    engine.dialect.do_commit = commit  # type: ignore[method-assign]
    event.listen(engine, "before_cursor_execute", before_statement)


if __name__ == "__main__":
    serve()
