"""One cluster for all its tests, and tables of what they saw."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.data import ROWS, comment
from tests.cluster.figures import Figures, figures
from tests.cluster.stack import Run
from tests.cluster.world import World, running_world, what_is_missing

_TABLE = pytest.StashKey[list[tuple[str, ...]]]()
_FIGURES = pytest.StashKey[list[Figures]]()


@pytest.hookimpl(tryfirst=True)  # before the marks decide what runs
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and "world" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(300))


def once(run: Run, task_id: str) -> Counter[str]:
    """Return what AchieveIt should show of a task: every update once."""
    return Counter(comment(run.dag_id, task_id, number) for number in range(ROWS))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The cluster; where Redis or PostgreSQL is missing, skip and say so, but fail in CI."""
    if missing := what_is_missing():
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    directory = tmp_path_factory.mktemp("cluster")
    try:
        with running_world(directory) as world:
            yield world
    finally:
        print(f"the components' output: {directory}")


@pytest.fixture
def world(cluster: World) -> Iterator[World]:
    """The cluster, left to the next test without faults."""
    cluster.achieveit.forget_requests()
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


@pytest.fixture
def counted(request: pytest.FixtureRequest, world: World) -> Callable[[str, Sequence[dict[str, Any]]], None]:
    """Put what some task instances cost into the table of figures."""
    table = request.config.stash.setdefault(_FIGURES, [])
    return lambda scenario, tasks: table.append(figures(scenario, world, tasks))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if lines := config.stash.get(_TABLE, []):
        title = "what the cluster went through"
        _print_table(terminalreporter, title, [("scenario", "seconds", "POSTs", "tries", "state"), *lines])
    if counted := config.stash.get(_FIGURES, []):
        names = tuple(field.name for field in dataclasses.fields(Figures))
        lines = [tuple(map(str, dataclasses.astuple(one))) for one in counted]
        _print_table(terminalreporter, "what the cluster did at scale", [names, *lines])
        if path := os.environ.get("CLUSTER_FIGURES"):
            Path(path).write_text(json.dumps([dataclasses.asdict(one) for one in counted], indent=2))


def _print_table(terminalreporter: Any, title: str, lines: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    terminalreporter.section(title)
    for line in lines:
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
