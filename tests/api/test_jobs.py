from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_achieveit.api.contract import JobState, JobStatus
from airflow_provider_achieveit.api.failure import Failure, FailureKind
from airflow_provider_achieveit.api.http import LONGEST_PAUSE, MAX_RETRY_AFTER
from airflow_provider_achieveit.api.jobs import (
    FAILED_ANSWERS,
    LONGEST_REPORT_INTERVAL,
    MISSING_GRACE,
    REPORT_INTERVAL,
    JobEnd,
    JobResult,
    JobWait,
    WaitOutcome,
)

PASSING = Failure(FailureKind.UNAVAILABLE, "HTTP 503", 503, retryable=True, retry_after=42)
REFUSED_KEY = Failure(FailureKind.AUTH, "HTTP 401", 401)


def waiting(*jobs: str, deadline: float = 1000.0) -> JobWait:
    return JobWait(jobs or ("a",), poll_interval=10, deadline=deadline, now=0)


def say(wait: JobWait, *states: JobState, job: str = "a", now: float = 1.0) -> None:
    for state in states:
        wait.observe(job, JobStatus(state, "because"), now)


def end(wait: JobWait, job: str = "a") -> JobEnd | None:
    result = wait.outcome().results.get(job)
    return result.end if result else None


def test_pending_then_applied() -> None:
    wait = waiting()
    say(wait, JobState.PENDING, JobState.PENDING)
    assert wait.pending == ["a"]
    say(wait, JobState.APPLIED)
    assert wait.pending == []
    assert wait.outcome().combined_failure() is None


def test_refused_keeps_the_reason() -> None:
    wait = waiting()
    say(wait, JobState.REFUSED)
    assert wait.outcome().results == {"a": JobResult(JobEnd.REFUSED, "because")}


def test_500_counts_only_in_a_row() -> None:
    wait = waiting()
    for between in (JobState.PENDING, JobState.MISSING):
        say(wait, *[JobState.FAILED] * (FAILED_ANSWERS - 1), between)
    say(wait, *[JobState.FAILED] * (FAILED_ANSWERS - 1))
    wait.observe_failure("a", PASSING)
    say(wait, *[JobState.FAILED] * (FAILED_ANSWERS - 1))
    assert wait.pending == wait.unconfirmed == ["a"]
    say(wait, JobState.FAILED)
    assert end(wait) is JobEnd.FAILED


def test_404_has_a_grace_period() -> None:
    wait = waiting()
    say(wait, JobState.MISSING, now=MISSING_GRACE - 1)
    assert wait.pending == ["a"]
    say(wait, JobState.MISSING, now=MISSING_GRACE)
    assert end(wait) is JobEnd.UNKNOWN


def test_a_wait_that_begins_too_late_still_looks_at_every_job_once() -> None:
    wait = JobWait("abc", poll_interval=10, deadline=50, now=100)
    for job in "abc":
        assert wait.patience(100) == 1
        say(wait, JobState.APPLIED if job != "c" else JobState.PENDING, job=job, now=101)
    wait.next_delay(101)
    assert wait.patience(102) is None
    assert [end(wait, job) for job in "abc"] == [JobEnd.APPLIED, JobEnd.APPLIED, JobEnd.TIMEOUT]


def test_a_wait_that_begins_just_before_its_deadline_looks_at_every_job_once() -> None:
    wait = JobWait("abc", poll_interval=10, deadline=100.1, now=100)
    for now, job in zip((100, 101, 102), "abc", strict=True):
        assert wait.patience(now) == 1
        say(wait, JobState.APPLIED, job=job, now=now)
    assert [end(wait, job) for job in "abc"] == [JobEnd.APPLIED] * 3


@pytest.mark.parametrize("now", [101, 160])
def test_a_wait_that_begins_too_late_does_not_go_on_for_ever(now: float) -> None:
    wait = JobWait("abc", poll_interval=10, deadline=50, now=100)
    assert wait.patience(100) == 1
    if now == 101:
        wait.observe_failure("a", PASSING)
    assert wait.patience(now) is None


def test_a_passing_fault_never_ends_a_wait_and_is_told_at_the_deadline() -> None:
    wait = waiting(deadline=100)
    for _ in range(50):
        wait.observe_failure("a", PASSING)
    assert wait.pending == ["a"]
    assert wait.next_delay(100) == 0
    assert wait.outcome().results == {"a": JobResult(JobEnd.TIMEOUT, "HTTP 503")}


def test_a_refused_key_ends_the_wait_for_all() -> None:
    wait = waiting("a", "b")
    wait.observe_failure("a", REFUSED_KEY)
    assert wait.pending == []
    assert wait.outcome().combined_failure() == REFUSED_KEY


def test_retry_after_holds_for_one_round() -> None:
    wait = waiting()
    wait.observe_failure("a", PASSING)
    assert wait.next_delay(0) == 42
    assert 9 <= wait.next_delay(0) <= 11


