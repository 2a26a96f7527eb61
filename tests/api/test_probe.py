"""What a probe tells of answers, whatever they are: forms, kinds and known names, never their words."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_achieveit.api.contract import BodyFormat, UpdateKind, submit_request
from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind
from airflow_provider_achieveit.api.http import ApiRequest, ApiResponse
from airflow_provider_achieveit.api.probe.fields import fields_seen
from airflow_provider_achieveit.api.probe.report import environment_of, markdown, summary
from airflow_provider_achieveit.api.probe.run import MarkedUpdate, Probe
from airflow_provider_achieveit.api.probe.shapes import WITHHELD, Names, body_shape, form_of, headers_shape

NAMES = Names(frozenset({"acme", "s3cret", "budget"}))
UUID = "a0e2ce03-8d0e-4325-9a13-17a8b5936591"


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ("", "empty"),
        ("\ufeff \n", "empty"),
        (UUID, "plain text: UUID"),
        (UUID.replace("-", ""), "plain text: 32 hex digits"),
        ("queued for Ann", "plain text of 14 characters"),
        (f'"{UUID}"', "JSON text: UUID"),
        ('"queued"', "JSON text: text of 6 characters"),
        ("4711", "JSON number"),
        ("null", "JSON null"),
        ("[1, 2]", "JSON list of 2"),
        ('{"jobId": "4711"}', "JSON object {jobId: 4 digits}"),
        ('{"JobID": 4711, "Message": null}', "JSON object {JobID: number, Message: null}"),
        ('{"Ann": true, "k3y1d": {"a": 1}}', f"JSON object {{{WITHHELD}: boolean, {WITHHELD}: object of 1}}"),
        ("<!doctype html><title>Ann</title>", "HTML"),
        ("<Error>Ann</Error>", "markup"),
        ("[" * 100_000, "plain text of 100000 characters"),
        (b"\xff\xfe", "2 bytes that are no UTF-8"),
    ],
)
def test_shape_of_a_body(body: str | bytes, shape: str) -> None:
    assert body_shape(body if isinstance(body, bytes) else body.encode(), NAMES) == shape


def test_an_object_of_many_names_is_cut() -> None:
    body = json.dumps({f"field{'x' * n}": n for n in range(50)}).encode()
    assert body_shape(body, NAMES).endswith("and 20 more}")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("riskScore", True),
        ("risk_score2", True),
        ("TraceId", True),
        ("Ann", False),
        ("ann smith", False),
        ("user4711", False),
        ("acmeScore", False),
        ("myAcmeScore", False),
        ("überfällig", False),
        ("x" * 60, False),
    ],
)
def test_names_that_look_like_fields_are_told(name: str, told: bool) -> None:
    assert NAMES.told(name) == (name if told else WITHHELD)


def test_what_no_name_may_hold_is_not_shown_beside_a_traceback() -> None:
    assert "s3cret" not in repr(NAMES)


def test_of_headers_known_names_are_told_and_three_values() -> None:
    headers = {
        "content-type": "Application/JSON; Charset=UTF-8",
        "server": "Microsoft-IIS/10.0 (host of Acme)",
        "retry-after": "Sun, 22 Nov 2026 10:00:00 GMT",
        "x-acme-trace": "Ann",
        "set-cookie": "key=s3cret",
    }
    assert headers_shape(headers) == {
        "headers": ["content-type", "retry-after", "server", "set-cookie"],
        "other_headers": 1,
        "content_type": "application/json; charset=utf-8",
        "server": "microsoft-iis",
        "retry_after": "a date",
    }
    odd = headers_shape({"content-type": "text/acme", "server": "acme", "retry-after": "soon"})
    assert (odd["content_type"], odd["server"], odd["retry_after"]) == ("other", "other", "unreadable")


def test_forms_of_moments_and_decimals() -> None:
    moments = ["2026-01-05", "2026-01-05T06:00:00", "2026-01-05T06:00:00Z", "2026-01-05T06:00:00.1234567Z", "soon"]
    items = [{"due": due, "target": target} for due, target in zip(moments, ["1", "", "1e3", 1, "1,5"], strict=True)]
    found = {row["field"]: row for row in fields_seen(items, NAMES)}
    assert found["due"]["seen"] == (
        "date (1), moment finer than a microsecond (1), moment with zone (1), moment without zone (1), text (1)"
    )
    assert found["target"]["seen"] == "decimal as text (2), empty text (1), integer (1), text (1)"


def test_the_environment() -> None:
    assert environment_of("https://api.achieveit.com:443") == "commercial"
    assert environment_of("https://gov-api.achieveit.com/") == "government"
    assert environment_of("https://api.achieveit.com.acme.example") == "other"


# --- Whatever is answered ---------------------------------------------------------------------------------------------

CANARY = "CanaryJones"
"""Stands in all texts and names that no document knows."""
KEY = f"{CANARY}-key-0123"
known_names = st.sampled_from(["items", "totalCount", "id", "name", "due", "members", "checklists", "jobId", "message"])
texts = st.sampled_from(["{}", "{} <b>x</b>", "x@{}.example", "https://{}/x", "{}|{}\n", "Bearer {}"]).map(
    lambda text: text.replace("{}", CANARY)
)
names = known_names | st.sampled_from([CANARY, f"x {CANARY}", f"{CANARY}1", f"x-{CANARY}", f"my{CANARY}"])
values = st.recursive(
    texts | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
    max_leaves=12,
)
pages = st.builds(
    lambda items, total: {"items": items, "totalCount": total},
    st.lists(st.dictionaries(names, values, max_size=6), max_size=3),
    st.integers(0, 2000),
)
bodies = (
    (values | pages).map(json.dumps)
    | texts
    | texts.map(lambda text: f"<html>{text}</html>")
    | st.just(f'{{"id": "{CANARY}"')
)
answers = st.builds(
    ApiResponse,
    st.sampled_from([200, 200, 200, 202, 301, 400, 401, 403, 404, 429, 500, 502, 503]),
    st.dictionaries(
        st.sampled_from(["content-type", "server", "retry-after", "location", "set-cookie", f"x-{CANARY}".lower()]),
        texts | st.sampled_from(["application/json", "7", f"text/html; charset={CANARY}"]),
    ),
    bodies.map(str.encode),
    st.just(f"https://{CANARY}.example/"),
)
calm = answers.filter(lambda answer: answer.status not in (429, 503))
page_answers = pages.map(lambda page: ApiResponse(200, {}, json.dumps(page).encode()))
taken = st.sampled_from([{"jobId": "a-1"}, {"id": CANARY}, {CANARY: CANARY}]).map(
    lambda body: ApiResponse(200, {}, json.dumps(body).encode())
)
broken = st.sampled_from([FailureKind.UNAVAILABLE, FailureKind.UNSURE]).map(
    lambda kind: ApiError(Failure(kind, f"no answer of {CANARY}"))
)


@given(data=st.data())
def test_nothing_that_was_said_is_told(data: st.DataObject) -> None:
    sent: list[ApiRequest] = []
    # Else a 429 would soon end every round.
    unrest = data.draw(st.integers(0, 50))

    def ask(request: ApiRequest, what: str, *, signed: bool) -> ApiResponse:
        sent.append(request)
        if what.endswith("address"):
            answer = data.draw(page_answers)
        elif what.endswith("marked update"):
            answer = data.draw(taken | answers | broken)
        else:
            answer = data.draw(calm if len(sent) < unrest else answers | broken)
        if isinstance(answer, ApiError):
            raise answer
        return answer

    update = MarkedUpdate(CANARY, submit_request(UpdateKind.PROGRESS, f"x.{BodyFormat.CSV}", CANARY.encode()))
    probe = Probe(
        ask,
        base_url=f"https://{CANARY}.example",
        api_key=KEY,
        plan_id=CANARY,
        update=data.draw(st.sampled_from([update, None])),
        sleep=lambda _: None,
    )
    probe.run()
    document = probe.document()
    told = json.dumps([document, summary(document)]) + markdown(document)
    assert not re.search(CANARY, told, re.IGNORECASE)
    assert len(sent) == document["requests_sent"] <= document["requests_planned"]
    assert [request.method for request in sent].count("POST") <= probe.updates_planned
    assert (document["updates_sent"] == 0) or "POST" in [request.method for request in sent]


@pytest.mark.parametrize(
    ("base_url", "seen"),
    [("https://api.achieveit.com", {"commentCount", "acmeScore"}), ("https://proxy.acme.com", {"commentCount"})],
)
def test_a_host_of_ones_own_is_in_no_name(base_url: str, seen: set[str]) -> None:
    page = {"items": [{"commentCount": 1, "acmeScore": 2}], "totalCount": 1}
    answer = ApiResponse(200, {}, json.dumps(page).encode())
    probe = Probe(lambda request, what, *, signed: answer, base_url=base_url, api_key=KEY, plan_id="x")
    probe.run()
    unknown = {row["field"] for row in probe.document()["fields"] if row["verdict"] == "unknown"}
    assert unknown - {WITHHELD} == seen


def test_an_interrupt_is_told() -> None:
    def ask(request: ApiRequest, what: str, *, signed: bool) -> ApiResponse:
        if what.endswith("older address"):
            raise KeyboardInterrupt
        return ApiResponse(404, {}, b"")

    probe = Probe(ask, base_url="https://api.achieveit.com", api_key=KEY, plan_id="x")
    with pytest.raises(KeyboardInterrupt):
        probe.run()
    document: dict[str, Any] = probe.document()
    verdicts = {row["question"]: (row["verdict"], row["seen"]) for row in document["questions"]}
    assert verdicts["export_address"] == ("no answer", "interrupted")
    assert verdicts["wrong_key"] == ("not asked", "interrupted")
    assert document["stopped"] == "interrupted"


def test_forms() -> None:
    assert form_of("") == "empty text"
    assert form_of("12") == "2 digits"
    assert form_of("a" * 32) == "32 hex digits"
