"""What docs/delivery.md promises beside its table: odd answers, twins, hands in the store, a late kill."""

from __future__ import annotations

import itertools
import json
import random
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseHook
from airflow.utils.state import DagRunState

from airflow_provider_achieveit.api.client import AchieveItClient
from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.exceptions import (
    AchieveItRequestError,
    AchieveItUnavailableError,
    AchieveItUnsureSubmissionError,
)
from airflow_provider_achieveit.operators.batches import pack, unpack
from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
from airflow_provider_achieveit.stores.records import BatchState, SubmittedBatch
from airflow_provider_achieveit.triggers.job import AchieveItJobTrigger
from tests.going_run import GoingRun, register
from tests.test_reruns import Bench, bench, die, mapped, rows, slow_jobs, with_ledger, with_task_state  # noqa: F401  (fixtures)

pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_achieveit.api.client.wait_before_repeat", lambda state: 0.0)


def registered(dag: DAG) -> GoingRun:
    register(dag)
    return GoingRun(dag)


def test_a_lost_answer_and_then_503_is_not_certainly_unqueued(bench: Bench) -> None:
    """A applied; B: taken, the answer lost, the repeat refused with 503; then A again. AchieveIt shows B."""
    assert bench.push(rows(1)) == "success"
    bench.clear()
    bench.simulator.faults.add("reset", method="POST", after=True)
    bench.simulator.faults.add("status", method="POST", status=503, nth=2, times=6)
    assert bench.push(rows(2), on_unsure="resubmit") == "failed"
    assert bench.applied == ["1", "2"]
    bench.simulator.faults.clear()
    bench.clear()
    state = bench.push(rows(1), on_unsure="resubmit")
    assert not (state == "success" and bench.applied[-1] == "2"), "green, and AchieveIt shows the other content"


def test_a_lost_answer_and_then_503_is_asked_about(bench: Bench) -> None:
    bench.simulator.faults.add("reset", method="POST", after=True)
    bench.simulator.faults.add("status", method="POST", status=503, nth=2, times=6)
    assert bench.push(rows(1), on_unsure="resubmit") == "failed"
    bench.simulator.faults.clear()
    bench.clear()
    bench.push(rows(1), on_unsure="fail")
    assert bench.applied == ["1"], "on_unsure='fail' asks before it applies a second time"


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_2xx_without_an_id_is_not_sent_again_in_the_same_try(bench: Bench, status: int) -> None:
    bench.simulator.faults.add("status", method="POST", status=status, body="", after=True)
    bench.push(rows(1), on_unsure="resubmit")
    assert bench.applied == ["1"]


def test_a_retry_past_the_deadline_finds_all_that_is_applied(
    bench: Bench,
    die: Callable[..., None],
) -> None:
    """R4: the worker died while it waited, and the retry comes after the time of the first try."""
    die(AchieveItSubmitProgressUpdatesOperator, "_wait")

    def later(context: Any) -> None:
        time.sleep(0.5)

    state = bench.push(rows(1, 2, 3), retries=1, wait_timeout=0.3, on_retry_callback=later)
    assert bench.applied == ["1", "2", "3"]
    assert state == "success", str(bench.error)


