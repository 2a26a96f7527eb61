"""An operator run from the command line: what stands in the place of a task, and how it is run."""

from __future__ import annotations

import logging
import re
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from airflow.providers.common.compat.sdk import BaseOperator

DAG_ID = "achieveit_cli"
_NAME_CHARS = 40


class CommandTask:
    """Takes the place of the task instance.

    In a ledger, and in the names of batches, a command is the task of a run as any other. The run is the file: who
    submits the same file again goes on where the last command stopped, as a person who clears a task does.

    :param task_id: what is done.
    :param run_id: the piece of work.
    """

    dag_id = DAG_ID
    map_index = -1
    # The same for every command: while one sends a batch, another one of the same file takes it for alive.
    try_number = 1

    def __init__(self, task_id: str, run_id: str) -> None:
        self.task_id = task_id
        self.run_id = run_id
        # Another number in each command: what is repeated by hand is a new round of tries.
        self.max_tries = secrets.randbelow(2**31)
        self.xcoms: dict[str, Any] = {}

    @classmethod
    def of_file(cls, kind: str, path: str, *, run_id: str | None = None) -> Self:
        """Return the task of a submit.

        :param kind: progress or metric.
        :param path: the file, as :func:`absolute` gives it; where it is, links followed, tells the run.
        :param run_id: the run's name instead, default none.
        """
        return cls(f"submit_{kind}", run_id or _run_of(path))

    @property
    def job_ids(self) -> list[str]:
        """The jobs that were queued, or found there, so far."""
        return list(self.xcoms.get("job_ids", []))

    def xcom_push(self, key: str, value: Any, **_: Any) -> None:
        """Keep what the operator tells other tasks."""
        self.xcoms[key] = value


def absolute(path: str) -> str:
    """Return a path of this machine as an absolute one, and the address of an object store as it is."""
    return path if "://" in path else str(Path(path).absolute())


def _run_of(path: str) -> str:
    address = path if "://" in path else str(Path(path).resolve())
    # Of characters that the name of a batch keeps as they are.
    name = re.sub(r"[^A-Za-z0-9-]+", "-", address.rpartition("/")[2])[:_NAME_CHARS]
    return f"{name}-{sha256(address.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


def run_operator(operator: BaseOperator, task: CommandTask) -> dict[str, Any]:
    """Do an operator's work here and return its result.

    :param operator: the operator; its arguments are taken as they are, not as templates.
    :param task: what it tells its jobs to, and whom its batches are named after.
    """
    # Where Airflow 2 and 3 keep an operator's logger: theirs may write to standard output, in ways of their own.
    for name in ("_log", "_cached_logger"):
        setattr(operator, name, logging.getLogger(operator.__module__))
    # Airflow wraps the method, to warn of operators that are called inside others; this one is not.
    execute: Any = type(operator).execute
    result: dict[str, Any] = getattr(execute, "__wrapped__", execute)(operator, {"ti": task})
    return result
