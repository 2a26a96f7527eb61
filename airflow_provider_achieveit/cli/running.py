"""Around every command: where its log goes, how errors are told, and its exit code."""

from __future__ import annotations

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import wraps
from typing import Any, NoReturn

from airflow_provider_achieveit.api.progress import told_to
from airflow_provider_achieveit.cli.failures import ExitCode, StoppedError, stopped_by
from airflow_provider_achieveit.cli.output import progress_bars, show

_LOGGER = "airflow_provider_achieveit"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command has found.

    :param document: its result, as JSON values.
    :param code: the exit code, default 0.
    :param hint: what a person should know besides, default nothing.
    """

    document: Mapping[str, Any]
    code: ExitCode = ExitCode.DONE
    hint: str = ""


def command(work: Callable[[Namespace], Answer]) -> Callable[[Namespace], NoReturn]:
    """Make a command of a function: called with the options, it shows the answer and ends the process.

    Standard output gets the answer only, whatever else would write to it.

    :param work: takes the options and returns the answer, or raises.
    """

    @wraps(work)
    def run(args: Namespace) -> NoReturn:
        # As Airflow's own commands do that look up connections: its database is asked for them too.
        os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
        as_json = args.output == "json"
        with _log_on_stderr(logging.INFO if args.verbose else logging.WARNING) as log:
            try:
                with redirect_stdout(sys.stderr), progress_bars() as bars, told_to(bars):
                    answer = work(args)
                if answer.hint:
                    log.tell(answer.hint)
            except KeyboardInterrupt:
                answer = _failed(StoppedError(ExitCode.INTERRUPTED, "Interrupted"), log)
            except Exception as error:
                stopped = stopped_by(error)
                if stopped is None:
                    raise
                answer = _failed(stopped, log)
        if as_json or "error" not in answer.document:
            show(answer.document, as_json=as_json)
        sys.exit(answer.code)

    return run


def _failed(stopped: StoppedError, log: _StderrLog) -> Answer:
    # Errors repeat what the log has told, for those who read its end only.
    log.tell(*(line for line in f"error: {stopped}".splitlines() if line not in log.told))
    told = {"type": stopped.kind, "message": str(stopped), "exit_code": int(stopped.code)}
    return Answer({"error": told, "job_ids": stopped.job_ids}, stopped.code)


class _StderrLog(logging.Handler):
    """Writes the log to whatever standard error is just now: progress bars stand in its place for a while."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        lines = record.getMessage().splitlines()
        self.told.update(lines)
        self.tell(*lines)

    def tell(self, *lines: str) -> None:
        """Write lines as they are."""
        sys.stderr.write("".join(f"{line}\n" for line in lines))


@contextmanager
def _log_on_stderr(level: int) -> Iterator[_StderrLog]:
    logger = logging.getLogger(_LOGGER)
    handler = _StderrLog(level)
    before = logger.level, logger.propagate, logging.root.manager.disable
    # Some versions of Airflow tell every connection that is looked up.
    logging.disable(level - 1)
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        logging.disable(before[2])
