"""The state of the simulated AchieveIt: plans, users, queued jobs and received batches.

No I/O and no clock: whoever calls says what time it is. The whole state goes to JSON and back.
"""

from __future__ import annotations

import base64
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.simulator.options import DEFAULT_API_KEY
from airflow_provider_achieveit.simulator.settings import Settings, settings_from_json
from airflow_provider_achieveit.simulator.validation import BatchRefusedError, Rules, Update, read_batch


@dataclass(slots=True)
class HistoryEntry:
    """One update in an item's history, as people see it.

    :param as_of_date: ISO date.
    :param status: the status set, or None.
    :param value: the metric value as exact decimal text, or None.
    :param comment: the comment, or None.
    :param filename: the batch that brought it.
    :param job_id: the job that applied it.
    """

    as_of_date: str
    status: str | None
    value: str | None
    comment: str | None
    filename: str
    job_id: str


@dataclass(slots=True)
class Item:
    """One plan item.

    :param external_id: by which updates name it; the export does not show it.
    :param fields: the item as the export sends it, names not yet escaped.
    :param email: e-mail address of the assigned user (a sort key, not an exported field).
    :param last_update_user: who updated it last (a sort key, not an exported field).
    :param history: all updates in the order they were applied.
    :param newest: for status, value and update, the as-of date of the newest that is shown.
    """

    external_id: str
    fields: dict[str, Any]
    email: str = ""
    last_update_user: str = ""
    history: list[HistoryEntry] = field(default_factory=list)
    newest: dict[str, str] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """How deep the item lies in the outline, from 0."""
        return str(self.fields["sequenceId"]).count(".")


@dataclass(slots=True)
class Plan:
    """A plan; its items stand in outline order.

    :param id: as in the address of the export.
    :param name: as people see it.
    :param items: in outline order.
    """

    id: str
    name: str
    items: list[Item] = field(default_factory=list)

    def renumber(self) -> None:
        """Give the items the outline and row numbers of their present order and depth."""
        counters: list[int] = []
        for row, item in enumerate(self.items, start=1):
            depth = min(item.depth, len(counters))
            counters = [*counters[: depth + 1], *([0] if depth >= len(counters) else [])]
            counters[depth] += 1
            item.fields["sequenceId"] = ".".join(map(str, counters))
            item.fields["rowNumber"] = row


class JobState(StrEnum):
    """Where a job stands."""

    RECEIVED = "received"
    PROCESSING = "processing"
    PROCESSED = "processed"
    REFUSED = "refused"
    FAILED = "failed"


JOB_HTTP_STATUS = {
    JobState.RECEIVED: 202,
    JobState.PROCESSING: 202,
    JobState.PROCESSED: 200,
    JobState.REFUSED: 400,
    JobState.FAILED: 500,
}
"""The code of the status address; it alone carries the state."""


@dataclass(slots=True)
class Job:
    """One queued batch.

    :param job_id: what the submit answered.
    :param kind: progress or metric updates.
    :param filename: last part of the submit's address.
    :param user: the name of the user whose key was used.
    :param received_at: ISO moment in UTC.
    :param state: where it stands.
    :param rows: updates applied.
    :param reason: why it was refused or failed.
    :param finished_at: ISO moment in UTC, when it ended.
    :param fail: a fault rule wants it to end in 500.
    """

    job_id: str
    kind: UpdateKind
    filename: str
    user: str
    received_at: str
    state: JobState = JobState.RECEIVED
    rows: int = 0
    reason: str = ""
    finished_at: str | None = None
    fail: bool = False

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return JOB_HTTP_STATUS[self.state] != 202


@dataclass(slots=True)
class Batch:
    """The bytes of one submit, exactly as they came."""

    kind: UpdateKind
    filename: str
    content_type: str
    body: bytes
    job_id: str


@dataclass(slots=True)
class User:
    """Whom a key belongs to.

    :param name: as people see it.
    :param plans: ids of the plans this user may view and update; None: all.
    """

    name: str
    plans: list[str] | None = None


