"""What is sent, awaited or left alone, by what the store has of a batch."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_achieveit.api import rate
from airflow_provider_achieveit.api.client import AchieveItClient
from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind
from airflow_provider_achieveit.api.jobs import JobEnd, JobResult, JobWait, WaitOutcome
from airflow_provider_achieveit.operators.summary import BATCHES_TOLD, summarize
from airflow_provider_achieveit.simulator.server import RunningSimulator
from airflow_provider_achieveit.stores.records import BatchRecord, BatchState, ClaimLost, NoStore, SubmittedBatch
from airflow_provider_achieveit.stores.task_state import TaskStateStore
from airflow_provider_achieveit.submission import Decision, Submission, decide, settle
from airflow_provider_achieveit.unsure import unsure_batches

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
        self.awaited: list[str] = []
        self.job_end: JobEnd | None = None

    def wait_for_jobs(self, kind: UpdateKind, wait: JobWait) -> WaitOutcome:
        self.awaited += wait.pending
        assert not self.known, "earlier jobs are awaited before anything is sent"
        return WaitOutcome({job: JobResult(self.job_end or JobEnd.APPLIED, "said so") for job in wait.pending})

    def look_at_jobs(self, kind: UpdateKind, wait: JobWait) -> WaitOutcome:
        [job_id] = wait.pending
        self.looked.append(job_id)
        return WaitOutcome({job_id: JobResult(self.job_end)} if self.job_end else {})

    def await_turn(self) -> None:
        pass

    def submit(self, kind: UpdateKind, filename: str, body: bytes) -> str:
        self.known.append(self.store.get(BATCH.sha256))
        answer = self.answers.pop(0)
        if isinstance(answer, Failure):
            raise ApiError(answer)
        return answer


def store_with(state: BatchState | None = None, job_id: str | None = None, generation: int = 0) -> TaskStateStore:
    store = new_store()
    if state:
        store.plan([BATCH], generation)
        store.put(BATCH.sha256, BatchRecord(state, job_id, generation, 0.0, BATCH.filename, BATCH.rows))
    return store


def new_store() -> TaskStateStore:
    return TaskStateStore(DictStore(), UpdateKind.PROGRESS, "achieveit_default")


def submission(store: TaskStateStore, server: Server | AchieveItClient, **options: Any) -> Submission:
    return Submission(server, kind=UpdateKind.PROGRESS, store=store, **options)


def submit(store: TaskStateStore, server: Server, **options: Any) -> SubmittedBatch:
    return submission(store, server, **options).submit(BATCH, b"x")


def begin(store: TaskStateStore, server: Server, *plan: SubmittedBatch, **options: Any) -> Submission:
    begun = submission(store, server, **options)
    begun.begin(plan, poll_interval=1, deadline=time.time() + 9)
    return begun


@pytest.mark.parametrize(
    ("state", "decision"),
    [
        (None, Decision.SEND),
        (BatchState.PLANNED, Decision.SEND),
        (BatchState.SENDING, Decision.UNSURE),
        (BatchState.QUEUED, Decision.REATTACH),
        (BatchState.APPLIED, Decision.SKIP),
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


def test_what_was_refused_is_sent_by_a_cleared_task_only() -> None:
    record = BatchRecord(BatchState.REFUSED, "j", generation=2)
    assert decide(record, resubmit_always=False, generation=2) is Decision.REATTACH
    assert decide(record, resubmit_always=False, generation=5) is Decision.SEND


@pytest.mark.parametrize("always", [False, True])
def test_another_process_is_believed_to_send_for_half_an_hour(always: bool) -> None:
    record = BatchRecord(BatchState.SENDING, generation=2, at=1000.0, elsewhere=True)
    assert decide(record, resubmit_always=always, generation=2, now=2700.0) is Decision.BUSY
    assert decide(record, resubmit_always=always, generation=2, now=2900.0) is Decision.UNSURE


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
    assert submit(store, server) == replace(BATCH, state=BatchState.QUEUED, job_id="job-0")
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


@pytest.mark.parametrize(("end", "sent"), [(JobEnd.APPLIED, 0), (None, 0), (JobEnd.FAILED, 1)])
def test_a_retry_looks_at_a_failed_job_before_it_sends(end: JobEnd | None, sent: int) -> None:
    """What said 500 three times may have been something in front of AchieveIt."""
    store = store_with(BatchState.FAILED, "job-0", generation=1)
    server = Server(store)
    server.job_end = end
    batch = submit(store, server, generation=1)
    assert (server.looked, len(server.known)) == (["job-0"], sent)
    assert batch.job_id == ("job-1" if sent else "job-0")


def test_a_retry_does_not_look_before_it_waits() -> None:
    store = store_with(BatchState.QUEUED, "job-0", generation=1)
    server = Server(store)
    submit(store, server, generation=1)
    assert server.looked == []


def test_the_advice_fits_what_was_not_sent() -> None:
    whole = unsure_batches([UNSURE], known=2, not_sent=0, places=[""])
    assert whole.kind is FailureKind.UNSURE
    assert "mark this task as success" in whole.message
    part = unsure_batches([UNSURE, UNSURE], known=0, not_sent=3, places=["", ""])
    assert "mark this task as success" not in part.message
    assert "3 were not sent" in part.message
    kept = unsure_batches([UNSURE], known=0, not_sent=3, places=["the table t"])
    assert "set the batch's state to 'applied' and clear this task" in kept.message
    assert "in the table t" in kept.message


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


@pytest.mark.parametrize("second", [UNAVAILABLE, Failure(FailureKind.AUTH, "HTTP 401", 401), UNSURE])
def test_what_is_said_of_the_second_send_says_nothing_of_the_first(second: Failure) -> None:
    store = store_with()
    with pytest.raises(ApiError, match="no usable answer; then, sent once more") as caught:
        submit(store, Server(store, UNSURE, second), resubmit_unsure=True)
    assert caught.value.failure.kind is FailureKind.UNSURE
    record = store.get(BATCH.sha256)
    assert record is not None
    assert record.state is BatchState.SENDING


@pytest.mark.parametrize("status", [200, 201, 204])
def test_an_answer_without_a_job_id_is_never_sent_again(status: int) -> None:
    """It was taken: sending again would surely apply it twice."""
    store = store_with()
    server = Server(store, replace(WITHOUT_ID, status=status), "job-2")
    with pytest.raises(ApiError, match="no job id in 'ok'"):
        submit(store, server, resubmit_unsure=True)
    assert len(server.known) == 1


def test_what_was_certainly_not_taken_may_be_sent_by_the_next_try() -> None:
    store = store_with()
    with pytest.raises(ApiError):
        submit(store, Server(store, UNAVAILABLE))
    assert submit(store, Server(store)).job_id == "job-1"


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

    store.claim = broken  # type: ignore[method-assign]
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
    queued = SubmittedBatch("f", 1, BATCH.sha256, BatchState.QUEUED, "j", sent_at=7.0)
    [settled] = settle(store, [queued], WaitOutcome({"j": JobResult(end)}), generation=3)
    kept = store.get(BATCH.sha256)
    assert kept is not None
    assert (settled.state, kept.state, kept.job_id, kept.generation, kept.at) == (state, state, "j", 3, 7.0)


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
    store = NoStore()
    store.plan([BATCH], 0)
    store.claim(BATCH.sha256, BatchRecord(BatchState.SENDING))
    store.put(BATCH.sha256, BatchRecord(BatchState.APPLIED))
    assert (store.get(BATCH.sha256), store.open_batches(), store.place(BATCH.sha256)) == (None, {}, "")


OTHER = SubmittedBatch("d.t.r.b0001.csv", rows=4, sha256="cd" * 32)


class TestChangedContent:
    """The source gives other rows than in an earlier try."""

    def test_a_job_that_runs_is_awaited_first(self) -> None:
        store = store_with(BatchState.QUEUED, "job-0")
        server = Server(store)
        begun = begin(store, server, OTHER)
        assert server.awaited == ["job-0"]
        ended = store.get(BATCH.sha256)
        assert ended is not None
        assert (ended.state, ended.reason) == (BatchState.APPLIED, "said so")
        assert begun.submit(OTHER, b"y").job_id == "job-1"

    def test_a_job_that_does_not_end_keeps_the_present_content_back(self) -> None:
        store = store_with(BatchState.QUEUED, "job-0")
        server = Server(store)
        server.job_end = JobEnd.TIMEOUT
        with pytest.raises(ApiError, match=r"job-0.*Nothing was sent by this one") as caught:
            begin(store, server, OTHER)
        assert caught.value.failure.kind is FailureKind.JOB_TIMEOUT
        assert set(store.open_batches()) == {BATCH.sha256}, "the next try waits for it again"

    def test_an_unsure_batch_keeps_it_back(self) -> None:
        store = store_with(BatchState.SENDING)
        with pytest.raises(ApiError) as caught:
            begin(store, Server(store), OTHER)
        assert caught.value.failure.kind is FailureKind.UNSURE
        for told in (BATCH.filename, BATCH.sha256, "3 rows", "1970-01-01 00:00:00 UTC", "content has changed since"):
            assert told in str(caught.value)
        assert "both send it" not in str(caught.value), "the old batch is left behind in any case"

    def test_an_unsure_batch_is_left_behind_on_request_and_never_asked_about_again(self) -> None:
        store = store_with(BatchState.SENDING)
        begun = begin(store, Server(store), OTHER, resubmit_unsure=True)
        assert begun.submit(OTHER, b"y").job_id == "job-1"
        begin(store, Server(store), OTHER)

    def test_what_is_part_of_the_plan_is_not_awaited_before_it(self) -> None:
        store = store_with(BatchState.QUEUED, "job-0")
        server = Server(store)
        begin(store, server, BATCH, OTHER)
        assert server.awaited == []

    def test_sending_everything_again_waits_for_the_same_content_too(self) -> None:
        store = store_with(BatchState.QUEUED, "job-0", generation=0)
        server = Server(store)
        begun = begin(store, server, BATCH, generation=2, resubmit_always=True)
        assert server.awaited == ["job-0"]
        assert begun.submit(BATCH, b"x").job_id == "job-1"

    def test_a_retry_does_not_send_everything_again(self) -> None:
        store = store_with(BatchState.QUEUED, "job-0", generation=2)
        server = Server(store)
        begun = begin(store, server, BATCH, generation=2, resubmit_always=True)
        assert (server.awaited, begun.submit(BATCH, b"x").job_id) == ([], "job-0")


class TestOtherProcesses:
    def test_a_claim_that_another_won_is_not_sent(self) -> None:
        store = store_with()

        def lost(fingerprint: str, record: BatchRecord) -> None:
            raise ClaimLost

        store.claim = lost  # type: ignore[method-assign]
        server = Server(store)
        with pytest.raises(ApiError, match="by another process") as caught:
            submit(store, server)
        assert (caught.value.failure.retryable, server.known) == (True, [])

    def test_what_a_mapped_task_is_just_sending_is_left_to_it(self) -> None:
        store = store_with()
        store.get = lambda _: BatchRecord(BatchState.SENDING, at=time.time(), elsewhere=True)  # type: ignore[method-assign]
        server = Server(store)
        for options in ({}, {"resubmit_unsure": True}, {"resubmit_always": True, "generation": 3}):
            with pytest.raises(ApiError, match="by another process"):
                submit(store, server, **options)
        assert server.known == []


class TestSeveralBatches:
    BATCHES = tuple(SubmittedBatch(f"b{number}.csv", 1, f"{number:064x}") for number in range(4))

    def send(self, store: TaskStateStore, server: Server, **options: Any) -> Submission:
        begun = begin(store, server, *self.BATCHES, **options)
        try:
            begun.send_all((batch, b"x") for batch in self.BATCHES)
        except ApiError as error:
            self.error = error.failure
        return begun

    def test_a_retry_goes_on_with_the_first_that_is_not_there(self) -> None:
        store = store_with()
        assert len(self.send(store, Server(store, "j0", "j1", UNAVAILABLE)).sent) == 2
        server = Server(store, "j2", "j3")
        assert [batch.job_id for batch in self.send(store, server).sent] == ["j0", "j1", "j2", "j3"]
        assert len(server.known) == 2

    def test_one_lost_answer_does_not_cost_the_batches_behind_it(self) -> None:
        store = store_with()
        assert [batch.job_id for batch in self.send(store, Server(store, "j0", UNSURE, "j2", "j3")).sent] == [
            "j0",
            "j2",
            "j3",
        ]
        assert "3 other batches are queued or applied, 0 were not sent" in self.error.message

    def test_two_lost_answers_stop_the_sending(self) -> None:
        store = store_with()
        self.send(store, Server(store, UNSURE, UNSURE, "j2", "j3"))
        assert "0 other batches are queued or applied, 2 were not sent" in self.error.message

    def test_a_lost_answer_is_told_although_another_error_came_after_it(self) -> None:
        store = store_with()
        self.send(store, Server(store, UNSURE, UNAVAILABLE))
        assert self.error.kind is FailureKind.UNSURE
        assert "Then: HTTP 503" in self.error.message
        assert "3 were not sent" in self.error.message

    def test_nothing_is_sent_after_it_was_told_to_stop(self) -> None:
        store = store_with()
        server = Server(store, "j0", "j1")
        begun = begin(store, server, *self.BATCHES)

        def batches() -> Iterator[tuple[SubmittedBatch, bytes]]:
            for batch in self.BATCHES:
                yield batch, b"x"
                if batch is self.BATCHES[1]:
                    begun.stop()

        with pytest.raises(ApiError, match="The task was killed") as caught:
            begun.send_all(batches())
        assert caught.value.failure.retryable
        assert "in 2 batch(es) are not sent. A retry sends only these." in str(caught.value)
        assert len(server.known) == 2

    def test_the_batch_on_its_way_is_known_to_who_kills_the_process(self) -> None:
        store = store_with()
        begun = submission(store, Server(store))
        seen: list[Any] = []

        class Looking(Server):
            def submit(self, kind: UpdateKind, filename: str, body: bytes) -> str:
                seen.append(begun.sending)
                return super().submit(kind, filename, body)

        begun._client = Looking(store)
        begun.submit(BATCH, b"x")
        assert (seen, begun.sending) == ([BATCH], None)


class TestTheClock:
    """From when a batch's wait counts."""

    def test_a_retry_goes_on_with_the_clock_of_the_try_that_sent(self) -> None:
        store = store_with()
        store.put(BATCH.sha256, BatchRecord(BatchState.QUEUED, "job-0", 1, at=123.0))
        assert submit(store, Server(store), generation=1).sent_at == 123.0

    def test_a_cleared_task_begins_anew(self) -> None:
        store = store_with()
        store.put(BATCH.sha256, BatchRecord(BatchState.QUEUED, "job-0", 1, at=123.0))
        assert submit(store, Server(store), generation=2).sent_at >= time.time() - 9