def test_the_interval_is_from_look_to_look() -> None:
    wait = JobWait(["a"], poll_interval=10, deadline=1000, now=100)
    pause = wait.next_delay(104)
    assert 5 <= pause <= 7
    next_round = 104 + pause
    assert 4 <= wait.next_delay(next_round + 5) <= 6


def test_after_a_round_that_took_longer_than_the_interval_there_is_a_pause_all_the_same() -> None:
    wait = JobWait(["a"], poll_interval=10, deadline=1000, now=0)
    assert 0.9 <= wait.next_delay(60) <= 1.1


def test_a_wait_looks_again_after_a_while_whatever_it_was_asked() -> None:
    wait = waiting(deadline=10_000)
    wait.observe_failure("a", replace(PASSING, retry_after=MAX_RETRY_AFTER))
    assert wait.next_delay(0) == LONGEST_PAUSE


@given(now=st.floats(0, 999.99), interval=st.floats(0, 1e6), asked=st.floats(0, 300))
def test_the_delay_is_never_nothing_and_never_beyond_the_deadline(now: float, interval: float, asked: float) -> None:
    wait = JobWait(["a"], poll_interval=interval, deadline=1000, now=0)
    wait.observe_failure("a", Failure(FailureKind.UNAVAILABLE, "x", retryable=True, retry_after=asked))
    delay = wait.next_delay(now)
    assert 0 < delay <= max(1000 - now, 0.05)


def test_repeated_job_ids_are_asked_once() -> None:
    assert waiting("a", "b", "a").pending == ["a", "b"]


def test_a_long_wait_reports_now_and_then() -> None:
    wait = waiting("a", "b")
    assert wait.report(REPORT_INTERVAL - 1) is None
    wait.observe_failure("b", PASSING)
    line = wait.report(REPORT_INTERVAL)
    assert line == "Waiting for 2 of 2 job(s) since 60 s, 940 s left: a, b; last trouble: HTTP 503"
    assert wait.report(REPORT_INTERVAL + 1) is None


def test_a_very_long_wait_reports_ever_more_seldom() -> None:
    wait = waiting(deadline=10_000)
    reported = [now for now in range(0, 6 * int(LONGEST_REPORT_INTERVAL)) if wait.report(now)]
    assert reported == [60, 180, 420, 900, 1500, 2100, 2700, 3300]


class TestCombinedFailure:
    def outcome(self, *ends: JobEnd) -> WaitOutcome:
        return WaitOutcome({f"j{at}": JobResult(end, "because") for at, end in enumerate(ends)})

    @pytest.mark.parametrize(
        ("ends", "kind", "retryable"),
        [
            ([JobEnd.FAILED], FailureKind.JOB_FAILED, True),
            ([JobEnd.APPLIED, JobEnd.FAILED, JobEnd.REFUSED], FailureKind.JOB_REFUSED, False),
            ([JobEnd.FAILED, JobEnd.TIMEOUT], FailureKind.JOB_TIMEOUT, False),
            ([JobEnd.UNKNOWN, JobEnd.TIMEOUT], FailureKind.REQUEST, False),
        ],
    )
    def test_the_gravest_decides(self, ends: list[JobEnd], kind: FailureKind, retryable: bool) -> None:
        failure = self.outcome(*ends).combined_failure()
        assert failure is not None
        assert (failure.kind, failure.retryable) == (kind, retryable)

    def test_tells_file_job_and_reason(self) -> None:
        failure = self.outcome(JobEnd.APPLIED, JobEnd.REFUSED).combined_failure({"j1": "b2.csv"})
        assert failure is not None
        assert failure.message == (
            "1 of 2 job(s) not applied (1 applied):\nbatch b2.csv, job j1: AchieveIt refused the data (400): because "
            "(rows are counted within the batch)\nMend these rows in the source, then clear the task that sent them."
        )

    def test_many_are_counted(self) -> None:
        failure = self.outcome(*[JobEnd.REFUSED] * 500).combined_failure()
        assert failure is not None
        assert "\nand 480 more\n" in failure.message
        assert len(failure.message) < 3000


@given(
    st.dictionaries(st.text(), st.builds(JobResult, st.sampled_from(JobEnd), st.text())),
    st.none() | st.builds(Failure, st.sampled_from(FailureKind), st.text(), st.none() | st.integers(), st.booleans()),
)
def test_an_outcome_survives_json(results: dict[str, JobResult], failure: Failure | None) -> None:
    outcome = WaitOutcome(results, failure)
    assert WaitOutcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome


def test_an_event_of_a_later_version_is_understood() -> None:
    data = WaitOutcome({}, REFUSED_KEY).to_json()
    data["failure"]["added_later"] = 1
    data["added_later"] = 1
    assert WaitOutcome.from_json(data).failure == REFUSED_KEY
