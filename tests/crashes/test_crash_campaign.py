"""A task that is killed at any point and tried again: nothing lost, nothing twice.

The points are those of a run that nobody kills, so a new change of state is a new case by itself. What happened is read
from the server's log. Where nobody can tell whether a batch arrived (killed when "sending" was written down and its job
id was not), ``on_unsure`` decides.
"""

from __future__ import annotations

import random
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from airflow_provider_achieveit.simulator.server import running
from tests.airflow_versions import needs_task_state_store
from tests.crashes.campaign import KILLED, Campaign, Process, campaign
from tests.crashes.dags import ROWS_IN_BATCH, Setting
from tests.crashes.points import BATCHES
from tests.depth import depth
from tests.postgres import connect_or_skip

# Each is some dozens of processes, and the first one waits for the process that forks them.
pytestmark = pytest.mark.timeout(300)

BATCH_NUMBERS = range(1, BATCHES + 1)
ALL_ONCE = dict.fromkeys(BATCH_NUMBERS, 1)
PARTS = 2
"""So many tests share the points of a setting: none shall take long, and workers can share them."""
SEEDS = 1
KILLS = 4

every_setting = pytest.mark.parametrize(
    ("deferrable", "ledger"),
    [
        pytest.param(
            deferrable,
            ledger,
            id=f"{'deferrable' if deferrable else 'sync'}-{'ledger' if ledger else 'task_state'}",
            marks=() if ledger else needs_task_state_store,
        )
        for ledger in (False, True)
        for deferrable in (False, True)
    ],
)


@pytest.fixture(scope="module")
def crashes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    with running() as simulator, campaign(simulator, tmp_path_factory.mktemp("crashes")) as prepared:
        prepared.set_up([Setting(deferrable, table) for deferrable in (False, True) for table in (None, "any")])
        yield prepared


@pytest.fixture(scope="module")
def ledger_table() -> Iterator[str]:
    table = f"crashes_{uuid.uuid4().hex[:12]}"
    with closing(connect_or_skip()) as connection:
        yield table
        with connection, connection.cursor() as cursor:
            cursor.execute(f"drop table if exists {table}, {table}_rejects")


@pytest.fixture
def setting(deferrable: bool, ledger: bool, request: pytest.FixtureRequest) -> Setting:
    return Setting(deferrable, request.getfixturevalue("ledger_table") if ledger else None)


def unsure_at(trace: list[str], point: int) -> int | None:
    """Return the batch nobody can tell about after a kill at a point."""
    return Process(KILLED, None, trace[: point + 1]).unsure


def kill(crashes: Campaign, setting: Setting, run_id: str, point: int) -> Process:
    process = crashes.process(setting, run_id, kill_at=point)
    assert process.exit_code == KILLED
    assert process.trace == crashes.trace(setting)[: point + 1], "a run goes the same way every time"
    return process


def each_point(points: list[int], trace: list[str], check: Callable[[int], None]) -> None:
    """Check all points, and tell of all that are wrong."""
    wrong = []
    for point in points[:: depth(1, short=4)]:
        try:
            check(point)
        except AssertionError as error:
            wrong.append(f"killed at point {point}, after {trace[point]!r}: {error}")
    if wrong or not points:
        pytest.fail("\n".join(wrong) or "no point to be killed at")


def assert_whole(process: Process) -> None:
    """The task says that all is applied."""
    assert process.told, "ended without a result"
    assert process.told["state"] == "success", process.told
    result = process.told["xcoms"]["return_value"]
    assert result["rows_read"] == result["rows_submitted"] + result["rows_unchanged"] == BATCHES * ROWS_IN_BATCH
    assert [batch["state"] for batch in result["batches"]] == ["applied"] * BATCHES


def assert_told(process: Process, unsure: int, received: dict[int, int]) -> str:
    """The task failed at once, and tells the person what to look for and what was not sent; return its message."""
    assert process.told, "ended without a result"
    assert (process.told["state"], process.told["error"]) == ("failed", "AchieveItUnsureSubmissionError"), process.told
    message = str(process.told["message"])
    assert re.search(rf"\.b{unsure:04}\.[0-9a-f]{{8}}\.csv \({ROWS_IN_BATCH} rows, sha256 [0-9a-f]{{64}}\)", message)
    others = len(received.keys() - {unsure})
    assert f"{others} other batches are queued or applied, {BATCHES - 1 - others} were not sent." in message
    return message


