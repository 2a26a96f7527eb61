"""How many jobs are open at AchieveIt at once: as many as a pool has slots, where deferred tasks count."""

from __future__ import annotations

from collections.abc import Callable

from tests.cluster.data import POOLED
from tests.cluster.world import World

SLOTS = 3


def test_a_pool_that_counts_deferred_tasks_bounds_the_open_jobs(world: World, told: Callable[..., None]) -> None:
    achieveit, airflow = world.achieveit, world.airflow
    for name, include_deferred in (("counts_deferred", True), ("counts_running", False)):
        airflow.ask("POST", "pools", {"name": name, "slots": SLOTS, "include_deferred": include_deferred})
    achieveit.hold_jobs()
    run = airflow.run("pooled")
    bounded, unbounded = run.name("bounded"), run.name("unbounded")
    airflow.until(lambda: len(achieveit.jobs(unbounded)) == POOLED, seconds=120, what="the pool lets all tasks send")
    airflow.until(lambda: len(achieveit.jobs(bounded)) == SLOTS, seconds=60, what="the pool's tasks have sent")
    achieveit.let_go()
    for task_id in ("bounded", "unbounded"):
        run.wait(task_id, "success", seconds=120)
    assert achieveit.most_open_jobs(bounded) == SLOTS
    assert achieveit.most_open_jobs(unbounded) == POOLED
    for name, task_id in ((bounded, "bounded"), (unbounded, "unbounded")):
        assert sorted(achieveit.applied(name).values()) == [1] * POOLED
        told(f"pool of {SLOTS}, {task_id}", run, task_id)