class TestTheTurn:
    """A batch that waits for its turn, by the connection's limit of requests, is not on its way."""

    @pytest.fixture
    def client(
        self, simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[AchieveItClient]:
        monkeypatch.setattr(rate, "_MINUTE", 1.0)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        config = ClientConfig(simulator.url, simulator.api_key, allow_http=True, max_requests_per_minute=1)
        with AchieveItClient(config) as client:
            client.job_status(UpdateKind.PROGRESS, "the one request of this minute")
            yield client

    def test_it_is_not_said_to_be_sent_and_then_it_is(
        self, client: AchieveItClient, simulator: RunningSimulator
    ) -> None:
        store = store_with()
        begun = submission(store, client)
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(begun.submit, BATCH, b"x")
            time.sleep(0.4)
            assert (store.get(BATCH.sha256), begun.sending) == (None, None)
            assert sent.result(10).state is BatchState.QUEUED
        assert len(simulator.world.batches) == 1
        assert len(simulator.world.requests) == 2

    def test_a_task_that_is_killed_meanwhile_does_not_send_it(
        self, client: AchieveItClient, simulator: RunningSimulator
    ) -> None:
        store = store_with()
        begun = submission(store, client)
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(begun.submit, BATCH, b"x")
            time.sleep(0.4)
            begun.stop()
            with pytest.raises(ApiError, match="killed"):
                sent.result(10)
        assert (store.get(BATCH.sha256), simulator.world.batches) == (None, [])
