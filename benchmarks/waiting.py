"""One triggerer while jobs are in flight, measured from outside: processor, memory, sockets, how late ends are seen.

First all jobs are polled; then, over a while, some of them end at random moments that the server knows. An end is seen
when the first answer that tells it leaves the server, and the task is resumed when Airflow's database says so. Only the
lag of the event loop is told from inside, by a trigger (loop_lag.py).
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loop_lag import lags
from processes import Helper, children, cpu_seconds, open_files, own_memory, sockets_to

Figures = dict[str, Any]
FIRST = 10**9
"""The job whose trigger starts before the others: it brings the imports, which are no memory of a job."""
LONGEST_START, LONGEST_END = 300.0, 60.0
MOST_ENDS = 200


@dataclass(frozen=True)
class Case:
    """What is run.

    :param way: whose trigger.
    :param jobs: how many jobs are in flight.
    :param together: how many jobs a trigger waits for.
    :param max_sockets: another limit than the provider's own.
    """

    way: str
    jobs: int
    together: int = 1
    max_sockets: int | None = None

    @property
    def told(self) -> str:
        """What is special about it, in a few words."""
        told = f"{self.jobs:,} jobs"
        if self.together > 1:
            told += f" in {self.jobs // self.together:,}"
        return told + (f", {self.max_sockets} sockets" if self.max_sockets else "")


class Waiting:
    """A triggerer that was started, and the programs about it.

    :param case: what is run.
    :param options: of the command line.
    :param home: the triggerer's files.
    :param server: the server of the jobs.
    :param rows: puts deferred tasks into the database.
    :param supervisor: the triggerer; it starts the process of the triggers.
    """

    def __init__(
        self, case: Case, options: argparse.Namespace, home: Path, server: Helper, rows: Helper, supervisor: int
    ) -> None:
        self.case, self.options, self.home = case, options, home
        self.server, self.rows, self.supervisor = server, rows, supervisor
        self.runner = 0
        self.most_connections = 0
        """At once, since the start: the server counts anew after each report."""

    def figures(self) -> Figures:
        """Defer the tasks, let some jobs end, and return what was measured."""
        jobs, together = self.case.jobs, self.case.together
        groups = [list(range(at, at + together)) for at in range(1, jobs + 1, together)]
        lag = self.home / "lag"
        self._ask_rows("watch", path=str(lag), max_sockets=self.case.max_sockets)
        self._ask_rows("wait", groups=[[FIRST]], poll_interval=self.options.poll)
        if not self._until(lambda: lag.exists() and self._report()["asked"] == 1, LONGEST_START):
            raise RuntimeError(f"The triggerer did not begin:\n{(self.home / 'log').read_text(errors='replace')}")
        [self.runner] = children(self.supervisor)
        before = own_memory(self.runner)
        deferred = time.time()
        self._ask_rows("wait", groups=groups, poll_interval=self.options.poll)
        all_asked = self._until(lambda: self._report()["asked"] == jobs + 1, LONGEST_START)
        started = time.time()
        start = started - deferred if all_asked else float("nan")
        # Each trigger has told its start; until then, log lines may still hold the event loop up.
        self._until(lambda: open_files(self.supervisor) > len(groups), LONGEST_END)
        # The first answers came in a burst, and what the start has left behind is taken away soon after.
        requests = self._report()["requests"]
        self._until(lambda: self._report()["requests"] >= requests + jobs, LONGEST_END)
        began = time.time()
        steady = self._steady()
        end = time.time()
        memory = (own_memory(self.runner) - before) / jobs / 1000
        ends = self._ends()
        # Not before: one that is very late wakes only now.
        late, late_at_start = lags(lag, began, end), lags(lag, deferred, started)
        lateness = {
            "lag_p99": quantile(late, 0.99) * 1000,
            "lag_max": quantile(late, 1) * 1000,
            "lag_start": quantile(late_at_start, 0.99) * 1000,
        }
        return {"start": start, "memory": memory} | lateness | steady | ends

    def _steady(self) -> Figures:
        """Let jobs end, and return what the triggerer bears meanwhile."""
        chosen = random.Random(1)
        ending = chosen.sample(range(1, self.case.jobs + 1), min(MOST_ENDS, self.case.jobs // 4))
        pids = {"cores": self.runner, "cores_supervisor": self.supervisor, "cores_server": self.server.process.pid}
        before, used = self._report(), {name: cpu_seconds(pid) for name, pid in pids.items()}
        began, sockets = time.time(), 0
        self.server.ask({"end": {job: chosen.uniform(0, self.options.seconds) for job in ending}})
        while time.time() < began + self.options.seconds:
            sockets = max(sockets, sockets_to(self.runner, self.server.ready["port"]))
            time.sleep(0.5)
        end, after = time.time(), self._report()
        seconds = end - began
        return {
            **{name: (cpu_seconds(pid) - used[name]) / seconds for name, pid in pids.items()},
            "asked": after["asked"] - 1,
            "requests": (after["requests"] - before["requests"]) / seconds,
            "connections": (after["connections"] - before["connections"]) / seconds,
            "sockets": max(sockets, self.most_connections),
            "files": open_files(self.supervisor),
            "ends": len(ending),
        }

    def _ends(self) -> Figures:
        """Wait until the ends are seen and the tasks resumed, and return how long that took."""
        ends = min(MOST_ENDS, self.case.jobs // 4)
        self._until(lambda: len(self._report()["told"]) == ends, LONGEST_END)
        told = {int(job): moments for job, moments in self._report()["told"].items()}
        tasks: dict[str, float] = {}
        if self.case.together == 1:
            self._until(lambda: len(self._ask_rows("resumed")) >= len(told), LONGEST_END)
            tasks = self._ask_rows("resumed")
        seen = sorted(moment - ended for ended, moment in told.values())
        resumed = sorted(moment - told[int(job)][0] for job, moment in tasks.items() if int(job) in told)
        return {
            "seen": len(seen),
            "delay_p50": quantile(seen, 0.5),
            "delay_p95": quantile(seen, 0.95),
            "delay_max": quantile(seen, 1),
            "resumed_p95": quantile(resumed, 0.95),
            "resumed_max": quantile(resumed, 1),
        }

    def _report(self) -> dict[str, Any]:
        report = dict(self.server.ask({"report": True}))
        self.most_connections = max(self.most_connections, report["peak"])
        return report

    def _ask_rows(self, name: str, **arguments: Any) -> Any:
        return self.rows.ask([name, arguments])

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for something, not for ever: that it did not come is told by the figures."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                print(f"  not within {seconds:.0f} s", file=sys.stderr, flush=True)
                return False
            time.sleep(0.25)
        return True


def quantile(ordered: list[float], share: float) -> float:
    """Return the value below which a share of the values lies."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")
