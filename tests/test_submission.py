"""What is sent, awaited or left alone, by what the store has of a batch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind
from airflow_provider_achieveit.api.jobs import JobEnd, JobResult, JobWait, WaitOutcome
from airflow_provider_achieveit.submission import (
    BATCHES_TOLD,
    BatchRecord,
    BatchState,
    Decision,
    NoStore,
    Submission,
    SubmittedBatch,
    TaskStateStore,
    decide,
    settle,
    summarize,
    unsure_failure,
)

BATCH = SubmittedBatch("d.t.r.b0001.csv", rows=3, sha256="ab" * 32)
UNSURE = Failure(FailureKind.UNSURE, "no usable answer")
WITHOUT_ID = Failure(FailureKind.UNSURE, "no job id in 'ok'", status=200)
UNAVAILABLE = Failure(FailureKind.UNAVAILABLE, "HTTP 503", 503, retryable=True)


class DictStore:
    """A store as Airflow's: JSON values by key."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.kept[key]) if key in self.kept else default

    def set(self, key: str, value: Any) -> None:
        self.kept[key] = json.dumps(value)


class Server:
    """Takes batches and answers as told; looks at what the store knew at that moment."""

    def __init__(self, store: TaskStateStore, *answers: Failure | str) -> None:
        self.store = store
        self.answers = list(answers) or ["job-1"]
        self.known: list[BatchRecord | None] = []
        self.looked: list[str] = []
        self.job_end: JobEnd | None = None

    def look_at_jobs(self, kind: UpdateKind, wait: JobWait) -> WaitOutcome:
        [job_id] = wait.pending
        self.looked.append(job_id)
        return WaitOutcome({job_id: JobResult(self.job_end)} if self.job_end else {})

    def submit(self, kind: UpdateKind, filename: str, body: bytes) -> str:
        self.known.append(self.store.get(BATCH.sha256))
        answer = self.answers.pop(0)
        if isinstance(answer, Failure):
            raise ApiError(answer)
        return answer


def store_with(state: BatchState | None = None, job_id: str | None = None, generation: int = 0) -> TaskStateStore:
    store = TaskStateStore(DictStore(), UpdateKind.PROGRESS)
    if state:
        store.put(BATCH.sha256, BatchRecord(state, job_id, generation, at=0.0))
    return store


def submit(store: TaskStateStore, server: Server, **options: Any) -> SubmittedBatch:
    return Submission(server, kind=UpdateKind.PROGRESS, store=store, **options).submit(BATCH, b"x")


@pytest.mark.parametrize(
    ("state", "decision"),
    [
        (None, Decision.SEND),
        (BatchState.PLANNED, Decision.SEND),
        (BatchState.SENDING, Decision.UNSURE),
        (BatchState.QUEUED, Decision.REATTACH),
        (BatchState.APPLIED, Decision.SKIP),
        (BatchState.REFUSED, Decision.SEND),
        (BatchState.FAILED, Decision.SEND),
        (BatchState.UNKNOWN, Decision.UNSURE),
    ],
)
def test_every_state_has_its_decision(state: BatchState | None, decision: Decision) -> None:
    record = BatchRecord(state, "j", generation=2) if state else None
    assert decide(record, resubmit_always=False, generation=2) is decision
    assert decide(record, resubmit_always=False, generation=5) is decision
    assert decide(record, resubmit_always=True, generation=2) is decision
    assert decide(record, resubmit_always=True, generation=5) is Decision.SEND


def test_sending_is_written_before_the_post_and_the_job_after_it() -> None:
    store = store_with()
    server = Server(store)
    sent = submit(store, server, generation=4)
    assert (sent.state, sent.job_id) == (BatchState.QUEUED, "job-1")
    [before] = server.known
    assert before is not None
    assert (before.state, before.job_id, before.generation) == (BatchState.SENDING, None, 4)
    after = store.get(BATCH.sha256)
    assert after is not None
    assert (after.state, after.job_id, after.generation) == (BatchState.QUEUED, "job-1", 4)


def test_a_queued_batch_is_awaited() -> None:
    store = store_with(BatchState.QUEUED, "job-0")
    server = Server(store)
    assert submit(store, server) == SubmittedBatch(BATCH.filename, 3, BATCH.sha256, BatchState.QUEUED, "job-0")
    assert server.known == []


@pytest.mark.parametrize(
    ("end", "sent", "unchanged"),
    [(None, 0, False), (JobEnd.APPLIED, 0, True), (JobEnd.REFUSED, 1, False), (JobEnd.FAILED, 1, False)],
)
def test_a_cleared_task_looks_at_the_job_nobody_waited_for(end: JobEnd | None, sent: int, unchanged: bool) -> None:
    store = store_with(BatchState.QUEUED, "job-0", generation=0)
    server = Server(store)
    server.job_end = end
    batch = submit(store, server, generation=2)
    assert server.looked == ["job-0"]
    assert (len(server.known), batch.unchanged) == (sent, unchanged)
    assert batch.job_id == ("job-1" if sent else "job-0")


def test_a_retry_does_not_look_before_it_waits() -> None:
    store = store_with(BatchState.QUEUED, "job-0", generation=1)
    server = Server(store)
    submit(store, server, generation=1)
    assert server.looked == []


def test_the_advice_fits_what_was_not_sent() -> None:
    whole = unsure_failure([UNSURE], known=2, not_sent=0)
    assert whole.kind is FailureKind.UNSURE
    assert "mark this task as success" in whole.message
    part = unsure_failure([UNSURE, UNSURE], known=0, not_sent=3)
    assert "mark this task as success" not in part.message
    assert "3 were not sent" in part.message