def test_a_death_at_another_index_is_told_truthfully(
    with_ledger: Bench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = AchieveItClient.submit
    count = itertools.count(1)

    class Gone(BaseException):
        pass

    def gone(client: AchieveItClient, *args: Any) -> str:
        if next(count) == 3:
            raise Gone
        return real(client, *args)

    monkeypatch.setattr(AchieveItClient, "submit", gone)
    run = registered(mapped(with_ledger, rows(1), rows(2), rows(3)))
    run.go_on()
    run.clear()
    hook = BaseHook.get_connection("ledger").get_hook()
    hook.run("update achieveit_submissions set sent_at = '2026-01-01T00:00:00+00:00' where state = 'sending'")
    run.go_on(mapped(with_ledger, rows(3), rows(2), retries=2))
    error = run.errors["push", 0]
    assert isinstance(error, AchieveItUnsureSubmissionError), str(error)
    run.clear()
    assert run.go_on(mapped(with_ledger, rows(3), rows(2), on_unsure="resubmit")) == DagRunState.SUCCESS
    assert sorted(with_ledger.applied) == ["1", "2", "3"]


def test_the_ledger_switched_on_knows_what_was_replaced_before(with_ledger: Bench) -> None:
    """C8 over the switch: A, B with the task state store; then A with a ledger. AchieveIt shows B."""
    ledger, with_ledger.ledger = with_ledger.ledger, {}
    for source in (rows(1), rows(2)):
        with_ledger.push(source)
        with_ledger.clear()
    with_ledger.ledger = ledger
    assert with_ledger.push(rows(1)) == "success"
    assert with_ledger.applied == ["1", "2", "1"]


def test_a_connection_and_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_OTHER", bench.simulator.connection())
    for conn_id in ("achieveit_default", "achieveit_other", "achieveit_default"):
        bench.push(rows(1), achieveit_conn_id=conn_id)
        bench.clear()
    assert bench.posts == 2, "the account is kept for one connection"


def test_an_event_that_does_not_tell_all_jobs_is_no_success(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_achieveit.operators import updates

    real = updates.read_event

    def partial(event: Any) -> Any:
        event = json.loads(json.dumps(event))
        event["outcome"]["results"].popitem()
        return real(event)

    monkeypatch.setattr(updates, "read_event", partial)
    state = bench.push(rows(1, 2), deferrable=True)
    assert state == "failed", bench.result


def test_a_job_that_was_applied_after_all_is_not_sent_again(bench: Bench) -> None:
    """Three 500 of a web server in front while the job is applied: the retry looks before it sends."""
    bench.simulator.faults.add("status", path="/status/", status=500, times=3)
    assert bench.push(rows(1), retries=1) == "success"
    assert bench.applied == ["1"]


def test_nothing_more_is_sent_after_on_kill(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's SIGTERM handler calls on_kill and returns: the task goes on until SIGKILL."""
    real, real_submit = AchieveItClient.submit, AchieveItSubmitProgressUpdatesOperator._submit
    running: list[Any] = []

    def remember(operator: Any, *args: Any) -> Any:
        running.append(operator)
        return real_submit(operator, *args)

    def kill(client: AchieveItClient, *args: Any) -> str:
        if bench.posts == 0:
            running[-1].on_kill()
        return real(client, *args)

    monkeypatch.setattr(AchieveItSubmitProgressUpdatesOperator, "_submit", remember)
    monkeypatch.setattr(AchieveItClient, "submit", kill)
    bench.push(rows(1, 2, 3))
    assert bench.posts == 1


def test_a_timeout_inside_the_post_names_the_batch_on_its_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow calls on_kill once AirflowTaskTimeout has come up through the operator."""
    known: list[SubmittedBatch | None] = []
    monkeypatch.setattr(
        AchieveItSubmitProgressUpdatesOperator,
        "on_kill",
        lambda operator: known.append(operator._submission and operator._submission.sending),
    )
    bench.simulator.faults.add("delay", method="POST", seconds=5, after=True)
    assert bench.push(rows(1), execution_timeout=timedelta(seconds=1.5)) == "failed"
    assert known[0] is not None, "on_kill cannot say that the batch was on its way"


def test_an_unknown_job_is_told_as_such(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_achieveit.api import jobs

    monkeypatch.setattr(jobs, "MISSING_GRACE", 0.0)
    bench.simulator.faults.add("status", path="/status/", status=404, times=None)
    assert bench.push(rows(1)) == "failed"
    bench.clear()
    assert bench.push(rows(1)) == "failed"
    assert bench.job_ids()[0] in str(bench.error)
    assert "no job id was written down" not in str(bench.error)


def test_upgrade_with_an_unsure_batch_and_other_content(with_task_state: Bench) -> None:
    """A record of the first release has no filename; a try of this one puts it into the plans, then the rows change."""
    with_task_state.simulator.faults.add("reset", method="POST", after=True)
    with_task_state.push(rows(1))
    sha = str(with_task_state.error).partition("sha256 ")[2][:64]
    old_record(with_task_state, sha, {"state": "sending", "job_id": None, "generation": 0, "at": time.time()})
    with_task_state.clear()
    with_task_state.push(rows(1))
    with_task_state.clear()
    assert with_task_state.push(rows(2)) == "failed"
    assert "batch  (0 rows" not in str(with_task_state.error)


def test_no_triggerer_and_other_content_meanwhile(bench: Bench, slow_jobs: Callable[[float], None]) -> None:
    """R11: the time is up, so the worker looks at the old job once and does not wait for it anew."""
    slow_jobs(60)
    source = rows(1)

    def nobody_home(run: GoingRun, instance: Any) -> None:
        source[0]["metric_value"] = 2
        run.let_deferral_time_out(instance)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GoingRun, "_trigger", nobody_home)
        assert bench.push(source, deferrable=True, wait_timeout=30) == "failed"
    assert "had not ended in time" in str(bench.error)
    assert len([request for request in bench.simulator.world.requests if request.method == "GET"]) == 1


def test_always_says_what_it_waits_for(bench: Bench, slow_jobs: Callable[[float], None]) -> None:
    slow_jobs(60)
    bench.push(rows(1), resubmit="always", wait_for_completion=False)
    bench.clear()
    assert bench.push(rows(1), resubmit="always", wait_timeout=0.3) == "failed"
    assert "other content" not in str(bench.error)


def test_a_twin_of_the_same_try_is_alive(with_ledger: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same try delivered twice: while one sends, the other must not tell that nobody can know, nor send it too."""
    from airflow_provider_achieveit.api.contract import UpdateKind
    from airflow_provider_achieveit.api.failure import ApiError, FailureKind
    from airflow_provider_achieveit.submission import Submission
    from tests.stores.databases import Database
    from tests.stores.test_ledger import ledger_of

    database = Database("sqlite:///" + BaseHook.get_connection("ledger").host)
    batch = SubmittedBatch("a.csv", 1, "a")
    posts: list[str] = []
    errors: list[ApiError] = []

    class Client:
        def await_turn(self) -> None:
            pass

        def submit(self, kind: UpdateKind, filename: str, body: bytes) -> str:
            posts.append(filename)
            if len(posts) == 1:
                try:
                    begin_and_send()
                except ApiError as error:
                    errors.append(error)
            return f"job-{len(posts)}"

    def begin_and_send() -> None:
        with ledger_of(database) as ledger:
            submission = Submission(Client(), kind=UpdateKind.PROGRESS, store=ledger, resubmit_unsure=True)
            submission.begin([batch], poll_interval=1, deadline=0)
            submission.send_all([(batch, b"a")])

    begin_and_send()
    assert len(posts) == 1
    assert errors[0].failure.kind is FailureKind.UNAVAILABLE


def old_record(bench: Bench, fingerprint: str, record: dict[str, Any]) -> None:
    """Write what the first release wrote, in the place of what there is."""
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        for entry in session.scalars(select(TaskStateStoreModel).where(TaskStateStoreModel.dag_id == bench.dag_id)):
            if entry.key.endswith("plans"):
                session.delete(entry)
            elif fingerprint in entry.key:
                entry.value = json.dumps(record)


def test_what_a_person_set_to_applied_replaces_what_was_before(bench: Bench) -> None:
    """As docs/delivery.md says: A applied; B unsure, found in AchieveIt and set to applied; then A again."""
    assert bench.push(rows(1)) == "success"
    bench.clear()
    bench.simulator.faults.add("reset", method="POST", after=True)
    assert bench.push(rows(2)) == "failed"
    bench.hand("applied")
    bench.clear()
    assert bench.push(rows(2)) == "success"
    bench.clear()
    assert bench.push(rows(1)) == "success"
    assert bench.applied == ["1", "2", "1"], "AchieveIt shows B"


def test_what_was_refused_is_not_sent_again_by_a_retry(
    bench: Bench,
    die: Callable[..., None],
) -> None:
    """R8 with a worker that dies once the end is written down."""
    from airflow_provider_achieveit.operators import updates

    die(updates, "error_for")
    bench.push([{**rows(1)[0], "external_id": "nobody"}], retries=1)
    assert bench.posts == 1


def test_a_retry_that_is_given_the_event_of_another_try_runs_anew(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Airflow 3.0 does: it resumes a retry of a deferred task with the event of the try before."""
    from airflow_provider_achieveit.operators import updates

    real = updates.read_event
    events: list[Any] = []

    def first_of_another_try(event: Any) -> Any:
        outcome, payload = real(event)
        events.append(event)
        return outcome, {**payload, "try_number": 0} if len(events) == 1 else payload

    monkeypatch.setattr(updates, "read_event", first_of_another_try)
    assert bench.push(rows(1), deferrable=True) == "success"
    assert (bench.posts, len(events)) == (1, 2)


def test_the_trigger_of_three_hundred_batches_fits_into_airflows_column() -> None:
    """With MySQL and MariaDB the column trigger.kwargs is TEXT, 65535 bytes; Airflow stores it encrypted."""
    from cryptography.fernet import Fernet

    rng = random.Random(1)
    batches = [
        SubmittedBatch(
            f"daily_kpi_push.push.scheduled-2026-01-05T06-00-00-00-00.b{number:04}.{rng.randbytes(4).hex()}.csv",
            5000,
            rng.randbytes(32).hex(),
            BatchState.QUEUED,
            str(uuid.UUID(bytes=rng.randbytes(16))),
            sent_at=1.5e9 + rng.random(),
        )
        for number in range(300)
    ]
    payload = {"counts": {"rows_read": 1, "rows_rejected": 0}, "batches": pack(batches), "try_number": 1}
    trigger = AchieveItJobTrigger(job_ids=[b.job_id or "" for b in batches], deadline=1.5e9, payload=payload)
    assert unpack(trigger.serialize()[1]["payload"]["batches"]) == batches
    stored = Fernet(Fernet.generate_key()).encrypt(json.dumps(trigger.serialize()[1]).encode())
    assert len(stored) <= 65535


def test_a_trigger_of_the_first_release_is_understood() -> None:
    batch = SubmittedBatch("a.csv", 1, "ab", BatchState.QUEUED, "j")
    told = batch.to_json()
    del told["sent_at"]
    assert unpack([told]) == [batch]


def test_a_ledger_that_is_away_lets_nothing_be_sent(
    with_ledger: Bench,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "nowhere" / "ledger.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(connection))
    assert with_ledger.push(rows(1)) == "failed"
    assert isinstance(with_ledger.error, AchieveItUnavailableError)
    assert "ledger_conn_id='ledger': the ledger cannot be used (OperationalError" in str(with_ledger.error)
    assert "insert" not in str(with_ledger.error).lower()
    assert with_ledger.posts == 0


def test_a_ledger_of_another_shape_is_told_and_not_retried(with_ledger: Bench) -> None:
    BaseHook.get_connection("ledger").get_hook().run("create table achieveit_submissions (id integer)")
    assert with_ledger.push(rows(1), retries=2) == "failed"
    assert isinstance(with_ledger.error, AchieveItRequestError)
    assert "lacks the column(s)" in str(with_ledger.error)
    assert with_ledger.posts == 0
