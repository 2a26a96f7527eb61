"""The questions: what each asks, how its answers are judged, and what the provider does with them. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from airflow_provider_achieveit.api import contract
from airflow_provider_achieveit.api.contract import MAX_TAKE, SORT_KEYS, JobState, Page, UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, FailureKind
from airflow_provider_achieveit.api.http import ApiRequest, ApiResponse

FIELDS_TAKE = 100
"""Items whose fields are looked at: the API's own default for a page."""
NO_SORT_KEY = "noSuchSortKey"


class Verdict(StrEnum):
    """How an answer stands to what the provider is made for."""

    AS_EXPECTED = "as expected"
    """One of the ways that the documents tell, or that the provider understands where they tell none."""
    DIFFERS = "differs"
    NO_ANSWER = "no answer"
    NOT_ASKED = "not asked"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a question.

    :param what: what is asked, for the report: nothing that belongs to the tenant.
    :param request: the request.
    :param signed: whether it carries the connection's key.
    """

    what: str
    request: ApiRequest
    signed: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    :param what: what was asked.
    :param response: as it came; nothing of it may be told.
    :param shape: what may be told of it, in a line.
    """

    what: str
    response: ApiResponse
    shape: str


Judged = tuple[Verdict, str]
"""A verdict, and what was seen, in words that may be told."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What a part of the report is about.

    :param name: its name in the report.
    :param asked: what is asked, in words.
    :param provider: what the provider does with the answer.
    """

    name: str
    asked: str
    provider: str


@dataclass(frozen=True, slots=True)
class Question(Topic):
    """One question about a tenant.

    :param asks: its requests, by whether the tenant has the export's older address only.
    :param judge: takes their answers.
    :param needs_plan: whether it is about a plan that can be read.
    """

    asks: Callable[[bool], Sequence[Ask]]
    judge: Callable[[Sequence[Answer]], Judged]
    needs_plan: bool = False


FIELDS = Topic(
    "fields",
    f"the kinds of values in the fields of up to {FIELDS_TAKE} items",
    "keeps what the documents do not tell in the column extra; a missing field is NULL",
)
JOB_ID = Topic(
    "job_id",
    "one marked update",
    "reads the job id from text, a JSON text or number, or a JSON object; else the task fails as unsure",
)
JOB_STATUS = Topic(
    "job_status",
    "the state of its job until it has ended",
    "goes by the code alone, and tells the body as the reason",
)
RATE_LIMIT = Topic(
    "rate_limit",
    "nothing of its own: whether any answer asked for fewer requests, or told of a limit",
    "waits as long as Retry-After says, in either form, five minutes at most before it asks again",
)


def reading_questions(plan_id: str, nobody: str) -> list[Question]:
    """Return the questions that only read, with the connection's key.

    :param plan_id: the plan, may be empty.
    :param nobody: an id that nothing has.
    """
    return [
        Question(
            "unknown_job",
            "the state of a job that does not exist, for both kinds of updates",
            "takes 404 for early while a wait is young, then for a job that AchieveIt does not know",
            lambda _: [Ask(f"{kind} job", contract.job_status_request(kind, nobody)) for kind in UpdateKind],
            _judge_unknown_job,
        ),
        Question(
            "export_address",
            f"a page of {FIELDS_TAKE} items of the plan, at the export's newer address and at its older one",
            "asks at the newer address, and where that is 404 at the older one",
            lambda _: [
                _page(plan_id, "newer address", take=FIELDS_TAKE, legacy=False),
                _page(plan_id, "older address", take=FIELDS_TAKE, legacy=True),
            ],
            _judge_addresses,
        ),
        Question(
            "take_over_maximum",
            f"a page of {MAX_TAKE + 1} items, one more than the documents allow",
            f"never asks for more than {MAX_TAKE}",
            lambda legacy: [_page(plan_id, f"take {MAX_TAKE + 1}", take=MAX_TAKE + 1, legacy=legacy)],
            _judge_take,
            needs_plan=True,
        ),
        Question(
            "sort_keys",
            "a page of one item by each documented sort key",
            "sorts by sequenceId, or by the key that an operator is given",
            lambda legacy: [_page(plan_id, key, sort_key=key, legacy=legacy) for key in sorted(SORT_KEYS)],
            _judge_sort_keys,
            needs_plan=True,
        ),
        Question(
            "unknown_sort_key",
            "a page of one item by a sort key that does not exist; where it is accepted, accepted keys prove little",
            "refuses keys that are not documented before it asks",
            lambda legacy: [_page(plan_id, "unknown key", sort_key=NO_SORT_KEY, legacy=legacy)],
            _judge_unknown_sort_key,
            needs_plan=True,
        ),
        Question(
            "unknown_plan",
            "a page of a plan that does not exist",
            "fails at once: 403 as AchieveItForbiddenError, 404 as AchieveItRequestError",
            lambda legacy: [_page(nobody, "unknown plan", legacy=legacy)],
            _judge_unknown_plan,
        ),
    ]


