"""The process dies before any step of the writing: a reader has the old file whole, or the new one whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_achieveit.simulator.seed_data import generated_plan
from airflow_provider_achieveit.simulator.server import RunningSimulator, running
from airflow_provider_achieveit.simulator.world import World

KILLED = -9


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running(world=World([generated_plan(60, seed=1, plan_id="p1")])) as it:
        yield it


@pytest.fixture
def process(simulator: RunningSimulator, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "private").mkdir()
    environment = os.environ | {
        "AIRFLOW_CONN_ACHIEVEIT_DEFAULT": simulator.connection(),
        "TMPDIR": str(tmp_path / "private"),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.files.killed"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
    ) as started:
        yield started
        assert started.stdin is not None
        started.stdin.close()


class Reader(threading.Thread):
    """Reads a file again and again, and keeps every content that it saw."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path, self.seen, self.reads, self.over = path, set[bytes](), 0, threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            self.seen.add(self.path.read_bytes())
            self.reads += 1
            self.over.wait(0.0005)


def attempt(process: subprocess.Popen[str], path: Path, step: int) -> int:
    assert process.stdin is not None
    assert process.stdout is not None
    arguments: dict[str, Any] = {"task_id": "export", "plan_id": "p1", "path": str(path), "page_size": 25}
    process.stdin.write(json.dumps({"arguments": arguments, "step": step}) + "\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def test_killed_at_every_step(simulator: RunningSimulator, process: subprocess.Popen[str], tmp_path: Path) -> None:
    path = tmp_path / "public" / "plan.jsonl"
    never = 10**9
    assert attempt(process, path, never) == 0
    old = path.read_bytes()
    simulator.world.plans["p1"].items[4].fields["name"] = "Another name"
    assert attempt(process, path, never) == 0
    new = path.read_bytes()
    assert old != new

    reader = Reader(path)
    path.write_bytes(old)
    reader.start()
    old_or_new: list[bool] = []
    with_part = 0
    for step in range(1000):
        code = attempt(process, path, step)
        content = path.read_bytes()
        assert content in (old, new), f"half a file after step {step}"
        parts = [found for found in path.parent.iterdir() if found != path]
        assert [part.name[:12] for part in parts] in ([], [".plan.jsonl."]), parts
        assert list((tmp_path / "private").iterdir()) == []
        if code == 0:
            break
        assert code == KILLED
        old_or_new.append(content == new)
        for part in parts:
            with_part += 1
            part.unlink()
        beside = tmp_path / "beside"
        beside.write_bytes(old)
        beside.replace(path)
    reader.over.set()
    reader.join()
    assert path.read_bytes() == new
    assert reader.seen == {old, new}
    assert reader.reads > len(old_or_new)
    # The steps lie on both sides of the move, and some lie between the part and its move.
    assert sorted(old_or_new) == old_or_new
    assert set(old_or_new) == {False, True}
    assert with_part > 5
