"""One cluster for all its tests, and a table of what they saw."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.achieveit import AchieveIt
from tests.cluster.data import ROWS, comment
from tests.cluster.gate import Gate
from tests.cluster.programs import Programs
from tests.cluster.stack import Cluster, Run
from tests.postgres import connect_or_skip

_TABLE = pytest.StashKey[list[tuple[str, ...]]]()


@pytest.hookimpl(tryfirst=True)  # before the marks decide what runs
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and "world" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(300))


@dataclass(frozen=True)
class World:
    """All that a test needs.

    :param airflow: the running Airflow.
    :param achieveit: the running AchieveIt.
    :param gates: before AchieveIt, by the name of the connection's last part.
    """

    airflow: Cluster
    achieveit: AchieveIt
    gates: dict[str, Gate]

    def wait_until_looked_at(self, run: Run, task_id: str) -> None:
        """Wait until a task has sent all batches and asked about every job."""
        name = run.name(task_id)
        self.airflow.until(
            lambda: len(self.achieveit.jobs(name)) == ROWS and self.achieveit.looked_at(name),
            seconds=90,
            what=f"{run.dag_id}.{task_id} waits for its jobs",
        )


def once(run: Run, task_id: str) -> Counter[str]:
    """Return what AchieveIt should show of a task: every update once."""
    return Counter(comment(run.dag_id, task_id, number) for number in range(ROWS))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The cluster; where Redis or PostgreSQL is missing, skip and say so, but fail in CI."""
    if shutil.which("redis-server") is None:
        told = "there is no redis-server on this machine"
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    connect_or_skip().close()
    directory = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        programs = stack.enter_context(Programs(directory))
        achieveit = AchieveIt(programs, directory)
        gates = {how: stack.enter_context(Gate(achieveit.port)) for how in ("refused", "hung")}
        short = {"timeout": 5, "connect_timeout": 2, "max_retries": 2}
        connections = {"achieveit_default": achieveit.connection(timeout=300)}
        connections |= {f"achieveit_{how}": achieveit.connection(gate.port, **short) for how, gate in gates.items()}
        airflow = Cluster(programs, directory, connections)
        try:
            airflow.start()
            yield World(airflow, achieveit, gates)
        finally:
            print(f"the components' output: {directory}")


@pytest.fixture
def world(cluster: World) -> Iterator[World]:
    """The cluster, left to the next test without faults."""
    yield cluster
    cluster.achieveit.let_go()
    for gate in cluster.gates.values():
        gate.open()


@pytest.fixture
def told(request: pytest.FixtureRequest, world: World) -> Callable[..., None]:
    """Put a line into the table that is printed at the end: what was tried, and what came out."""
    began = time.monotonic()
    table = request.config.stash.setdefault(_TABLE, [])

    def tell(scenario: str, run: Run, task_id: str) -> None:
        tasks = [task for task in run.tasks() if task["task_id"] == task_id]
        tries, states = ({str(task[what]) for task in tasks} for what in ("try_number", "state"))
        posts = world.achieveit.posts(f"{run.dag_id}.{task_id}.{run.run_id}.")
        seconds = time.monotonic() - began
        counted = f"{len(tasks)} x " if len(tasks) > 1 else ""
        table.append((scenario, f"{seconds:.0f}", str(posts), "/".join(sorted(tries)), counted + "/".join(states)))

    return tell


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    lines = config.stash.get(_TABLE, [])
    if lines:
        lines = [("scenario", "seconds", "POSTs", "tries", "state"), *lines]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        terminalreporter.section("what the cluster went through")
        for line in lines:
            terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