def test_an_applied_batch_is_left_alone() -> None:
    store = store_with(BatchState.APPLIED, "job-0")
    server = Server(store)
    batch = submit(store, server)
    assert (batch.unchanged, batch.job_id, server.known) == (True, "job-0", [])


def test_an_interrupted_send_is_unsure_and_says_how_to_go_on() -> None:
    store = store_with(BatchState.SENDING)
    server = Server(store)
    with pytest.raises(ApiError) as caught:
        submit(store, server)
    for told in (BATCH.filename, BATCH.sha256, "3 rows", "1970-01-01 00:00:00 UTC"):
        assert told in str(caught.value)
    assert server.known == []


def test_an_interrupted_send_is_sent_again_on_request() -> None:
    store = store_with(BatchState.SENDING)
    assert submit(store, Server(store), resubmit_unsure=True).job_id == "job-1"


def test_a_lost_answer_stays_unsure_for_the_next_try() -> None:
    store = store_with()
    with pytest.raises(ApiError) as caught:
        submit(store, Server(store, UNSURE))
    assert caught.value.failure.kind is FailureKind.UNSURE
    again = Server(store)
    with pytest.raises(ApiError):
        submit(store, again)
    assert again.known == []


def test_a_lost_answer_is_sent_once_more_on_request() -> None:
    store = store_with()
    server = Server(store, UNSURE, "job-2")
    assert submit(store, server, resubmit_unsure=True).job_id == "job-2"


def test_an_answer_without_a_job_id_is_never_sent_again() -> None:
    """It was answered 200: sending again would surely apply it twice."""
    store = store_with()
    server = Server(store, WITHOUT_ID, "job-2")
    with pytest.raises(ApiError, match="no job id in 'ok'"):
        submit(store, server, resubmit_unsure=True)
    assert len(server.known) == 1


def test_what_was_certainly_not_taken_may_be_sent_by_the_next_try() -> None:
    store = store_with()
    with pytest.raises(ApiError):
        submit(store, Server(store, UNAVAILABLE))
    assert submit(store, Server(store)).job_id == "job-1"


def test_kinds_do_not_share_records() -> None:
    raw = DictStore()
    TaskStateStore(raw, UpdateKind.PROGRESS).put("f", BatchRecord(BatchState.APPLIED))
    assert TaskStateStore(raw, UpdateKind.METRIC).get("f") is None


def test_a_store_that_breaks_after_the_post_does_not_fail_the_task(caplog: pytest.LogCaptureFixture) -> None:
    store = store_with()

    class Breaking(Server):
        def submit(self, kind: UpdateKind, filename: str, body: bytes) -> str:
            job_id = super().submit(kind, filename, body)
            store.put = broken  # type: ignore[method-assign]
            return job_id

    def broken(fingerprint: str, record: BatchRecord) -> None:
        raise OSError("the API server is gone")

    assert submit(store, Breaking(store)).job_id == "job-1"
    assert "queued as job job-1, but this could not be written down" in caplog.text


def test_a_store_that_breaks_before_the_post_sends_nothing() -> None:
    store = store_with()
    server = Server(store)

    def broken(fingerprint: str, record: BatchRecord) -> None:
        raise OSError("the API server is gone")

    store.put = broken  # type: ignore[method-assign]
    with pytest.raises(OSError, match="gone"):
        submit(store, server)
    assert server.known == []


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (JobEnd.APPLIED, BatchState.APPLIED),
        (JobEnd.REFUSED, BatchState.REFUSED),
        (JobEnd.FAILED, BatchState.FAILED),
        (JobEnd.UNKNOWN, BatchState.UNKNOWN),
        (JobEnd.TIMEOUT, BatchState.QUEUED),
    ],
)
def test_the_end_of_a_job_is_written_down(end: JobEnd, state: BatchState) -> None:
    store = store_with()
    queued = SubmittedBatch("f", 1, BATCH.sha256, BatchState.QUEUED, "j")
    [settled] = settle(store, [queued], WaitOutcome({"j": JobResult(end)}), generation=3)
    kept = store.get(BATCH.sha256)
    assert kept is not None
    assert (settled.state, kept.state, kept.job_id, kept.generation) == (state, state, "j", 3)


def test_a_batch_survives_json() -> None:
    data = json.loads(json.dumps(SubmittedBatch("f", 1, "ab", BatchState.QUEUED, "j", True).to_json()))
    assert SubmittedBatch.from_json({**data, "added_later": 1}).to_json() == data


def test_a_result_stays_small_and_adds_up() -> None:
    batches = [SubmittedBatch("f" * 180, 5000, "ab" * 32, BatchState.APPLIED, "j" * 36)] * 500
    told = summarize(UpdateKind.METRIC, {"rows_read": 2_500_007, "rows_rejected": 7}, batches)
    assert len(json.dumps(told)) < 8_000
    assert len(told["batches"]) == BATCHES_TOLD
    assert told["batch_count"] == 500
    assert told["rows_read"] == told["rows_submitted"] + told["rows_rejected"] + told["rows_unchanged"]
    assert sorted(told["batches"][0]) == ["filename", "job_id", "rows", "sha256", "state"]


def test_without_a_store_nothing_is_known() -> None:
    NoStore().put("f", BatchRecord(BatchState.APPLIED))
    assert NoStore().get("f") is None
