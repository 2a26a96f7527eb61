"""The contract, held against what the public documents print (literals here are from the documents)."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from airflow_provider_achieveit.api import contract
from airflow_provider_achieveit.api.contract import JobState, UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, FailureKind
from airflow_provider_achieveit.api.http import ApiResponse

JOB = "2bf2dda7-2aa4-4345-b6a8-8070d6ceec39"

# Document 004, "Exporting Plan Items": its names, in its order.
DOCUMENTED_ITEM = """id sourceId rowNumber sequenceId planId planName sourcePlanId sourcePlanName alignsTo alignsToId
dependentOn dependentOnId levelId level name indentedName description status statusName start due created hasMetric
hasAdvancedMetric units detail baseline target currentValue advancedMetricGoals lastUpdated assignedToId
assignedToFullName assignedById assignedByFullName members admins updateFrequency updateFrequencyDescription isPastDue
lateUpdates pendingUpdates updates lastCommentId lastComment lastUpdateCommentId lastUpdateComment files checklists tags
isOrphan""".split()


def answer(status: int, body: bytes | str = b"", **headers: str) -> ApiResponse:
    content = body.encode() if isinstance(body, str) else body
    return ApiResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, content, "https://x")


class TestSubmitting:
    @pytest.mark.parametrize(
        ("kind", "path"),
        [
            (UpdateKind.PROGRESS, "/api/progressupdates/my_updates.csv"),
            (UpdateKind.METRIC, "/api/metricupdates/my_updates.csv"),
        ],
    )
    def test_address_and_content_type(self, kind: UpdateKind, path: str) -> None:
        request = contract.submit_request(kind, "my_updates.csv", b"x")
        assert (request.method, request.path, request.body) == ("POST", path, b"x")
        assert request.headers["Content-Type"].startswith("text/csv")

    def test_json_by_extension(self) -> None:
        headers = contract.submit_request(UpdateKind.PROGRESS, "a.json", b"[]").headers
        assert headers["Content-Type"].startswith("application/json")

    def test_a_filename_stays_one_segment_of_the_path(self) -> None:
        assert contract.submit_request(UpdateKind.METRIC, "a/../b ?#%.csv", b"").path == (
            "/api/metricupdates/a%2F..%2Fb%20%3F%23%25.csv"
        )

    def test_authorization_scheme(self) -> None:
        assert contract.authorization("12004478285f4f4eb21cd25e62ba5eb7") == "API-KEY 12004478285f4f4eb21cd25e62ba5eb7"

    @pytest.mark.parametrize(
        "body",
        [
            JOB,
            f"{JOB}\r\n",
            f"\ufeff{JOB}",
            f'"{JOB}"',
            json.dumps({"jobId": JOB}),
            json.dumps({"jobID": JOB}),
            json.dumps({"JobId": JOB}),
            json.dumps({"job_id": JOB, "status": "queued"}),
            json.dumps({"id": JOB}),
            json.dumps({"id": None, "jobId": JOB}),
        ],
    )
    def test_every_form_of_a_job_id(self, body: str) -> None:
        assert contract.read_job_id(answer(200, body)) == JOB

    @pytest.mark.parametrize("job_id", ["job-seven", "batch_a", "A1", "0f"])
    def test_an_id_need_not_be_a_uuid(self, job_id: str) -> None:
        assert contract.read_job_id(answer(200, job_id)) == job_id

    def test_a_number_is_a_job_id(self) -> None:
        assert contract.read_job_id(answer(200, "4711")) == "4711"
        assert contract.read_job_id(answer(200, '{"jobId": 4711}')) == "4711"

    @pytest.mark.parametrize(
        "body",
        [
            "",
            "  ",
            "OK",
            '"queued"',
            "{}",
            "[]",
            "null",
            "true",
            "<html>It works</html>",
            "your file was queued",
            '"2bf2dda7-2aa4-43',
            '{"jobId": ""}',
        ],
    )
    def test_an_answer_without_a_job_id_is_quoted(self, body: str) -> None:
        with pytest.raises(ApiError) as caught:
            contract.read_job_id(answer(200, body))
        assert caught.value.failure.kind is FailureKind.UNSURE
        assert caught.value.failure.status == 200
        assert repr(" ".join(body.split())) in str(caught.value)

    def test_a_text_in_a_labelled_member_needs_no_digit(self) -> None:
        assert contract.read_job_id(answer(200, '{"jobId": "first"}')) == "first"

    @pytest.mark.parametrize(("status", "taken"), [(200, True), (201, True), (202, True), (204, True), (303, False)])
    def test_every_2xx_says_taken(self, status: int, taken: bool) -> None:
        assert contract.is_taken(answer(status)) is taken

    def test_a_long_answer_is_trimmed(self) -> None:
        with pytest.raises(ApiError) as caught:
            contract.read_job_id(answer(200, "many words " * 10_000))
        assert len(str(caught.value)) < 1_000

    @pytest.mark.parametrize(
        ("status", "kind", "retryable"),
        [
            (500, FailureKind.UNAVAILABLE, True),  # documented: failed to be queued
            (503, FailureKind.UNAVAILABLE, True),
            (429, FailureKind.UNAVAILABLE, True),
            (502, FailureKind.UNSURE, False),
            (504, FailureKind.UNSURE, False),
            (520, FailureKind.UNSURE, False),
            (400, FailureKind.REQUEST, False),
            (401, FailureKind.AUTH, False),
            (403, FailureKind.FORBIDDEN, False),
            (301, FailureKind.REQUEST, False),
            (307, FailureKind.REQUEST, False),
        ],
    )
    def test_what_an_answer_but_200_means(self, status: int, kind: FailureKind, retryable: bool) -> None:
        failure = contract.submit_failure(answer(status, "reason"), "b.csv")
        assert (failure.kind, failure.retryable, failure.status) == (kind, retryable, status)
        assert "b.csv" in failure.message
        assert str(status) in failure.message
        assert "reason" in failure.message

    def test_a_redirect_tells_where_to(self) -> None:
        failure = contract.submit_failure(answer(301, location="https://eu.example.com/api"), "b.csv")
        assert "https://eu.example.com/api" in failure.message


class TestJobs:
    def test_address(self) -> None:
        assert contract.job_status_request(UpdateKind.PROGRESS, JOB).path == f"/api/progressupdates/status/{JOB}"
        assert contract.job_status_request(UpdateKind.METRIC, "a/b").path == "/api/metricupdates/status/a%2Fb"

    @pytest.mark.parametrize(
        ("status", "state"),
        [
            (202, JobState.PENDING),
            (200, JobState.APPLIED),
            (400, JobState.REFUSED),
            (500, JobState.FAILED),
            (404, JobState.MISSING),
        ],
    )
    def test_the_code_is_the_state(self, status: int, state: JobState) -> None:
        assert contract.read_job_status(answer(status, "why"), JOB) == contract.JobStatus(state, "why")

    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    def test_a_passing_fault_says_nothing_about_the_job(self, status: int) -> None:
        with pytest.raises(ApiError) as caught:
            contract.read_job_status(answer(status, retry_after="7"), JOB)
        assert caught.value.failure.retryable
        assert caught.value.failure.retry_after == 7
        assert caught.value.failure.job_id == JOB

    @pytest.mark.parametrize(("status", "kind"), [(401, FailureKind.AUTH), (403, FailureKind.FORBIDDEN)])
    def test_a_refused_key(self, status: int, kind: FailureKind) -> None:
        with pytest.raises(ApiError) as caught:
            contract.read_job_status(answer(status), JOB)
        assert (caught.value.failure.kind, caught.value.failure.retryable) == (kind, False)


class TestExporting:
    def test_address_and_query(self) -> None:
        request = contract.plan_page_request("a0e2ce03", skip=1500, take=250, sort_key="name")
        assert request.path == "/exports/plans/a0e2ce03"
        assert request.params == {"skip": "1500", "take": "250", "sortKey": "name", "sortDirection": "asc"}
        newest = contract.plan_page_request("a0e2ce03", skip=0, take=1, sort_key="lastUpdated", descending=True)
        assert newest.params == {"skip": "0", "take": "1", "sortKey": "lastUpdated", "sortDirection": "desc"}

    def test_the_address_of_older_tenants(self) -> None:
        request = contract.plan_page_request("a/b", skip=0, take=1, sort_key="name", legacy=True)
        assert request.path == "/plans/a%2Fb/items"

    def test_every_documented_field_is_known(self) -> None:
        assert sorted({*contract.ITEM_FIELDS, *contract.CHILD_FIELDS}) == sorted(DOCUMENTED_ITEM)

    def test_halves_of_utf_16_pairs_do_not_make_a_page_unreadable(self) -> None:
        body = r'{"items":[{"a":"cut \ud83d","b":"\ude00","c":"\ud83d\ude00","d":0.10,"e":1E+3}],"totalCount":1}'
        [item] = contract.read_page(answer(200, body), "p").items
        assert item == {"a": "cut \ud83d", "b": "\ude00", "c": "😀", "d": Decimal("0.10"), "e": Decimal("1E+3")}
        assert (str(item["d"]), str(item["e"])) == ("0.10", "1E+3")

    @pytest.mark.parametrize("body", [r'{"items":[{"a":"\ud83d"', r'{"items":["\ud83d", NaN],"totalCount":1}'])
    def test_what_no_decoder_reads_is_told_as_before(self, body: str) -> None:
        with pytest.raises(ApiError, match="the answer cannot be read, DecodeError") as caught:
            contract.read_page(answer(200, body), "p")
        assert caught.value.failure.retryable

    def test_numbers_are_exact(self) -> None:
        page = contract.read_page(answer(200, '{"items":[{"a":0.10,"b":9007199254740993}],"totalCount":7}'), "p")
        assert page.total_count == 7
        assert repr(page.items) == repr([{"a": Decimal("0.10"), "b": 9007199254740993}])

    def test_403_names_the_plan(self) -> None:
        with pytest.raises(ApiError, match="this key's user may not see plan p-17") as caught:
            contract.read_page(answer(403), "p-17")
        assert caught.value.failure.kind is FailureKind.FORBIDDEN

    def test_a_byte_order_mark_is_no_harm(self) -> None:
        assert contract.read_page(answer(200, '\ufeff{"items":[],"totalCount":0}'), "p").total_count == 0

    @pytest.mark.parametrize("value", ["1e99999999999999999999", "[" * 100_000])
    def test_odd_json_is_no_crash(self, value: str) -> None:
        with pytest.raises(ApiError):
            contract.read_page(answer(200, f'{{"items":[{{"a":{value}}}],"totalCount":1}}'), "p")

    @pytest.mark.parametrize(
        "body",
        ['{"items":[{"id":"1"', "[]", "null", "{}", '{"items":[]}', '{"items":[1],"totalCount":1}', "<html>", b"\xff"],
    )
    def test_an_unreadable_page_is_worth_repeating(self, body: bytes | str) -> None:
        with pytest.raises(ApiError) as caught:
            contract.read_page(answer(200, body), "p")
        assert caught.value.failure.retryable
        assert "plan p" in str(caught.value)
