"""Records in a store that knows values by key only, as Airflow's does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.stores.records import BatchRecord, BatchState, SubmittedBatch
from airflow_provider_achieveit.stores.task_state import TaskStateStore

CONN = "achieveit_default"
A1, A2, A3, B2 = (SubmittedBatch(f"{name}.csv", 1, name * 32) for name in ("a1", "a2", "a3", "b2"))


class KeptValues:
    """What Airflow keeps: JSON values by key."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.writes = 0

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.kept[key]) if key in self.kept else default

    def set(self, key: str, value: Any) -> None:
        self.kept[key] = json.dumps(value)
        self.writes += 1


@pytest.fixture
def values() -> KeptValues:
    return KeptValues()


def opened(values: KeptValues, kind: UpdateKind = UpdateKind.PROGRESS, conn_id: str = CONN) -> TaskStateStore:
    """Open the store as the next process does."""
    return TaskStateStore(values, kind, conn_id)


def run(values: KeptValues, *batches: SubmittedBatch, end: BatchState = BatchState.APPLIED) -> list[str]:
    """Send what needs to be sent; return what was."""
    store = opened(values)
    store.plan(batches, 0)
    sent = []
    for batch in batches:
        record = store.get(batch.sha256)
        if record is None or record.state is BatchState.PLANNED:
            store.claim(batch.sha256, BatchRecord(BatchState.SENDING))
            store.put(batch.sha256, BatchRecord(end, f"job-{batch.filename}"))
            sent.append(batch.filename)
    return sent


def test_a_record_comes_back_as_it_was(values: KeptValues) -> None:
    record = BatchRecord(BatchState.REFUSED, "j", 3, 12.5, "f.csv", 7, "row 3: ™ 🎯")
    opened(values).put("f", record)
    assert opened(values).get("f") == record
    assert opened(values).get("other") is None


def test_kinds_and_connections_do_not_share_records(values: KeptValues) -> None:
    opened(values).put("f", BatchRecord(BatchState.APPLIED))
    assert opened(values, UpdateKind.METRIC).get("f") is None
    other = opened(values, conn_id="achieveit_production")
    assert other.get("f") is None
    other.put("f", BatchRecord(BatchState.REFUSED))
    assert opened(values).get("f") == BatchRecord(BatchState.APPLIED)
    assert opened(values, conn_id="achieveit_production").get("f") == BatchRecord(BatchState.REFUSED)


def test_a_record_of_the_first_release_is_understood(values: KeptValues) -> None:
    values.set("achieveit_progress_f", {"state": "queued", "job_id": "j", "generation": 1, "at": 5.0})
    assert opened(values).get("f") == BatchRecord(BatchState.QUEUED, "j", 1, 5.0)


def test_a_person_can_write_only_the_state(values: KeptValues) -> None:
    values.set("achieveit_progress_f", {"state": "applied"})
    assert opened(values).get("f") == BatchRecord(BatchState.APPLIED)
    assert "achieveit_progress_f" in opened(values).place("f")


def test_what_was_sent_and_has_no_end_is_open(values: KeptValues) -> None:
    store = opened(values)
    store.plan([A1, A2, A3, B2], 0)
    store.claim(A1.sha256, BatchRecord(BatchState.SENDING))
    store.put(A2.sha256, BatchRecord(BatchState.QUEUED, "j2"))
    store.put(A3.sha256, BatchRecord(BatchState.APPLIED, "j3"))
    assert set(opened(values).open_batches()) == {A1.sha256, A2.sha256}


def test_what_was_applied_is_not_sent_again(values: KeptValues) -> None:
    assert run(values, A1, A2) == ["a1.csv", "a2.csv"]
    assert run(values, A1, A2) == []
    assert run(values, A2, A1, A3) == ["a3.csv"]


def test_content_that_comes_back_is_sent_again(values: KeptValues) -> None:
    """AchieveIt shows what was sent last: a task that sends nothing then would be green and wrong."""
    assert run(values, A1, A2, A3) == ["a1.csv", "a2.csv", "a3.csv"]
    assert run(values, A1, B2, A3) == ["b2.csv"]
    assert run(values, A1, A2, A3) == ["a2.csv"]
    assert run(values, A1, A2, A3) == []
    assert run(values, A1, B2, A3) == ["b2.csv"]


@pytest.mark.parametrize("end", [BatchState.REFUSED, BatchState.PLANNED])
def test_content_that_never_got_there_replaces_nothing(values: KeptValues, end: BatchState) -> None:
    run(values, A1, A2)
    run(values, A1, B2, end=end)
    assert run(values, A1, A2) == []


def test_what_a_person_wrote_replaces_what_was_before(values: KeptValues) -> None:
    run(values, A2)
    run(values, B2, end=BatchState.SENDING)
    values.set(f"achieveit_progress_{B2.sha256}", {"state": "applied"})
    assert run(values, B2) == []
    assert run(values, A2) == ["a2.csv"], "AchieveIt shows what the person found there"


def test_what_was_given_up_and_replaced_is_sent_without_asking(values: KeptValues) -> None:
    run(values, A2, end=BatchState.UNKNOWN)
    run(values, B2)
    assert run(values, A2) == ["a2.csv"]


def test_a_claim_whose_answer_was_lost_is_taken_back(values: KeptValues) -> None:
    """Airflow has written it and did not say so: nothing is sent, so the next try needs to ask nobody."""
    store = opened(values)
    store.plan([A1], 0)
    real, failed = values.set, []

    def lost(key: str, value: Any) -> None:
        real(key, value)
        if not failed:
            failed.append(key)
            raise RuntimeError("no answer")

    values.set = lost  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        store.claim(A1.sha256, BatchRecord(BatchState.SENDING))
    assert opened(values).get(A1.sha256) == BatchRecord(BatchState.PLANNED)


def test_content_that_comes_back_is_sent_even_if_killed_after_the_plan(values: KeptValues) -> None:
    run(values, A2)
    run(values, B2)
    opened(values).plan([A2], 0)
    assert run(values, A2) == ["a2.csv"]


def test_content_that_comes_back_is_sent_even_if_killed_within_the_plan(values: KeptValues) -> None:
    run(values, A1, A2)
    run(values, B2)

    class Killed(BaseException):
        pass

    written = values.writes
    real = values.set

    def dying(key: str, value: Any) -> None:
        if values.writes - written == 1:
            raise Killed
        real(key, value)

    values.set = dying  # type: ignore[method-assign]
    with pytest.raises(Killed):
        opened(values).plan([A1, A2], 0)
    values.set = real  # type: ignore[method-assign]
    assert run(values, A1, A2) == ["a1.csv", "a2.csv"]


def test_a_plan_of_many_batches_is_one_write(values: KeptValues) -> None:
    opened(values).plan([SubmittedBatch("f", 1, f"{number:064x}") for number in range(400)], 0)
    assert values.writes == 1
    assert len(next(iter(values.kept.values()))) < 65_535, "Airflow warns of larger values"
