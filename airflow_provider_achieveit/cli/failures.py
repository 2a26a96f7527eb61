"""Which exit code an error means, and what a person is told of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum

from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_achieveit.exceptions import (
    AchieveItError,
    AchieveItJobTimeoutError,
    AchieveItUnsureSubmissionError,
)

NOT_WRITTEN_DOWN = "No ledger was given: the same command again would send again what was sent."
_SAYS_TASK = re.compile(r"\b(clear|mark) (this|the) task\b|\bretry\b", re.IGNORECASE)
_TASK_IS_COMMAND = (
    "Here the task is this command: to retry or to clear it is to give the command again, to mark it as success is to "
    "leave it at that."
)
_BAD_FILE = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


class ExitCode(IntEnum):
    """How a command ended; docs/cli.md tells what a script can rest on."""

    DONE = 0
    FAILED = 1
    """The same command again would fail again."""
    USAGE = 2
    """The command line or its file cannot be used; nothing was done."""
    LOOK_FIRST = 3
    """Something was, or may have been, sent, and the same command again might send it twice."""
    REPEAT = 75
    """The same command again may succeed and does no harm (EX_TEMPFAIL of sysexits.h)."""
    INTERRUPTED = 130


class StoppedError(Exception):
    """A command ends with a message and a code.

    :param code: the exit code.
    :param message: what happened, where, and what to do.
    :param kind: the name of the error, as in a task's log; empty: none of the provider's.
    :param job_ids: the jobs that were queued before.
    """

    def __init__(self, code: ExitCode, message: str, *, kind: str = "", job_ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.kind = kind
        self.job_ids = list(job_ids)


def stopped_by(error: Exception, *, job_ids: Sequence[str] = (), repeat_is_safe: bool = True) -> StoppedError | None:
    """Return how an error ends a command; None: it is a fault of the program, whose traceback is to be seen.

    :param error: the error.
    :param job_ids: the jobs that were queued before.
    :param repeat_is_safe: whether the same command again sends nothing twice.
    """
    if isinstance(error, StoppedError):
        return error
    code, message = _code(error), str(error)
    if code is None:
        return None
    if isinstance(error, OSError) and error.filename:
        message = f"{error.filename}: {error.strerror}"
    if isinstance(error, FileExistsError):
        message += ". It is never overwritten: choose another name"
    if _SAYS_TASK.search(message):
        message += f"\n{_TASK_IS_COMMAND}"
    if not repeat_is_safe:
        code = ExitCode.LOOK_FIRST if code is ExitCode.REPEAT else code
        message += f"\n{NOT_WRITTEN_DOWN} Ask for the jobs with the command status."
    return StoppedError(code, message, kind=type(error).__name__, job_ids=job_ids)


def _code(error: Exception) -> ExitCode | None:
    if isinstance(error, AchieveItUnsureSubmissionError):
        return ExitCode.LOOK_FIRST
    if isinstance(error, AchieveItJobTimeoutError):
        # A task fails for good, as nobody is to wait twice in silence; a person may ask for the jobs again.
        return ExitCode.REPEAT
    if isinstance(error, AchieveItError):
        return ExitCode.REPEAT if error.retryable else ExitCode.FAILED
    if isinstance(error, AirflowException):
        return ExitCode.FAILED
    if isinstance(error, OSError):
        return ExitCode.USAGE if isinstance(error, _BAD_FILE) else ExitCode.REPEAT
    return ExitCode.USAGE if isinstance(error, ValueError | ImportError) else None
