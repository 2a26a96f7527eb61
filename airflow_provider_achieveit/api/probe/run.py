"""The probe: asks one question after the other, one request at a time, and keeps what may be told of the answers."""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from airflow_provider_achieveit.api import contract
from airflow_provider_achieveit.api.contract import JobState
from airflow_provider_achieveit.api.failure import ApiError, FailureKind
from airflow_provider_achieveit.api.http import ApiRequest, ApiResponse
from airflow_provider_achieveit.api.jobs import FAILED_ANSWERS
from airflow_provider_achieveit.api.probe.fields import fields_seen
from airflow_provider_achieveit.api.probe.questions import (
    FIELDS,
    JOB_ID,
    JOB_STATUS,
    RATE_LIMIT,
    Answer,
    Ask,
    Question,
    Topic,
    Verdict,
    job_state,
    key_questions,
    page_of,
    reading_questions,
)
from airflow_provider_achieveit.api.probe.report import Finding, environment_of, finding_told
from airflow_provider_achieveit.api.probe.shapes import Names, answer_shape, form_of, rate_headers
from airflow_provider_achieveit.api.progress import report

log = logging.getLogger(__name__)

LOOK_PAUSES = (0, 1, 2, 4, 8, 15, 30, 60)
"""Seconds before each look at the job of the marked update: two minutes in all."""
_UNANSWERED = 2
"""So many questions in a row without an answer, and no more are asked."""
_SHORTEST_SECRET = 4
_ADDRESS = "export_address"
_OTHER_FIELDS = {"differs": "differ", "missing": "are missing", "unknown": "are unknown"}


class Carrier(Protocol):
    """What sends a request; :meth:`~.client.AchieveItClient.ask` does."""

    def __call__(self, request: ApiRequest, what: str, *, signed: bool) -> ApiResponse:
        """Return the answer, or raise ApiError where none came."""


@dataclass(frozen=True, slots=True)
class MarkedUpdate:
    """The one update that a probe may send.

    :param external_id: the plan item.
    :param request: the POST, of one row whose comment says what it is.
    """

    external_id: str
    request: ApiRequest