@dataclass(slots=True)
class ReceivedRequest:
    """One request as it came, without its key; ``status`` is None where no answer left the server."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    received_at: str
    status: int | None = None


class World:
    """All that the simulator knows. Safe to read and change from several threads through its methods.

    :param plans: the plans (default: none).
    :param users: users by API key (default: one who sees everything, with :data:`~.options.DEFAULT_API_KEY`).
    :param settings: the tenant's ways (default: those of :class:`Settings`).
    """

    def __init__(
        self,
        plans: list[Plan] | None = None,
        users: dict[str, User] | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.plans: dict[str, Plan] = {plan.id: plan for plan in plans or []}
        self.users = users or {DEFAULT_API_KEY: User("API Account")}
        self.settings = settings or Settings()
        self.jobs: dict[str, Job] = {}
        self.batches: list[Batch] = []
        self.requests: list[ReceivedRequest] = []
        self.lock = threading.RLock()

    # --- Plans --------------------------------------------------------------------------------------------------------

    def visible_plans(self, user: User) -> list[Plan]:
        """Return the plans that a user may view and update."""
        return [plan for plan in self.plans.values() if user.plans is None or plan.id in user.plans]

    def items(self, user: User | None = None) -> Iterator[Item]:
        """Yield all items, or those that a user may update."""
        for plan in self.visible_plans(user) if user else list(self.plans.values()):
            yield from plan.items

    def item(self, external_id: str) -> Item:
        """Return the item with an external id.

        :raises KeyError: no item has it.
        """
        for item in self.items():
            if item.external_id == external_id:
                return item
        raise KeyError(external_id)

    def user_named(self, name: str) -> User:
        """Return the user of a queued job; one whose key was taken away since may do nothing."""
        return next((user for user in self.users.values() if user.name == name), User(name, plans=[]))

    # --- Jobs ---------------------------------------------------------------------------------------------------------

    def submit(
        self,
        kind: UpdateKind,
        filename: str,
        content_type: str,
        body: bytes,
        *,
        user: User,
        now: str,
        fail: bool = False,
    ) -> Job:
        """Queue a batch; nothing of it is looked at yet.

        :param now: the present, an ISO moment in UTC.
        :param fail: let the job end in 500 (a fault rule).
        :return: the new job.
        """
        with self.lock:
            job = Job(str(uuid.uuid4()), kind, filename, user.name, now, fail=fail)
            self.batches.append(Batch(kind, filename, content_type, body, job.job_id))
            self.jobs[job.job_id] = job
            return job

    def process(self, job: Job, *, now: str) -> None:
        """Apply a queued batch, or refuse it whole: no row of a bad batch changes anything.

        :param job: a job that has not ended.
        :param now: the present, an ISO moment in UTC.
        """
        with self.lock:
            job.finished_at = now
            if job.fail:
                job.state, job.reason = JobState.FAILED, "The batch could not be processed."
                return
            batch = next(batch for batch in self.batches if batch.job_id == job.job_id)
            user = self.user_named(job.user)
            items = {item.external_id: item for item in self.items(user)}
            rules = Rules(
                statuses={status.casefold(): status for status in self.settings.statuses},
                has_metric={external_id: bool(item.fields.get("hasMetric")) for external_id, item in items.items()},
                older=self.settings.older_batches,
            )
            try:
                updates = read_batch(job.kind, batch.filename, batch.content_type, batch.body, rules)
            except BatchRefusedError as error:
                job.state, job.reason = JobState.REFUSED, str(error)
                return
            for row, update in enumerate(updates, start=1):
                self._apply(items[update.external_id], update, job, row)
            job.state, job.rows = JobState.PROCESSED, len(updates)

    def _apply(self, item: Item, update: Update, job: Job, row: int) -> None:
        day = update.as_of_date.isoformat()
        value = None if update.metric_value is None else format(update.metric_value, "f")
        item.history.append(HistoryEntry(day, update.status, value, update.comment, job.filename, job.job_id))
        item.fields["updates"] = item.fields.get("updates", 0) + 1
        # The newest as-of date is shown, whenever it arrives; of two with the same date, the later arrival.
        if update.status is not None and day >= item.newest.get("status", ""):
            item.newest["status"] = day
            item.fields |= {"statusName": update.status, "status": self.settings.statuses.index(update.status)}
        if value is not None and day >= item.newest.get("value", ""):
            item.newest["value"] = day
            item.fields["currentValue"] = value
        if day >= item.newest.get("update", ""):
            item.newest["update"] = day
            item.last_update_user = job.user
            comment_id = None if update.comment is None else str(uuid.uuid5(uuid.NAMESPACE_OID, f"{job.job_id}/{row}"))
            item.fields |= {
                "lastUpdated": f"{day}T00:00:00Z",
                "lastUpdateComment": update.comment,
                "lastUpdateCommentId": comment_id,
            }

    # --- To JSON and back ---------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values; received requests are left out."""
        with self.lock:
            return {
                "settings": asdict(self.settings),
                "users": {key: asdict(user) for key, user in self.users.items()},
                "plans": [asdict(plan) for plan in self.plans.values()],
                "jobs": [asdict(job) for job in self.jobs.values()],
                "batches": [asdict(batch) | {"body": base64.b64encode(batch.body).decode()} for batch in self.batches],
            }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the state that :meth:`to_json` gave.

        :raises ValueError: it is no such state.
        """
        try:
            settings = settings_from_json(state["settings"])
            users = users_from_json(state["users"])
            plans = {plan["id"]: plan_from_json(plan) for plan in state["plans"]}
            jobs = [
                Job(**job | {"kind": UpdateKind(job["kind"]), "state": JobState(job["state"])}) for job in state["jobs"]
            ]
            batches = [
                Batch(**batch | {"kind": UpdateKind(batch["kind"]), "body": base64.b64decode(batch["body"])})
                for batch in state["batches"]
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a saved state of the simulator: {error!r}") from error
        with self.lock:
            self.settings, self.users, self.plans = settings, users, plans
            self.jobs = {job.job_id: job for job in jobs}
            self.batches, self.requests = batches, []


def users_from_json(data: Mapping[str, Any]) -> dict[str, User]:
    """Return users by key from JSON values.

    :raises ValueError: no user, or two of the same name (jobs remember their user by the name).
    """
    users = {key: User(**user) for key, user in data.items()}
    if not users or len({user.name for user in users.values()}) < len(users):
        raise ValueError("at least one user is needed, and each needs a name of its own")
    return users


def plan_from_json(data: Mapping[str, Any]) -> Plan:
    """Return a plan as :func:`dataclasses.asdict` wrote it; nothing is filled in."""
    items = [Item(**item | {"history": [HistoryEntry(**entry) for entry in item["history"]]}) for item in data["items"]]
    return Plan(data["id"], data["name"], items)
