"""Servers that are away for a while: AchieveIt, and Airflow's own API server."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.cluster.conftest import once
from tests.cluster.data import ROWS
from tests.cluster.world import World

AWAY = 30


def test_achieveit_away_for_half_a_minute_costs_no_task_and_no_update(world: World, told: Callable[..., None]) -> None:
    airflow, achieveit = world.airflow, world.achieveit
    achieveit.hold_jobs()
    waiting = {how: airflow.run(f"{how}_waiting") for how in world.gates}
    for run in waiting.values():
        for task in ("worker", "triggerer"):
            world.wait_until_looked_at(run, task)
    began = time.monotonic()
    world.gates["refused"].refuse()
    world.gates["hung"].hang()
    achieveit.let_go()
    submitting = {how: airflow.run(f"{how}_submitting") for how in world.gates}
    while time.monotonic() < began + AWAY:
        for run in waiting.values():
            assert {task["state"] for task in run.tasks()} == {"running", "deferred"}
        time.sleep(2)
    assert not any(achieveit.posts(run.name("push")) for run in submitting.values())
    for gate in world.gates.values():
        gate.open()
    for how in world.gates:
        assert waiting[how].ended() == {"worker": "success", "triggerer": "success"}
        assert submitting[how].ended() == {"push": "success"}
        assert {task["try_number"] for task in waiting[how].tasks()} == {1}
        for scenario, run, task in [
            ("waiting in a worker", waiting[how], "worker"),
            ("waiting in the triggerer", waiting[how], "triggerer"),
            ("submitting", submitting[how], "push"),
        ]:
            assert achieveit.posts(run.name(task)) == ROWS, scenario
            assert achieveit.applied(run.name(task)) == once(run, task), scenario
            told(f"AchieveIt {how} for {AWAY} s, {scenario}", run, task)


def test_airflows_own_api_server_killed_costs_no_update(world: World, told: Callable[..., None]) -> None:
    airflow, achieveit = world.airflow, world.achieveit
    achieveit.hold_jobs()
    run = airflow.run("api_server_killed")
    for task in ("worker", "triggerer"):
        world.wait_until_looked_at(run, task)
    run.wait("triggerer", "deferred")
    airflow.parts["api-server"].kill()
    achieveit.let_go()
    airflow.start_part("api-server")
    airflow.until(run.tasks, seconds=90, what="the API server answers again")
    assert run.ended() == {"worker": "success", "triggerer": "success"}
    for task in ("worker", "triggerer"):
        assert achieveit.posts(run.name(task)) == ROWS
        assert achieveit.applied(run.name(task)) == once(run, task)
        told(f"API server killed, waiting in the {task}", run, task)