@every_setting
def test_the_points_are_all_changes_that_outlive_a_process(crashes: Campaign, setting: Setting) -> None:
    trace = crashes.trace(setting)
    write = "commit" if setting.ledger_table else "SetTaskStateStore"
    posts = ["POST: headers sent", "POST: taken, answer not read", "POST: the job id is there"]
    wait = ["the wait begins", "looked at a job 1"]
    if setting.deferrable:
        wait = ["the deferral is raised", "DeferTask", "the trigger runs", "looked at a job 1"]
        wait += ["the trigger has its event", "the event is handed in", "execute_complete begins"]
    expected = ["execute begins", f"{write} plan"]
    for batch in BATCH_NUMBERS:
        expected += [f"{write} sending {batch}", *posts, f"{write} queued {batch}"]
    expected += ["SetXCom job_ids", *wait, *(f"{write} applied {batch}" for batch in BATCH_NUMBERS)]
    expected += ["SetXCom return_value", "SucceedTask"]
    rest = iter(trace)
    assert [point for point in expected if point not in rest] == [], trace
    # Nothing but the POST lies between "sending" and the job id: for as short as can be nobody can tell.
    unsure = [trace[point] for point in range(len(trace)) if unsure_at(trace, point)]
    assert unsure == [point for batch in BATCH_NUMBERS for point in (f"{write} sending {batch}", *posts)]


@every_setting
@pytest.mark.parametrize("part", range(PARTS))
def test_killed_at_any_point_and_tried_again(crashes: Campaign, setting: Setting, part: int) -> None:
    trace = crashes.trace(setting)

    def check(point: int) -> None:
        run_id = crashes.new_run()
        kill(crashes, setting, run_id, point)
        assert_whole(crashes.process(setting, run_id))
        assert crashes.received(run_id) == ALL_ONCE

    sure = [point for point in range(len(trace)) if not unsure_at(trace, point)]
    each_point(sure[part::PARTS], trace, check)


@every_setting
def test_killed_where_nobody_can_tell_a_person_decides(crashes: Campaign, setting: Setting) -> None:
    """``on_unsure="fail"``: who has looked sets the state as the message says, clears the task, and it goes on."""
    trace = crashes.trace(setting)
    unsure_points = [point for point in range(len(trace)) if unsure_at(trace, point)]

    def check(point: int) -> None:
        run_id = crashes.new_run()
        killed = kill(crashes, setting, run_id, point)
        unsure = unsure_at(trace, point)
        assert unsure
        assert crashes.received(run_id).get(unsure, 0) == killed.taken
        retry = crashes.process(setting, run_id)
        received = crashes.received(run_id)
        message = assert_told(retry, unsure, received)
        assert received == {batch: 1 for batch in BATCH_NUMBERS if batch != unsure or killed.taken}
        if point % 2 != unsure_points[0] % 2:
            # Two points before the server took it and two after: going on from one of each is enough.
            return
        crashes.correct(setting, run_id, message, "applied" if killed.taken else "planned")
        assert_whole(crashes.process(setting, run_id, clear=True))
        assert crashes.received(run_id) == ALL_ONCE

    each_point(unsure_points, trace, check)


@every_setting
def test_killed_where_nobody_can_tell_it_is_sent_again_on_request(crashes: Campaign, setting: Setting) -> None:
    """``on_unsure="resubmit"``: nothing is lost, and only what the server had taken comes twice."""
    trace = crashes.trace(setting)

    def check(point: int) -> None:
        run_id = crashes.new_run()
        killed = kill(crashes, setting, run_id, point)
        assert_whole(crashes.process(replace(setting, on_unsure="resubmit"), run_id))
        assert crashes.received(run_id) == ALL_ONCE | {unsure_at(trace, point): 1 + killed.taken}

    each_point([point for point in range(len(trace)) if unsure_at(trace, point)], trace, check)


@every_setting
@pytest.mark.parametrize("seed", range(SEEDS))
def test_killed_again_and_again(crashes: Campaign, setting: Setting, seed: int) -> None:
    """Every try may be killed, anywhere; only where nobody can tell may a batch come again."""
    rng = random.Random(seed)
    points = len(crashes.trace(setting))
    setting = replace(setting, on_unsure="resubmit")
    run_id = crashes.new_run()
    twice: Counter[int] = Counter()
    for _ in range(KILLS):
        process = crashes.process(setting, run_id, kill_at=rng.randrange(points))
        if process.exit_code != KILLED:
            break
        if process.unsure and process.taken:
            twice[process.unsure] += 1
    assert_whole(crashes.process(setting, run_id))
    assert crashes.received(run_id) == {batch: 1 + twice[batch] for batch in BATCH_NUMBERS}
