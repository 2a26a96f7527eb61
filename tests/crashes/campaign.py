"""The parent's side of the campaign: it asks for processes, lets them be killed, and reads the server's log."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from airflow_provider_achieveit.simulator.server import RunningSimulator
from airflow_provider_achieveit.simulator.world import JobState
from tests.crashes.dags import Setting
from tests.postgres import POSTGRES_URL, connect_or_skip

KILLED = -9
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Process:
    """What a process of the campaign left behind.

    :param exit_code: -9 where it was killed.
    :param told: how the task ended; None where it was killed.
    :param trace: the points it was at.
    """

    exit_code: int
    told: dict[str, Any] | None
    trace: list[str]

    @property
    def unsure(self) -> int | None:
        """The batch that this process, killed, had begun to send without writing down its job id."""
        sending = None
        for point in self.trace:
            if match := re.search(r" (sending|queued) (\d+)$", point):
                sending = int(match[2]) if match[1] == "sending" else None
        return sending

    @property
    def taken(self) -> bool:
        """Whether the server had taken the last batch that this process began to send."""
        begun = max((number for number, point in enumerate(self.trace) if " sending " in point), default=0)
        return any(point.startswith("POST: taken") for point in self.trace[begun:])


class Campaign:
    """Runs of DAGs whose processes die.

    :param zygote: forks the processes.
    :param simulator: the server, outside of all that is killed.
    :param directory: for the traces.
    """

    def __init__(self, zygote: subprocess.Popen[str], simulator: RunningSimulator, directory: Path) -> None:
        self._zygote = zygote
        self._simulator = simulator
        self._directory = directory
        self._numbers = count()
        self._traces: dict[Setting, list[str]] = {}

    def new_run(self) -> str:
        """Return the id of a run that is not there yet."""
        return f"run{next(self._numbers):04}"

    def process(self, setting: Setting, run_id: str, *, kill_at: int | None = None, clear: bool = False) -> Process:
        """Let a process bring a run to its end, or to the point it is killed at."""
        trace = self._directory / f"{run_id}.{next(self._numbers)}"
        answer = self._ask(
            do="clear" if clear else "go on",
            setting=setting.to_json(),
            run_id=run_id,
            trace=str(trace),
            kill_at=kill_at,
        )
        return Process(answer["exit_code"], answer["told"], trace.read_text().splitlines() if trace.exists() else [])

    def set_up(self, settings: list[Setting]) -> None:
        """Make Airflow's database, with the DAGs of these settings."""
        answer = self._ask(do="set up", settings=[setting.to_json() for setting in settings])
        assert answer["exit_code"] == 0

    def correct(self, setting: Setting, run_id: str, message: str, state: str) -> None:
        """Set the state of an unsure batch, where its message says that it is kept.

        :param message: what the task failed with.
        :param state: ``applied`` or ``planned``.
        """
        if setting.ledger_table:
            [(table, number)] = re.findall(r"the ledger, table (\w+), id (\d+)", message)
            with closing(connect_or_skip()) as connection, connection, connection.cursor() as cursor:
                cursor.execute(f"update {table} set state = %s where id = %s", (state, number))
                assert cursor.rowcount == 1
            return
        [key] = re.findall(r"task's state store in Airflow, key (\w+)", message)
        answer = self._ask(do="correct", setting=setting.to_json(), run_id=run_id, key=key, state=state)
        assert answer["exit_code"] == 0

    def trace(self, setting: Setting) -> list[str]:
        """Return the points of a run that nobody kills."""
        if setting not in self._traces:
            # The first run makes what all others find: the ledger's tables.
            for _ in range(2):
                process = self.process(setting, self.new_run())
                assert process.told, "a process that nobody killed did not end by itself: see processes.log"
                assert process.told["state"] == "success", process.told
                self._traces[setting] = process.trace
        return self._traces[setting]

    def received(self, run_id: str) -> dict[int, int]:
        """Return how often the server has taken each batch of a run."""
        world = self._simulator.world
        with world.lock:
            filenames = [batch.filename for batch in world.batches]
            assert all(job.state not in (JobState.REFUSED, JobState.FAILED) for job in world.jobs.values())
        numbers = [re.search(rf"\.{run_id}\.b(\d+)\.", filename) for filename in filenames]
        return dict(sorted(Counter(int(number[1]) for number in numbers if number).items()))

    def _ask(self, **request: Any) -> Any:
        assert self._zygote.stdin
        assert self._zygote.stdout
        self._zygote.stdin.write(json.dumps(request) + "\n")
        self._zygote.stdin.flush()
        # Some versions of Airflow write a log there while they are imported.
        answer = next((line for line in self._zygote.stdout if line.startswith("{")), "")
        assert answer, "the process that forks all others is gone: see processes.log"
        return json.loads(answer)


@contextmanager
def campaign(simulator: RunningSimulator, home: Path) -> Iterator[Campaign]:
    """Give a campaign with an Airflow of its own.

    :param simulator: the connection ``achieveit_default``.
    :param home: of this Airflow; its log file ``processes.log`` tells what the processes said.
    """
    own = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW_CONN_ACHIEVEIT_DEFAULT": simulator.connection(),
        "AIRFLOW_CONN_LEDGER": POSTGRES_URL,
        # Looking up the old names reads a large file, in every process anew.
        "AIRFLOW__METRICS__LEGACY_NAMES_ON": "False",
    }
    with (
        (home / "processes.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "tests.crashes.zygote"],
            cwd=_ROOT,
            env={**os.environ, **own},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as zygote,
    ):
        try:
            yield Campaign(zygote, simulator, home)
        finally:
            # At the end of its input the zygote ends; its children have ended before it answered.
            assert zygote.stdin
            zygote.stdin.close()
            try:
                zygote.wait(60)
            except subprocess.TimeoutExpired:
                zygote.kill()
