"""Workers that die with SIGKILL, and an API server that does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg2

from tests.cluster.conftest import once
from tests.cluster.data import ROWS
from tests.cluster.stack import Run
from tests.cluster.world import World


def test_a_killed_task_process_is_followed_by_one_that_waits_for_the_same_jobs(
    world: World, told: Callable[..., None]
) -> None:
    world.achieveit.hold_jobs()
    run = world.airflow.run("process_killed")
    world.wait_until_looked_at(run, "push")
    world.airflow.kill_task(run.task("push"))
    world.airflow.until(lambda: run.task("push")["try_number"] == 2, seconds=60, what="the second try begins")
    world.achieveit.let_go()
    assert run.ended() == {"push": "success"}
    assert world.achieveit.posts(run.name("push")) == ROWS
    assert world.achieveit.applied(run.name("push")) == once(run, "push")
    for job in world.achieveit.jobs(run.name("push")):
        assert f"is queued as job {job}: not sent again" in run.log("push")
    told("task process killed, waiting", run, "push")


def test_of_killed_workers_nothing_is_lost_and_nothing_sent_twice(world: World, told: Callable[..., None]) -> None:
    achieveit, airflow = world.achieveit, world.airflow
    achieveit.hold_jobs()
    # The second batches of these are on their way when the workers die: some are queued and their answers never come,
    # that of sending_again is not queued.
    achieveit.add_fault({"kind": "delay", "path": r"sending\..*\.b0002\.", "after": True, "times": 2, "seconds": 240})
    achieveit.add_fault({"kind": "delay", "path": r"sending_again\..*\.b0002\.", "seconds": 240})
    achieveit.add_fault({"kind": "status", "path": r"sending_again\..*\.b0002\.", "status": 503})
    run = airflow.run("worker_killed")
    airflow.until(
        lambda: {achieveit.posts(run.name(task)) for task in ("sending", "ledger_sending", "sending_again")} == {2},
        seconds=90,
        what="they send their second batches",
    )
    for task in ("waiting", "ledger_waiting"):
        world.wait_until_looked_at(run, task)

    # Another one has sent all of its batches and hangs where it has to tell Airflow about the jobs, before the wait.
    achieveit.add_fault({"kind": "delay", "path": r"killed_before_wait.*\.b0001\.", "after": True, "seconds": 4})
    before_wait = airflow.run("killed_before_wait")
    airflow.until(lambda: achieveit.posts(before_wait.name("push")), seconds=90, what="it sends its first batch")
    with locked_table(airflow.database_url("airflow"), "xcom") as somebody_waits:
        airflow.until(somebody_waits, seconds=30, what="the task hangs between its last POST and the wait")
        assert achieveit.posts(before_wait.name("push")) == ROWS
        assert not achieveit.looked_at(before_wait.name("push"))
        airflow.kill_workers()
    airflow.start_workers()
    achieveit.let_go()

    unsure = ("sending", "ledger_sending")
    sure = ("waiting", "ledger_waiting", "sending_again")
    assert run.ended() == dict.fromkeys(unsure, "failed") | dict.fromkeys(sure, "success")
    assert before_wait.ended() == {"push": "success"}
    assert_sent(world, before_wait, "push", posts=ROWS)
    told("workers killed, before the wait", before_wait, "push")
    for task in sure + unsure:
        assert_sent(world, run, task, posts=ROWS + 1 if task == "sending_again" else ROWS)
        told(f"workers killed, {task}", run, task)
    for task in unsure:
        failure = [line for line in run.log(task).splitlines() if "AchieveItUnsureSubmissionError" in line][-1]
        assert f"{run.name(task)}b0002." in failure

    # A person looks into AchieveIt, finds the updates, writes that down and clears the tasks.
    key = re.findall(r"achieveit_progress_[0-9a-f]{64}", run.log("sending"))[-1]
    run.write_state("sending", key, {"state": "applied"})
    assert correct_ledger(airflow.database_url("ledger")) == 1
    for task in unsure:
        run.clear(task)
    assert run.ended() == dict.fromkeys(sure + unsure, "success")
    for task in unsure:
        assert_sent(world, run, task, posts=ROWS)
        told(f"{task}, corrected by a person", run, task)


def assert_sent(world: World, run: Run, task_id: str, *, posts: int) -> None:
    assert world.achieveit.posts(run.name(task_id)) == posts, task_id
    assert world.achieveit.applied(run.name(task_id)) == once(run, task_id), task_id


def correct_ledger(url: str) -> int:
    """Say of all batches that are unsure that they are applied; return how many were."""
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("update achieveit_submissions set state = 'applied' where state = 'sending'")
            return int(cursor.rowcount)
    finally:
        connection.close()


@contextmanager
def locked_table(url: str, table: str) -> Iterator[Callable[[], bool]]:
    """Let nobody write or read a table; gives a function that tells whether somebody wants to."""
    connection = psycopg2.connect(url)
    watcher = psycopg2.connect(url)
    watcher.autocommit = True
    cursor = watcher.cursor()

    def somebody_waits() -> bool:
        cursor.execute("select 1 from pg_locks where relation = %s::regclass and not granted", (table,))
        return cursor.fetchone() is not None

    try:
        connection.cursor().execute(f"lock table {table} in access exclusive mode")
        yield somebody_waits
    finally:
        connection.close()
        watcher.close()