def key_questions(plan_id: str, nobody: str) -> list[Question]:
    """Return the questions without the connection's key, to be asked last.

    A service that shuts a caller out for a while after a wrong key then takes nothing from the other answers. No
    question repeats itself, and the key is made up: no user has it whose account could be locked.

    :param plan_id: the plan, may be empty.
    :param nobody: a key that nobody has.
    """
    provider = "fails at once: 401 as AchieveItAuthError, 403 as AchieveItForbiddenError"
    page = partial(_page, plan_id or nobody)
    return [
        Question(
            "missing_key",
            f"a page without the header {contract.AUTHORIZATION}",
            provider,
            lambda legacy: [_with_header(page("no header", legacy=legacy), None)],
            _judge_key,
        ),
        Question(
            "malformed_key",
            "a page with a made-up key without the scheme word",
            provider,
            lambda legacy: [_with_header(page("no scheme word", legacy=legacy), nobody)],
            _judge_key,
        ),
        Question(
            "wrong_key",
            "a page, and the state of a job that does not exist, with a made-up key",
            f"{provider}; a connection test without a plan rests on the second",
            lambda legacy: [
                _with_header(page("page", legacy=legacy), contract.authorization(nobody)),
                _with_header(
                    Ask("job", contract.job_status_request(UpdateKind.PROGRESS, nobody)), contract.authorization(nobody)
                ),
            ],
            _judge_key,
        ),
    ]


def _page(plan_id: str, what: str, *, take: int = 1, sort_key: str = "sequenceId", legacy: bool = False) -> Ask:
    return Ask(what, contract.plan_page_request(plan_id, skip=0, take=take, sort_key=sort_key, legacy=legacy))


def _with_header(ask: Ask, authorization: str | None) -> Ask:
    headers = {} if authorization is None else {contract.AUTHORIZATION: authorization}
    return replace(ask, request=replace(ask.request, headers=headers), signed=False)


# --- How answers are judged -------------------------------------------------------------------------------------------


def page_of(answer: Answer) -> Page | None:
    """Return the page that an answer holds, None where the provider could read none."""
    try:
        return contract.read_page(answer.response, "")
    except ApiError:
        return None


def job_state(answer: Answer) -> JobState | None:
    """Return what an answer says about a job, None where the provider takes it for none."""
    try:
        return contract.read_job_status(answer.response, "").state
    except ApiError:
        return None


def _kind(answer: Answer) -> FailureKind:
    return contract.failure(answer.response, "").kind


def _verdict(as_expected: bool) -> Verdict:
    return Verdict.AS_EXPECTED if as_expected else Verdict.DIFFERS


def _each(answers: Sequence[Answer]) -> str:
    return "; ".join(f"{answer.what}: {answer.shape}" for answer in answers)


def _judge_unknown_job(answers: Sequence[Answer]) -> Judged:
    return _verdict(all(job_state(answer) is JobState.MISSING for answer in answers)), _each(answers)


def _judge_addresses(answers: Sequence[Answer]) -> Judged:
    return _verdict(any(page_of(answer) for answer in answers)), _each(answers)


def _judge_take(answers: Sequence[Answer]) -> Judged:
    [answer] = answers
    page = page_of(answer)
    if page is None:
        return _verdict(contract.is_refused(answer.response)), f"no page: {answer.shape}"
    came = len(page.items)
    if came > MAX_TAKE:
        return Verdict.DIFFERS, f"accepted: {came} items came"
    if page.total_count <= MAX_TAKE:
        return Verdict.AS_EXPECTED, f"accepted; a plan of {page.total_count} items does not show whether pages are cut"
    return Verdict.AS_EXPECTED, f"cut: {came} of {page.total_count} items came"


def _judge_sort_keys(answers: Sequence[Answer]) -> Judged:
    refused = [answer for answer in answers if page_of(answer) is None]
    told = f"{len(answers) - len(refused)} of {len(answers)} accepted"
    return _verdict(not refused), f"{told}; not {_each(refused)}" if refused else told


def _judge_unknown_sort_key(answers: Sequence[Answer]) -> Judged:
    [answer] = answers
    if page_of(answer):
        return Verdict.AS_EXPECTED, "accepted"
    return _verdict(contract.is_refused(answer.response)), f"no page: {answer.shape}"


def _judge_unknown_plan(answers: Sequence[Answer]) -> Judged:
    [answer] = answers
    return _verdict(contract.is_refused(answer.response) and _kind(answer) is not FailureKind.AUTH), answer.shape


def _judge_key(answers: Sequence[Answer]) -> Judged:
    refused = all(_kind(answer) in (FailureKind.AUTH, FailureKind.FORBIDDEN) for answer in answers)
    return _verdict(refused), _each(answers) if len(answers) > 1 else answers[0].shape
