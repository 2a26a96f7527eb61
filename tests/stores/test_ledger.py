"""The ledger on real databases: nothing lost, nothing twice, whoever is killed in between."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.stores.ledger import Ledger, LedgerError, TaskKey
from airflow_provider_achieveit.stores.records import BatchRecord, BatchState, ClaimLost, NoStore, SubmittedBatch
from tests.stores.databases import Database

SENT_AT = 1_770_000_000.25
ENDS = [BatchState.APPLIED, BatchState.REFUSED, BatchState.FAILED, BatchState.UNKNOWN]


def ledger_of(
    database: Database,
    *,
    map_index: int = -1,
    try_number: int = 1,
    earlier: Any = None,
    run_id: str = "run",
    kind: UpdateKind = UpdateKind.PROGRESS,
    conn_id: str = "achieveit_default",
) -> Ledger:
    """Return the ledger as a new process of a task sees it."""
    key = TaskKey("dag", "group.task", run_id, map_index, try_number, kind, conn_id)
    return Ledger(database.ledger_engine(), table=database.table, key=key, earlier=earlier)


def batches(*fingerprints: str) -> list[SubmittedBatch]:
    return [SubmittedBatch(f"{fingerprint}.csv", 7, fingerprint) for fingerprint in fingerprints]


def sending(generation: int = 0, at: float = SENT_AT) -> BatchRecord:
    return BatchRecord(BatchState.SENDING, generation=generation, at=at, filename="sent.csv", rows=7)


def send(ledger: Ledger, fingerprint: str, end: BatchState = BatchState.APPLIED, generation: int = 0) -> None:
    ledger.claim(fingerprint, sending(generation))
    ledger.put(fingerprint, BatchRecord(BatchState.QUEUED, "j-" + fingerprint, generation, SENT_AT))
    if end is not BatchState.QUEUED:
        ledger.put(fingerprint, BatchRecord(end, "j-" + fingerprint, generation, SENT_AT, reason="because"))


def run_task(database: Database, *fingerprints: str, **key: Any) -> list[str]:
    """Do what the operator does with batches of these contents; return those that it sent."""
    sent = []
    with ledger_of(database, **key) as ledger:
        ledger.plan(batches(*fingerprints), generation=0)
        for fingerprint in fingerprints:
            record = ledger.get(fingerprint)
            assert record is not None
            if record.state is not BatchState.APPLIED:
                send(ledger, fingerprint)
                sent.append(fingerprint)
    return sent


def state(ledger: Ledger, fingerprint: str) -> BatchState | None:
    record = ledger.get(fingerprint)
    return record.state if record else None


def test_a_batch_goes_its_way_and_every_process_sees_how_far(database: Database) -> None:
    with ledger_of(database) as ledger, ledger_of(database, try_number=2) as other:
        assert (other.get("a"), other.open_batches()) == (None, {})
        ledger.plan(batches("a", "b"), generation=3)
        planned = other.get("a")
        assert planned is not None
        assert (planned.state, planned.generation, planned.filename, planned.rows) == (
            BatchState.PLANNED,
            3,
            "a.csv",
            7,
        )
        assert time.time() - 60 < planned.at < time.time() + 1
        assert other.open_batches() == {}

        ledger.claim("a", sending(3))
        assert ledger.get("a") == other.get("a") == sending(3)
        with ledger_of(database) as twin:
            assert twin.get("a") == replace(sending(3), elsewhere=True), "the same try, delivered twice"
        assert other.open_batches() == {"a": sending(3)}

        queued = BatchRecord(BatchState.QUEUED, "job-1", 3, SENT_AT, "sent.csv", 7)
        ledger.put("a", queued)
        assert other.get("a") == queued
        assert other.open_batches() == {"a": queued}

        ledger.put("a", BatchRecord(BatchState.APPLIED, "job-1", 3, SENT_AT))
        assert other.get("a") == BatchRecord(BatchState.APPLIED, "job-1", 3, SENT_AT, "sent.csv", 7)
        assert other.open_batches() == {}
        assert database.states() == [("a", "applied"), ("b", "planned")]


@pytest.mark.parametrize("end", ENDS)
def test_an_end_has_its_reason_and_its_time(database: Database, end: BatchState) -> None:
    with ledger_of(database) as ledger:
        ledger.plan(batches("a"), generation=0)
        send(ledger, "a", BatchState.QUEUED)
        assert database.rows()[0]["ended_at"] is None
        send_end = BatchRecord(end, "j-a", 0, SENT_AT, reason="row 3: no such item")
        ledger.put("a", send_end)
        [row] = database.rows()
        assert (row["state"], row["job_id"], row["reason"]) == (end.value, "j-a", "row 3: no such item")
        assert row["ended_at"] is not None
        record = ledger.get("a")
        assert record is not None
        assert (record.at, record.reason) == (SENT_AT, "row 3: no such item")


def test_a_row_tells_whose_it_is(database: Database) -> None:
    with ledger_of(database, map_index=4, try_number=2) as ledger:
        ledger.plan(batches("a"), generation=5)
        ledger.claim("a", sending(5))
    [row] = database.rows()
    told = {
        "dag_id": "dag",
        "task_id": "group.task",
        "run_id": "run",
        "map_index": 4,
        "try_number": 2,
        "max_tries": 5,
        "kind": "progress",
        "achieveit_conn_id": "achieveit_default",
        "filename": "sent.csv",
        "row_count": 7,
        "send_number": 0,
    }
    assert {name: row[name] for name in told} == told


def test_moments_are_utc_to_the_microsecond(database: Database) -> None:
    at = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)  # an hour that some zones do not have
    with ledger_of(database) as ledger:
        ledger.plan(batches("a"), generation=0)
        ledger.claim("a", sending(at=at.timestamp()))
        record = ledger.get("a")
    assert record is not None
    assert record.at == at.timestamp()
    shown = database.rows()[0]["sent_at"]
    shown = datetime.fromisoformat(shown) if isinstance(shown, str) else shown
    assert (shown if shown.tzinfo else shown.replace(tzinfo=UTC)) == at


@pytest.mark.parametrize("other", [{"run_id": "r2"}, {"kind": UpdateKind.METRIC}, {"conn_id": "government"}])
def test_runs_kinds_and_connections_do_not_share_batches(database: Database, other: dict[str, Any]) -> None:
    assert run_task(database, "a") == ["a"]
    assert run_task(database, "a", **other) == ["a"]


def test_what_was_applied_is_not_sent_again_however_often_it_is_planned(database: Database) -> None:
    assert run_task(database, "a", "b") == ["a", "b"]
    assert run_task(database, "a", "b") == []
    assert run_task(database, "b", "a") == []
    assert len(database.rows()) == 2


def test_content_that_was_changed_and_changed_back_is_sent_again(database: Database) -> None:
    for content in ["a", "b", "a", "b", "a"]:
        assert run_task(database, content) == [content]
        assert run_task(database, content) == []
    assert [row["state"] for row in database.rows()] == ["applied"] * 5


def test_only_the_changed_batch_of_several_is_sent_again(database: Database) -> None:
    assert run_task(database, "a1", "a2", "a3") == ["a1", "a2", "a3"]
    assert run_task(database, "a1", "b2", "a3") == ["b2"]
    assert run_task(database, "a1", "a2", "a3") == ["a2"]
    assert run_task(database, "a1", "a2", "a3") == []


def test_a_batch_that_was_only_left_out_is_not_sent_again(database: Database) -> None:
    assert run_task(database, "a1", "a2") == ["a1", "a2"]
    assert run_task(database, "a1") == []
    assert run_task(database, "a1", "a2") == []


def test_a_resent_neighbour_does_not_supersede_its_own_plan(database: Database) -> None:
    run_task(database, "a", "b")
    with ledger_of(database, try_number=2) as ledger:
        ledger.plan(batches("a", "b"), generation=1)
        ledger.get("b")
        send(ledger, "b", generation=1)
    assert run_task(database, "a", "b") == []


def test_a_change_that_was_never_sent_leaves_what_was_there(database: Database) -> None:
    run_task(database, "a1", "a2")
    with ledger_of(database) as ledger:
        ledger.plan(batches("a1", "b2"), generation=0)
    # Killed here; the source is changed back.
    assert run_task(database, "a1", "a2") == []
    assert database.states() == [("a1", "applied"), ("a2", "applied")]


def test_killed_between_plan_and_claim_it_comes_to_the_same(database: Database) -> None:
    run_task(database, "a")
    run_task(database, "b")
    for _ in range(3):
        with ledger_of(database) as ledger:
            ledger.plan(batches("a"), generation=0)
            assert state(ledger, "a") is BatchState.PLANNED
    assert run_task(database, "a") == ["a"]
    assert database.states() == [("a", "applied"), ("b", "applied"), ("a", "applied")]


def test_killed_inside_a_plan_nothing_of_it_is_there(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_achieveit.stores import ledger_planning

    run_task(database, "a")
    run_task(database, "b")
    before = database.rows()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, ledger_of(database) as ledger:
        patch.setattr(ledger_planning, "_forget_others", killed)
        with pytest.raises(KeyboardInterrupt):
            ledger.plan(batches("a", "c"), generation=0)
    assert database.rows() == before
    assert run_task(database, "a", "c") == ["a", "c"]


def test_a_clock_that_was_ahead_does_not_hide_a_change(database: Database) -> None:
    run_task(database, "a")
    ahead = datetime.now(UTC) + timedelta(hours=1)
    moments = {"sqlite": ahead.isoformat(), "postgresql": ahead.isoformat(), "mysql": f"{ahead:%F %T.%f}"}
    moment = moments[database.name]
    database.execute(f"update {{}} set planned_at = '{moment}', last_planned_at = '{moment}'")
    assert run_task(database, "b") == ["b"]
    assert run_task(database, "a") == ["a"]


def test_what_was_planned_and_is_no_more_is_deleted(database: Database) -> None:
    with ledger_of(database) as ledger, ledger_of(database, map_index=2) as sibling:
        sibling.plan(batches("s"), generation=0)
        ledger.plan(batches("a", "b", "c"), generation=0)
        ledger.claim("b", sending())
        ledger.plan(batches("c", "d"), generation=1)
    assert database.states() == [("s", "planned"), ("b", "sending"), ("c", "planned"), ("d", "planned")]


def test_the_same_content_twice_in_a_plan_is_one_batch(database: Database) -> None:
    with ledger_of(database) as ledger:
        ledger.plan(batches("a", "a"), generation=0)
    assert database.states() == [("a", "planned")]


def test_more_batches_than_fit_into_one_statement(database: Database) -> None:
    many = [f"{number:064x}" for number in range(1201)]
    with ledger_of(database) as ledger:
        ledger.plan(batches(*many), generation=0)
        ledger.plan(batches(*many, "last"), generation=0)
        assert len(database.rows()) == 1202
        ledger.plan(batches("last"), generation=0)
    assert database.states() == [("last", "planned")]


# --- Mapped tasks -----------------------------------------------------------------------------------------------------


def test_mapped_tasks_that_swap_their_content_send_nothing(database: Database) -> None:
    assert run_task(database, "a", map_index=0) == ["a"]
    assert run_task(database, "b", map_index=1) == ["b"]
    for _ in range(2):
        assert run_task(database, "b", map_index=0) == []
        assert run_task(database, "a", map_index=1) == []
        assert run_task(database, "a", map_index=0) == []
        assert run_task(database, "b", map_index=1) == []


def test_mapped_tasks_that_move_up_for_a_new_one_send_only_that(database: Database) -> None:
    assert run_task(database, "a", map_index=0) == ["a"]
    assert run_task(database, "b", map_index=1) == ["b"]
    assert run_task(database, "new", map_index=0) == ["new"]
    assert run_task(database, "a", map_index=1) == []
    assert run_task(database, "b", map_index=2) == []


def test_a_change_after_a_move_is_seen(database: Database) -> None:
    run_task(database, "a", map_index=0)
    assert run_task(database, "a", map_index=1) == []
    assert run_task(database, "b", map_index=1) == ["b"]
    assert run_task(database, "a", map_index=1) == ["a"]


def test_a_sibling_that_changes_does_not_supersede_what_has_moved_away(database: Database) -> None:
    run_task(database, "a", map_index=0)
    assert run_task(database, "a", map_index=1) == []
    assert run_task(database, "b", map_index=0) == ["b"]
    assert run_task(database, "a", map_index=1) == []


def test_what_a_sibling_planned_and_this_task_sent_supersedes_what_it_had(database: Database) -> None:
    with ledger_of(database, map_index=0) as dead:
        dead.plan(batches("a"), generation=0)
    assert run_task(database, "b", map_index=1) == ["b"]
    assert run_task(database, "a", map_index=1) == ["a"]
    assert run_task(database, "b", map_index=1) == ["b"]


def test_what_a_sibling_wrote_is_told(database: Database) -> None:
    with ledger_of(database, map_index=0) as first, ledger_of(database, map_index=1) as second:
        first.plan(batches("a"), generation=0)
        first.claim("a", sending())
        here, there = first.get("a"), second.get("a")
        assert here is not None
        assert there is not None
        assert (here.elsewhere, there.elsewhere) == (False, True)
        assert list(first.open_batches()) == ["a"]
        assert second.open_batches() == {}


def test_a_sibling_cannot_claim_the_same_content(database: Database) -> None:
    with ledger_of(database, map_index=0) as first, ledger_of(database, map_index=1) as second:
        for ledger in (first, second):
            ledger.plan(batches("a"), generation=0)
            assert state(ledger, "a") is BatchState.PLANNED
        first.claim("a", sending())
        with pytest.raises(ClaimLost, match=r"sent\.csv"):
            second.claim("a", sending())
    assert [(row["state"], row["map_index"]) for row in database.rows()] == [("sending", 0)]


def test_content_a_sibling_planned_and_gave_up_can_still_be_sent(database: Database) -> None:
    with ledger_of(database, map_index=0) as first, ledger_of(database, map_index=1) as second:
        second.plan(batches("a"), generation=0)
        first.plan(batches("a"), generation=0)
        assert state(second, "a") is BatchState.PLANNED
        first.plan(batches("b"), generation=1)
        assert database.states() == [("b", "planned")]
        second.claim("a", sending())
    assert database.states() == [("b", "planned"), ("a", "sending")]


# --- Claims -----------------------------------------------------------------------------------------------------------


def test_a_claim_rests_on_what_was_seen(database: Database) -> None:
    """Both found the first send failed, both decide to send again: one may."""
    run_task(database, "a")
    with ledger_of(database, try_number=2) as one, ledger_of(database, try_number=3) as two:
        database.execute("update {} set state = 'failed'")
        assert state(one, "a") is state(two, "a") is BatchState.FAILED
        one.claim("a", sending())
        with pytest.raises(ClaimLost):
            two.claim("a", sending())
        assert [(row["state"], row["try_number"]) for row in database.rows()] == [("failed", 1), ("sending", 2)]


def test_who_did_not_look_cannot_claim_what_is_under_way(database: Database) -> None:
    with ledger_of(database) as one, ledger_of(database) as two:
        one.claim("a", sending())
        with pytest.raises(ClaimLost):
            two.claim("a", sending())
        one.put("a", BatchRecord(BatchState.QUEUED, "j"))
        with pytest.raises(ClaimLost):
            two.claim("a", sending())
    assert database.states() == [("a", "queued")]


def test_what_is_sent_again_leaves_the_first_send_in_the_history(database: Database) -> None:
    with ledger_of(database) as dead:
        dead.plan(batches("a"), generation=0)
        dead.claim("a", sending())
    with ledger_of(database, try_number=2) as ledger:
        ledger.plan(batches("a"), generation=0)
        assert state(ledger, "a") is BatchState.SENDING
        send(ledger, "a")
        assert state(ledger, "a") is BatchState.APPLIED
        assert ledger.open_batches() == {}
    first, second = database.rows()
    assert (first["state"], first["reason"]) == ("unknown", "sent again by try 2")
    assert first["ended_at"] is not None
    assert (second["state"], second["send_number"], second["try_number"]) == ("applied", 1, 2)


def test_a_send_whose_owner_is_alive_after_all_is_not_taken_over(database: Database) -> None:
    with ledger_of(database) as owner, ledger_of(database, try_number=2) as later:
        owner.plan(batches("a"), generation=0)
        owner.claim("a", sending())
        assert state(later, "a") is BatchState.SENDING
        owner.put("a", BatchRecord(BatchState.QUEUED, "job-1", at=SENT_AT))
        with pytest.raises(ClaimLost):
            later.claim("a", sending())
        assert state(later, "a") is BatchState.QUEUED
    assert database.states() == [("a", "queued")]


def test_an_answer_that_comes_after_a_takeover_is_written_to_the_send_it_belongs_to(database: Database) -> None:
    with ledger_of(database) as slow, ledger_of(database, try_number=2) as later:
        slow.plan(batches("a"), generation=0)
        slow.claim("a", sending())
        later.get("a")
        later.claim("a", sending())
        slow.put("a", BatchRecord(BatchState.QUEUED, "job-1"))
    assert [(row["state"], row["job_id"]) for row in database.rows()] == [("queued", "job-1"), ("sending", None)]


def test_only_the_last_send_of_a_content_is_open(database: Database) -> None:
    with ledger_of(database) as ledger:
        send(ledger, "a", BatchState.QUEUED)
        ledger.get("a")
        send(ledger, "a", BatchState.APPLIED)
        assert ledger.open_batches() == {}
    assert database.states() == [("a", "queued"), ("a", "applied")]


def test_a_process_may_send_again_what_it_has_begun_to_send(database: Database) -> None:
    with ledger_of(database) as ledger:
        ledger.claim("a", sending())
        ledger.claim("a", sending())
    assert database.states() == [("a", "unknown"), ("a", "sending")]


def test_an_end_does_not_change_when_it_was_sent(database: Database) -> None:
    with ledger_of(database) as ledger:
        ledger.claim("a", sending())
        ledger.put("a", BatchRecord(BatchState.APPLIED, "j", at=SENT_AT + 60))
        record = ledger.get("a")
    assert record is not None
    assert record.at == SENT_AT


def test_certainly_not_queued_is_planned_again(database: Database) -> None:
    with ledger_of(database) as ledger:
        ledger.plan(batches("a"), generation=0)
        ledger.claim("a", sending())
        ledger.put("a", BatchRecord(BatchState.PLANNED))
        [row] = database.rows()
        assert (row["state"], row["sent_at"], row["job_id"]) == ("planned", None, None)
        assert ledger.open_batches() == {}
    assert run_task(database, "a") == ["a"]
    assert len(database.rows()) == 1


def test_a_process_that_reattached_writes_the_end_into_the_last_row(database: Database) -> None:
    with ledger_of(database) as dead:
        send(dead, "a", BatchState.FAILED)
        dead.get("a")
        send(dead, "a", BatchState.QUEUED)
    with ledger_of(database, try_number=2) as ledger:
        ledger.put("a", BatchRecord(BatchState.APPLIED, "j-a", 2, SENT_AT))
    first, second = database.rows()
    assert (first["state"], second["state"], second["max_tries"]) == ("failed", "applied", 2)


def test_a_rule_of_the_users_own_table_is_no_lost_claim(database: Database) -> None:
    run_task(database, "x")
    if database.name == "sqlite":
        database.execute(
            "create trigger small_{0} before insert on {0} when new.row_count > 5 "
            "begin select raise(abort, 'too many rows'); end"
        )
    else:
        database.execute("delete from {}")
        database.execute("alter table {} add constraint small_{} check (row_count < 5)".format("{}", database.table))
    with ledger_of(database) as ledger, pytest.raises(sqlalchemy.exc.DBAPIError) as caught:
        ledger.claim("a", sending())
    assert not isinstance(caught.value, ClaimLost)


# --- The user's own SQL -----------------------------------------------------------------------------------------------


def interrupted(database: Database) -> None:
    with ledger_of(database) as dead:
        dead.plan(batches("a", "b"), generation=0)
        dead.claim("a", sending())


def test_a_user_who_saw_it_applied_says_so(database: Database) -> None:
    interrupted(database)
    assert database.execute("update {} set state = 'applied' where state = 'sending' and fingerprint = 'a'") == 1
    assert run_task(database, "a", "b", try_number=2) == ["b"]


def test_a_user_who_wants_it_sent_says_so(database: Database) -> None:
    interrupted(database)
    assert database.execute("update {} set state = 'planned' where state = 'sending' and fingerprint = 'a'") == 1
    assert run_task(database, "a", "b", try_number=2) == ["a", "b"]
    assert database.states() == [("a", "applied"), ("b", "applied")]


def test_a_row_that_a_user_set_to_planned_is_never_deleted(database: Database) -> None:
    interrupted(database)
    database.execute("update {} set state = 'planned' where fingerprint = 'a'")
    assert run_task(database, "b", try_number=2) == ["b"]
    assert database.states() == [("a", "planned"), ("b", "applied")]


def test_a_state_that_is_none_is_told(database: Database) -> None:
    interrupted(database)
    database.execute("update {} set state = 'done' where fingerprint = 'a'")
    with ledger_of(database) as ledger, pytest.raises(LedgerError, match=r"sent\.csv.*'done'.*planned, sending"):
        ledger.get("a")


# --- The store of before ----------------------------------------------------------------------------------------------


class Earlier(NoStore):
    """What the task state store had when the ledger was switched on."""

    def __init__(self, **kept: BatchRecord) -> None:
        self.kept = kept

    def open_batches(self) -> dict[str, BatchRecord]:
        still_open = (BatchState.SENDING, BatchState.QUEUED)
        return {fingerprint: record for fingerprint, record in self.kept.items() if record.state in still_open}

    def get(self, fingerprint: str) -> BatchRecord | None:
        return self.kept.get(fingerprint)

    def put(self, fingerprint: str, record: BatchRecord) -> None:
        raise AssertionError("it is only read")


def kept(state: BatchState) -> BatchRecord:
    return BatchRecord(state, "job-0", 1, SENT_AT, "early.csv", 5)


def test_what_was_sent_before_the_ledger_is_known_and_copied(database: Database) -> None:
    earlier = Earlier(a=kept(BatchState.APPLIED), q=kept(BatchState.QUEUED), p=kept(BatchState.PLANNED))
    with ledger_of(database, earlier=earlier) as ledger:
        assert ledger.get("a") == kept(BatchState.APPLIED)
        assert ledger.open_batches() == {"q": kept(BatchState.QUEUED)}
        ledger.plan(batches("a", "p", "q", "x"), generation=2)
        assert ledger.get("a") == kept(BatchState.APPLIED)
        assert ledger.get("q") == kept(BatchState.QUEUED)
        assert state(ledger, "p") is state(ledger, "x") is BatchState.PLANNED
        ledger.put("q", BatchRecord(BatchState.APPLIED, "job-0", 2, SENT_AT))
        assert ledger.open_batches() == {}
    # From now on the ledger knows by itself.
    assert run_task(database, "a", "q") == []


def test_an_end_of_what_was_sent_before_the_ledger_is_written_down(database: Database) -> None:
    earlier = Earlier(q=kept(BatchState.QUEUED))
    with ledger_of(database, earlier=earlier) as ledger:
        ledger.put("q", kept(BatchState.APPLIED))
        assert ledger.open_batches() == {}
        assert ledger.get("q") == kept(BatchState.APPLIED)
    assert database.rows()[0]["ended_at"] is not None


def test_what_was_applied_before_the_ledger_and_changed_since_is_sent_again(database: Database) -> None:
    earlier = Earlier(a=kept(BatchState.APPLIED))
    assert run_task(database, "b", earlier=earlier) == ["b"]
    assert run_task(database, "a", earlier=earlier) == ["a"]
    assert run_task(database, "a", earlier=earlier) == []
    assert [row["state"] for row in database.rows()] == ["applied"] * 3


def test_what_was_applied_before_the_ledger_stays_so_beside_new_batches(database: Database) -> None:
    earlier = Earlier(a=kept(BatchState.APPLIED))
    assert run_task(database, "a", "b", earlier=earlier) == ["b"]
    assert run_task(database, "a", "b", earlier=earlier) == []


def test_an_unsure_send_of_before_the_ledger_can_be_sent_again(database: Database) -> None:
    earlier = Earlier(a=kept(BatchState.SENDING))
    with ledger_of(database, earlier=earlier) as ledger:
        assert state(ledger, "a") is BatchState.SENDING
        send(ledger, "a")
        assert state(ledger, "a") is BatchState.APPLIED
        assert ledger.open_batches() == {}


# --- Text -------------------------------------------------------------------------------------------------------------


def test_any_text_is_taken(database: Database) -> None:
    run_id = "scheduled__" + "ü" * 200
    with ledger_of(database, run_id=run_id) as ledger:
        ledger.plan(batches("a"), generation=0)
        ledger.claim("a", sending())
        reason = "No item \x00 '😀' \ud800 \\N \t %s {} " + "x" * 70_000
        ledger.put("a", BatchRecord(BatchState.REFUSED, "j", reason=reason))
        record = ledger.get("a")
    assert record is not None
    assert record.reason.startswith("No item \ufffd '😀' \\ud800 \\N \t %s {} xxx")
    assert record.reason.endswith("x…")
    assert len(record.reason) == 4000
    assert database.rows()[0]["run_id"] == run_id


def test_a_process_whose_plan_was_replaced_does_not_send_it(database: Database) -> None:
    """An earlier try still lives while the next one has planned other content: the older values must not go last."""
    with ledger_of(database) as zombie, ledger_of(database, try_number=2) as retry:
        zombie.plan(batches("a1", "a2"), generation=0)
        retry.plan(batches("b1"), generation=0)
        assert zombie.get("a2") is None
        with pytest.raises(ClaimLost):
            zombie.claim("a2", sending())


def test_what_failed_may_have_been_applied_in_part_and_what_was_refused_was_not(database: Database) -> None:
    for end, sent in ((BatchState.REFUSED, []), (BatchState.FAILED, ["a"])):
        run_task(database, "a", run_id=end.value)
        with ledger_of(database, run_id=end.value) as ledger:
            ledger.plan(batches("b"), generation=0)
            ledger.get("b")
            send(ledger, "b", end)
        assert run_task(database, "a", run_id=end.value) == sent


def test_the_place_of_a_batch_is_one_row(database: Database) -> None:
    for run_id in ("one", "two"):
        with ledger_of(database, run_id=run_id) as ledger:
            ledger.claim("a", sending())
            [row] = [row for row in database.rows() if row["run_id"] == run_id]
            assert ledger.place("a").endswith(f", id {row['id']}")


def test_an_outage_is_waited_for_once_not_for_every_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_achieveit.stores import ledger as module

    monkeypatch.setattr(module, "_OUTAGE_SECONDS", 0.2)
    home = tmp_path / "away"
    home.mkdir()
    url = f"sqlite:///{home / 'ledger.db'}"
    key = TaskKey("dag", "task", "run", -1, 1, UpdateKind.PROGRESS, "achieveit_default")
    tries: list[str] = []
    with Ledger(sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool), key=key) as ledger:
        ledger.plan(batches("a", "b", "c"), generation=0)
        shutil.rmtree(home)
        real = ledger._transaction
        monkeypatch.setattr(ledger, "_transaction", lambda: (tries.append("try"), real())[1])
        counts = []
        for fingerprint in "abc":
            with pytest.raises(sqlalchemy.exc.OperationalError):
                ledger.put(fingerprint, BatchRecord(BatchState.APPLIED, "j"))
            counts.append(len(tries))
    assert counts[0] > 1
    assert (counts[1] - counts[0], counts[2] - counts[1]) == (1, 1)