class Probe:
    """One round of all questions.

    :param ask: what sends a request.
    :param base_url: the tenant's base URL; told only as one of the two documented ones, or another.
    :param api_key: the key; no name that holds it is told.
    :param plan_id: a plan to read, may be empty.
    :param update: the update to send (default: none is sent).
    :param sleep: how to pause between looks at the job (default: :func:`time.sleep`).
    :ivar stopped: why the rest was not asked; empty: all was.
    :ivar requests_sent: how many requests went out.
    :ivar updates_sent: 0 or 1, or ``unsure`` where nobody can tell.
    :ivar job_id: the job of the update, once it is known.
    :ivar plan_read: whether a page of the plan could be read; None: not asked yet.
    :ivar key_refused: whether the connection's own key was answered with 401.
    """

    def __init__(
        self,
        ask: Carrier,
        *,
        base_url: str,
        api_key: str,
        plan_id: str = "",
        update: MarkedUpdate | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._carrier, self._base_url, self._plan_id, self._update, self._sleep = ask, base_url, plan_id, update, sleep
        self._names = Names(_secrets(base_url, api_key, plan_id, update))
        nobody = str(uuid.uuid4())
        self._reading, self._keys = reading_questions(plan_id, nobody), key_questions(plan_id, nobody)
        self._began = datetime.now(UTC)
        self._findings: dict[str, Finding] = {}
        self._fields: list[dict[str, Any]] = []
        self._legacy = False
        self._unanswered = 0
        self._unsure = False
        self._limit_met = ""
        self._rate_headers: set[str] = set()
        self.plan_read: bool | None = None
        self.key_refused = False
        self.stopped = ""
        self.requests_sent = 0
        self.updates_sent: int | Literal["unsure"] = 0
        self.job_id = ""

    @property
    def planned(self) -> int:
        """How many requests go out at most."""
        questions = [question for question in self._reading if self._plan_id or not question.needs_plan]
        if not self._plan_id:
            questions = [question for question in questions if question.name != _ADDRESS]
        asks = sum(len(question.asks(False)) for question in [*questions, *self._keys])
        return asks + (1 + len(LOOK_PAUSES) if self._update else 0)

    @property
    def updates_planned(self) -> int:
        """How many of them send an update: 0 or 1."""
        return int(self._update is not None)

    @property
    def unsigned(self) -> int:
        """How many of them go without the key, or with a made-up one."""
        return sum(len(question.asks(False)) for question in self._keys)

    def run(self) -> None:
        """Ask everything; what was seen is kept, however it ends.

        :raises KeyboardInterrupt: somebody stopped it.
        """
        try:
            for question in self._reading:
                self._put(question)
            self._write()
            for question in self._keys:
                self._put(question)
        except KeyboardInterrupt:
            self.stopped = "interrupted"
            raise

    # --- Asking -------------------------------------------------------------------------------------------------------

    def _put(self, question: Question) -> None:
        if reason := self._hindrance(question):
            self._findings[question.name] = Finding(Verdict.NOT_ASKED, reason)
            return
        finding = self._findings[question.name] = Finding(Verdict.NO_ANSWER, "interrupted")
        answers: list[Answer] = []
        for ask in question.asks(self._legacy):
            answer = self._ask(ask, finding)
            if answer is None:
                return
            answers.append(answer)
        finding.verdict, finding.seen = question.judge(answers)
        if question.name == _ADDRESS:
            self._look_at_page(answers)

    def _hindrance(self, question: Question) -> str:
        if self.stopped:
            return self.stopped
        if (question.needs_plan or question.name == _ADDRESS) and not self._plan_id:
            return "no plan was named"
        return "the plan could not be read" if question.needs_plan and not self.plan_read else ""

    def _ask(self, ask: Ask, finding: Finding) -> Answer | None:
        """Send one request; None: the question stays without an answer, which its finding tells."""
        self.requests_sent += 1
        report("requests", self.requests_sent, self.planned)
        try:
            response = self._carrier(ask.request, f"probe, {ask.what}", signed=ask.signed)
        except ApiError as error:
            # The error names the host: it is for the one who probes, not for the report.
            log.warning("%s", error)
            finding.seen = f"no answer to: {ask.what}"
            self._unsure = error.failure.kind is FailureKind.UNSURE
            # A caller without a key may be hung up on: that is how this tenant refuses it.
            self._unanswered += ask.signed
            if self._unanswered >= _UNANSWERED:
                self.stopped = "no answers came"
            return None
        self._unanswered = 0
        self._unsure = False
        shape = answer_shape(response, self._names)
        finding.answers.append({"asked": ask.what, **shape})
        self._rate_headers.update(rate_headers(response.headers))
        self.key_refused |= ask.signed and contract.failure(response, "").kind is FailureKind.AUTH
        told = f"{shape['status']}, {shape['body']}"
        if contract.asks_to_wait(response):
            self.stopped = "AchieveIt asked for fewer requests"
            self._limit_met = f"{told} at request {self.requests_sent}; Retry-After: {shape['retry_after'] or 'none'}"
            finding.seen = f"{ask.what}: {told}"
            return None
        return Answer(ask.what, response, told)

    def _look_at_page(self, answers: Sequence[Answer]) -> None:
        pages = [page_of(answer) for answer in answers]
        self.plan_read = any(pages)
        self._legacy = self.plan_read and pages[0] is None
        page = next(filter(None, pages), None)
        if page:
            self._fields = fields_seen(page.items, self._names)
            others = Counter(row["verdict"] for row in self._fields)
            told = ", ".join(
                f"{others[verdict]} {words}" for verdict, words in _OTHER_FIELDS.items() if others[verdict]
            )
            verdict = Verdict.DIFFERS if told else Verdict.AS_EXPECTED
            self._findings[FIELDS.name] = Finding(
                verdict, f"{len(page.items)} items; fields: {told or 'as documented'}"
            )

    # --- The marked update --------------------------------------------------------------------------------------------

    def _write(self) -> None:
        # A plan that was named and cannot be read: whatever answers there shall not be written to.
        if self._update is None or self.stopped or self.plan_read is False:
            return
        finding = self._findings[JOB_ID.name] = Finding(Verdict.NO_ANSWER, "interrupted")
        # Until the answer is there: whatever ends this in between leaves it open.
        self.updates_sent = "unsure"
        answer = self._ask(Ask("marked update", self._update.request), finding)
        if answer is None:
            self.updates_sent = "unsure" if self._unsure else 0
            return
        finding.verdict, finding.seen = Verdict.DIFFERS, answer.shape
        if not contract.is_taken(answer.response):
            unsure = contract.submit_failure(answer.response, "").kind is FailureKind.UNSURE
            self.updates_sent = "unsure" if unsure else 0
            return
        self.updates_sent = 1
        try:
            self.job_id = contract.read_job_id(answer.response)
        except ApiError:
            return
        finding.verdict = Verdict.AS_EXPECTED
        self._look_at_job()

    def _look_at_job(self) -> None:
        finding = self._findings[JOB_STATUS.name] = Finding(Verdict.NO_ANSWER, "interrupted")
        shapes: Counter[str] = Counter()
        states: list[JobState | None] = []
        for pause in LOOK_PAUSES:
            self._sleep(pause)
            request = contract.job_status_request(contract.UpdateKind.PROGRESS, self.job_id)
            answer = self._ask(Ask("marked update's job", request), finding)
            if answer is None:
                return
            shapes[answer.shape] += 1
            states.append(job_state(answer))
            if _ended(states):
                break
        told = "; ".join(f"{shape} ({times} times)" if times > 1 else shape for shape, times in shapes.items())
        finding.seen = told if _ended(states) else f"{told}; not ended yet"
        finding.verdict = Verdict.DIFFERS if None in states else Verdict.AS_EXPECTED

    # --- The report ---------------------------------------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        """Return what was seen so far, as JSON values: nothing of the tenant but numbers, forms and names of fields."""
        return {
            "probed_at": self._began.isoformat(timespec="seconds"),
            "server": environment_of(self._base_url),
            "plan": form_of(self._plan_id) if self._plan_id else "none",
            "requests_planned": self.planned,
            "requests_sent": self.requests_sent,
            "updates_sent": self.updates_sent,
            "stopped": self.stopped or None,
            "questions": [finding_told(topic, self._finding(topic)) for topic in self._topics()],
            "fields": self._fields,
        }

    def _topics(self) -> list[Topic]:
        topics: list[Topic] = [*self._reading, JOB_ID, JOB_STATUS, *self._keys, RATE_LIMIT]
        after_page = [topic.name for topic in topics].index(_ADDRESS) + 1
        return [*topics[:after_page], FIELDS, *topics[after_page:]]

    def _finding(self, topic: Topic) -> Finding:
        if topic is RATE_LIMIT:
            return self._rate_limit()
        return self._findings.get(topic.name) or Finding(Verdict.NOT_ASKED, self._why_not(topic))

    def _why_not(self, topic: Topic) -> str:
        if topic is FIELDS and not self.stopped:
            return "the plan could not be read" if self._plan_id else "no plan was named"
        if topic in (JOB_ID, JOB_STATUS) and self._update is None:
            return "--write-item was not given"
        if topic is JOB_ID and self.plan_read is False:
            return "the plan could not be read"
        return self.stopped or "there is no job"

    def _rate_limit(self) -> Finding:
        if self._limit_met:
            return Finding(Verdict.AS_EXPECTED, self._limit_met)
        names = ", ".join(sorted(self._rate_headers)) or "none"
        told = f"not met in {self.requests_sent} requests; headers that tell of one: {names}"
        return Finding(Verdict.AS_EXPECTED if self.requests_sent else Verdict.NOT_ASKED, told)


def _ended(states: Sequence[JobState | None]) -> bool:
    """Tell whether a job has ended by what was seen of it; a failure counts only when it is repeated."""
    if states[-1] in (JobState.APPLIED, JobState.REFUSED):
        return True
    return len(states) >= FAILED_ANSWERS and set(states[-FAILED_ANSWERS:]) == {JobState.FAILED}


def _secrets(base_url: str, api_key: str, plan_id: str, update: MarkedUpdate | None) -> frozenset[str]:
    # That of AchieveIt itself is no secret, and "com" begins many an innocent name.
    host = "" if environment_of(base_url) != "other" else urlsplit(base_url).hostname or ""
    texts = {api_key, plan_id, *host.split("."), update.external_id if update else ""}
    return frozenset(text for text in texts if len(text) >= _SHORTEST_SECRET)
