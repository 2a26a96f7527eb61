"""Deferred tasks whose triggerer dies, or that a person marks or clears."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.cluster.conftest import once
from tests.cluster.data import MANY, ROWS
from tests.cluster.stack import Run
from tests.cluster.world import World


def test_fifty_deferred_tasks_survive_the_triggerer(world: World, told: Callable[..., None]) -> None:
    world.achieveit.hold_jobs()
    run = world.airflow.run("many")
    run.wait("push", "deferred", seconds=180)
    assert world.achieveit.posts(run.name("push")) == MANY
    world.airflow.parts["triggerer"].kill()
    world.airflow.start_part("triggerer")
    world.achieveit.let_go()
    run.wait("push", "success", seconds=180)
    assert len(run.tasks()) == MANY
    assert {task["try_number"] for task in run.tasks()} == {1}
    assert world.achieveit.posts(run.name("push")) == MANY
    assert list(world.achieveit.applied(run.name("push")).values()) == [1] * MANY
    told("triggerer killed, 50 deferred", run, "push")


def test_a_deferred_task_that_a_person_fails_or_clears_tells_its_jobs_and_the_next_try_finds_them(
    world: World, told: Callable[..., None]
) -> None:
    world.achieveit.hold_jobs()
    run = world.airflow.run("marked")
    for task in ("failed", "cleared"):
        run.wait(task, "deferred")
        world.wait_until_looked_at(run, task)
    run.mark("failed", "failed")
    run.clear("cleared")
    for task in ("failed", "cleared"):
        world.airflow.until(partial(tells_its_jobs, world, run, task), seconds=60, what=f"{task} tells its jobs")
    run.wait("cleared", "deferred")
    run.clear("failed")
    run.wait("failed", "deferred")
    world.achieveit.let_go()
    assert run.ended() == {"failed": "success", "cleared": "success"}
    for task in ("failed", "cleared"):
        assert world.achieveit.posts(run.name(task)) == ROWS
        assert world.achieveit.applied(run.name(task)) == once(run, task)
        told(f"deferred, {task} by a person", run, task)


def tells_its_jobs(world: World, run: Run, task_id: str) -> bool:
    lines = [line for line in run.log(task_id).splitlines() if "AchieveIt will still apply them" in line]
    return any(all(job in line for job in world.achieveit.jobs(run.name(task_id))) for line in lines)


def test_without_a_triggerer_deferred_tasks_end_soon_after_their_deadline(
    world: World, told: Callable[..., None]
) -> None:
    world.achieveit.hold_jobs()
    world.airflow.parts["triggerer"].kill()
    try:
        run = world.airflow.run("abandoned")
        for task in ("stuck", "applied"):
            run.wait(task, "deferred")
        stuck = run.name("stuck")
        world.achieveit.let_go()
        world.achieveit.hold_jobs(stuck)
        # 5 s to wait, the minute that a triggerer is given beyond that, and the scheduler's own time.
        assert run.ended(seconds=5 + 60 + 30) == {"stuck": "failed", "applied": "success"}
    finally:
        world.airflow.start_part("triggerer")
    for task in ("stuck", "applied"):
        assert world.achieveit.posts(run.name(task)) == ROWS
        assert run.task(task)["try_number"] == 1
        told(f"no triggerer, jobs {task}", run, task)
    [failure] = [line for line in run.log("stuck").splitlines() if "Task failed with exception" in line]
    assert "AchieveItJobTimeoutError" in failure
    assert all(job in failure for job in world.achieveit.jobs(stuck))
