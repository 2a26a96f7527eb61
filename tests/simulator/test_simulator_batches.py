"""Every rule for batches, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from airflow_provider_achieveit.simulator.seed_data import custom_plan
from airflow_provider_achieveit.simulator.server import RunningSimulator, running
from airflow_provider_achieveit.simulator.settings import Settings
from airflow_provider_achieveit.simulator.world import World

PLAN = {
    "items": [
        {"externalId": "KPI 1/ä", "name": "With metric", "hasMetric": True},
        {"externalId": "task-1", "name": "Without metric"},
    ]
}
HEADER = "External ID,Status,Metric Value,As Of Date,Comment\n"
METRIC_HEADER = "External ID,Metric Value,As Of Date,Comment\n"


def make_world(**settings) -> World:
    return World([custom_plan("p", PLAN)], settings=Settings(**settings))


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningSimulator]:
    world = make_world()
    world.settings.statuses = (*world.settings.statuses, "Äußerst Gut")
    with running(world=world) as simulator:
        yield simulator


def submit(connect, simulator, body, kind="progress", filename="b.csv", content_type=None):
    client = connect(simulator)
    return client.outcome(client.submit(filename, body, kind=kind, content_type=content_type), kind)


GOOD = {
    "newest labels": HEADER + "KPI 1/ä,On Track,1,2026-01-05,Fine\n",
    "older label": "External ID,Status,Current Metric Value,As Of Date\nKPI 1/ä,On Track,1,2026-01-05\n",
    "oldest label": "External ID,Status,Current Value,As Of Date\nKPI 1/ä,On Track,1,2026-01-05\n",
    "any order": "External ID,As Of Date,Comment,Metric Value,Status\nKPI 1/ä,2026-01-05,Fine,1,On Track\n",
    "no header": "KPI 1/ä,On Track,1,2026-01-05,Fine\n",
    "no header, no comment": "KPI 1/ä,On Track,1,2026-01-05\n",
    "no newline at the end": "KPI 1/ä,On Track,1,2026-01-05",
    "Windows line ends": HEADER.replace("\n", "\r\n") + "KPI 1/ä,On Track,1,2026-01-05,Fine\r\n",
    "empty comment": HEADER + "KPI 1/ä,On Track,1,2026-01-05,\n",
    "status in any case": "KPI 1/ä,oN tRACK,1,2026-01-05\n",
    "tenant's own status": "KPI 1/ä,ÄUSSERST GUT,1,2026-01-05\n",
    "item without metric": "task-1,Achieved,,2026-01-05\n",
    "negative": "KPI 1/ä,On Track,-1.5,2026-01-05\n",
    "fraction without zero": "KPI 1/ä,On Track,.2,2026-01-05\n",
    "US date": "KPI 1/ä,On Track,1,01/05/2026\n",
    "US date with time": "KPI 1/ä,On Track,1,01/05/2026 11:59 PM\n",
    "basic ISO date": "KPI 1/ä,On Track,1,20260105\n",
    "ISO week date": "KPI 1/ä,On Track,1,2026-W02-1\n",
    "ISO moment": "KPI 1/ä,On Track,1,2026-01-05T23:59:59.123+02:00\n",
    "ISO moment in UTC": "KPI 1/ä,On Track,1,2026-01-05T23:59:59Z\n",
    "quoted cells": 'KPI 1/ä,"On Track","1","2026-01-05","a ""b"", c"\n',
    "empty line in a quoted comment": 'KPI 1/ä,On Track,1,2026-01-05,"one\n\nthree"\n',
    "same item twice": "KPI 1/ä,On Track,1,2026-01-05\nKPI 1/ä,At Risk,2,2026-01-05\n",
    "'external' in a comment": "KPI 1/ä,On Track,1,2026-01-05,external audit\n",
}


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD.keys())
def test_good_csv(connect, shared, body):
    answer = submit(connect, shared, body)
    assert (answer.status_code, answer.text) == (200, "processed")
    entry = shared.world.item("task-1" if "task-1" in body else "KPI 1/ä").history[-1]
    assert entry.as_of_date == "2026-01-05"
    assert entry.status in shared.world.settings.statuses


BAD = {
    "empty file": ("", "holds no updates"),
    "header only": (HEADER, "holds no updates"),
    "first label": (
        "Kpi,External ID,Status\nKPI 1/ä,On Track,1\n",
        "first column must be labelled 'External ID', not 'Kpi'",
    ),
    "first label in capitals": (HEADER.upper() + "KPI 1/ä,On Track,1,2026-01-05,\n", "must be labelled"),
    "label in one word": ("ExternalId,Status,Metric Value,As Of Date\nKPI 1/ä,On Track,1,2026-01-05\n", "labelled"),
    "unknown label": ("External ID,Status,Value,As Of Date\nKPI 1/ä,On Track,1,2026-01-05\n", "'Value'"),
    "label twice": (
        "External ID,Status,Metric Value,Current Value,As Of Date\nKPI 1/ä,On Track,1,1,2026-01-05\n",
        "'Metric Value' twice",
    ),
    "label missing": ("External ID,Status,Metric Value\nKPI 1/ä,On Track,1\n", "lacks the column 'As Of Date'"),
    "byte order mark": ("\ufeff" + HEADER + "KPI 1/ä,On Track,1,2026-01-05,\n", "must be labelled"),
    "empty row": ("KPI 1/ä,On Track,1,2026-01-05\n\nKPI 1/ä,On Track,1,2026-01-05\n", "Row 2: the row is empty"),
    "empty row at the end": ("KPI 1/ä,On Track,1,2026-01-05\n\n", "Row 2: the row is empty"),
    "row of commas": ("KPI 1/ä,On Track,1,2026-01-05\n,,,\n", "Row 2: the row is empty"),
    "row of blanks": (HEADER + "KPI 1/ä,On Track,1,2026-01-05,\n  \n", "Row 2: the row is empty"),
    "too few columns": ("KPI 1/ä,On Track,1\n", "3 columns, expected 4 or 5"),
    "too many columns": (HEADER + "KPI 1/ä,On Track,1,2026-01-05,a,b\n", "6 columns, expected 5"),
    "rows of two widths": ("KPI 1/ä,On Track,1,2026-01-05\nKPI 1/ä,On Track,1,2026-01-05,x\n", "Row 2: the row has 5"),
    "open quote": ('KPI 1/ä,On Track,1,2026-01-05,"open\n', "not CSV"),
    "text after a quote": ('KPI 1/ä,On Track,1,2026-01-05,"a"b\n', "not CSV"),
    "not UTF-8": ("KPI 1/ä,On Track,1,2026-01-05\n".encode("latin-1"), "not UTF-8"),
    "NUL": ("KPI 1/ä,On Track,1,2026-01-05,\0\n", "NUL"),
    "external id missing": (",On Track,1,2026-01-05\n", "Row 1, External ID: it is missing"),
    "external id blank": (" ,On Track,1,2026-01-05\n", "Row 1, External ID: it is missing"),
    "external id with comma": ('"a,b",On Track,1,2026-01-05\n', "comma or a quotation mark"),
    "external id with quote": ('"a""b",On Track,1,2026-01-05\n', "comma or a quotation mark"),
    "external id with the word": (HEADER + "my-EXTERNAL-1,On Track,1,2026-01-05,\n", "contains the word"),
    "external id unknown": ("kpi 1/ä,On Track,1,2026-01-05\n", "no plan item has the external id"),
    "external id with a blank more": ("KPI 1/ä ,On Track,1,2026-01-05\n", "no plan item has the external id"),
    "status missing": ("KPI 1/ä,,1,2026-01-05\n", "Row 1, Status: it is missing"),
    "status misspelt": ("KPI 1/ä,OnTrack,1,2026-01-05\n", "Row 1, Status: 'OnTrack' is not a status"),
    "metric missing": ("KPI 1/ä,On Track,,2026-01-05\n", "Row 1, Metric Value: it is missing"),
    "metric without need": ("task-1,On Track,1,2026-01-05\n", "Metric Value: the plan item has no metric"),
    **{
        f"metric {value}": (f'KPI 1/ä,On Track,"{value}",2026-01-05\n', "is not a plain decimal number")
        for value in ("20%", "$5", "1,000", "1e3", "+1", "1.", " 1", "NaN", "Infinity", "0x1", "1_000", "٣", "\u22121")
    },
    "date missing": ("KPI 1/ä,On Track,1,\n", "Row 1, As Of Date: it is missing"),
    **{
        f"date {value}": (f"KPI 1/ä,On Track,1,{value}\n", "neither an ISO-8601 date nor MM/DD/YYYY")
        for value in (
            "yesterday",
            "2026-02-30",
            "13/01/2026",
            "1/5/2026",
            "05.01.2026",
            "2026/01/05",
            "2026-1-5",
            "26-01-05",
            "2026-01-05T25:00",
            "2026-01-05Tnoon",
        )
    },
}


@pytest.mark.parametrize(("body", "reason"), BAD.values(), ids=BAD.keys())
def test_bad_csv(connect, shared, body, reason):
    before = shared.world.to_json()["plans"]
    answer = submit(connect, shared, body)
    assert answer.status_code == 400
    assert reason in answer.text
    assert shared.world.to_json()["plans"] == before


def update(**changes):
    given = {"externalId": "KPI 1/ä", "status": "On Track", "metricValue": 1, "asOfDate": "2026-01-05"} | changes
    return {name: value for name, value in given.items() if value is not ...}


@pytest.mark.parametrize(
    ("written", "exported"),
    [
        ("9007199254740993", "9007199254740993"),
        ("0.123456789012345678", "0.123456789012345678"),
        ('"12.50"', "12.50"),
        ("-3", "-3"),
        ('".2"', "0.2"),
    ],
)
def test_metric_values_in_json_stay_exact(connect, shared, written, exported):
    body = json.dumps([update(metricValue=...)])[:-2] + f', "metricValue": {written}}}]'
    assert submit(connect, shared, body, filename="b.json").status_code == 200
    items = connect(shared).get("/exports/plans/p").json()["items"]
    assert items[0]["currentValue"] == exported


def test_json_without_metric_and_with_comment(connect, shared):
    body = json.dumps([update(externalId="task-1", metricValue=..., comment='Grüße, "x"\nnext — 日本 📉')])
    assert submit(connect, shared, body, filename="b.json").status_code == 200
    item = connect(shared).get("/exports/plans/p").json()["items"][1]
    assert item["lastUpdateComment"] == 'Grüße, "x"\nnext — 日本 📉'


BAD_JSON = {
    "no JSON": ("[{]", "not JSON"),
    "empty array": ("[]", "holds no updates"),
    "one object": (json.dumps(update()), "must be a JSON array"),
    "array of arrays": ("[[1]]", "Row 1: an object was expected"),
    "null": (json.dumps([update(comment=None)]), "comment must be text, not null"),
    "unknown name": (json.dumps([update(note="x")]), "the name 'note' is unknown"),
    "name in other case": (json.dumps([update(externalID="x")]), "the name 'externalID' is unknown"),
    "name twice": ('[{"status": "a", "status": "b"}]', "'status' twice"),
    "number as text field": (json.dumps([update(externalId=5)]), "externalId must be text, not a number"),
    "boolean": (json.dumps([update(metricValue=True)]), "metricValue must be text, not true"),
    "list": (json.dumps([update(metricValue=[1])]), "metricValue must be text, not"),
    "empty comment": (json.dumps([update(comment="")]), "comment is empty"),
    "exponent": (json.dumps([update(metricValue=...)])[:-2] + ', "metricValue": 1e3}]', "'1e3' is not a plain decimal"),
    "NaN": (json.dumps([update(metricValue=float("nan"))]), "not JSON"),
    "percent": (json.dumps([update(metricValue="20%")]), "is not a plain decimal"),
    "half a character": (json.dumps([update(comment="\ud83d")]), "half a character"),
    "deep nesting": ("[" * 100_000, "not JSON"),
    "missing": (json.dumps([{}]), "Row 1, External ID: it is missing"),
}


@pytest.mark.parametrize(("body", "reason"), BAD_JSON.values(), ids=BAD_JSON.keys())
def test_bad_json(connect, shared, body, reason):
    answer = submit(connect, shared, body, filename="b.json")
    assert answer.status_code == 400
    assert reason in answer.text


@pytest.mark.parametrize(
    ("filename", "content_type", "body", "status"),
    [
        ("b.csv", "text/csv; charset=utf-8", "task-1,On Track,,2026-01-05\n", 200),
        ("b.CSV", None, "task-1,On Track,,2026-01-05\n", 200),
        ("b.csv", "application/x-www-form-urlencoded", "task-1,On Track,,2026-01-05\n", 200),
        ("batch", "text/csv", "task-1,On Track,,2026-01-05\n", 200),
        ("b.json", "application/json", json.dumps([update()]), 200),
        ("batch", "application/json", json.dumps([update()]), 200),
        ("b.csv", "application/json", json.dumps([update()]), 400),
        ("b.json", "text/csv", json.dumps([update()]), 400),
        ("b.xlsx", "application/octet-stream", "task-1,On Track,,2026-01-05\n", 400),
    ],
)
def test_the_format_is_told_by_content_type_and_extension(connect, shared, filename, content_type, body, status):
    answer = submit(connect, shared, body, filename=filename, content_type=content_type)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (METRIC_HEADER + "KPI 1/ä,5,2026-01-05,Fine\n", 200, "processed"),
        ("KPI 1/ä,5,2026-01-05\n", 200, "processed"),
        ("KPI 1/ä,,2026-01-05\n", 400, "Row 1, Metric Value: it is missing"),
        ("task-1,5,2026-01-05\n", 400, "the plan item has no metric"),
        ("task-1,,2026-01-05\n", 400, "Row 1, Metric Value: it is missing"),
        (HEADER + "KPI 1/ä,On Track,5,2026-01-05,\n", 400, "'Status'"),
        (json.dumps([update(status=...)]), 200, "processed"),
        (json.dumps([update()]), 400, "the name 'status' is unknown"),
    ],
)
def test_metric_updates(connect, shared, body, status, told):
    filename = "b.json" if body.startswith("[") else "b.csv"
    answer = submit(connect, shared, body, kind="metric", filename=filename)
    assert answer.status_code == status
    assert told in answer.text


def test_every_bad_row_is_told_and_none_is_applied(connect, shared):
    before = shared.world.to_json()["plans"]
    answer = submit(connect, shared, "KPI 1/ä,On Track,1,2026-01-05\nx,Good,1,soon\nKPI 1/ä,Bad,1%,2026-01-05\n")
    assert [line.partition(":")[0] for line in answer.text.splitlines()] == [
        "Row 2, External ID",
        "Row 2, Status",
        "Row 2, As Of Date",
        "Row 3, Status",
        "Row 3, Metric Value",
    ]
    assert shared.world.to_json()["plans"] == before


@pytest.mark.parametrize(
    ("filename", "body", "status"),
    [
        ("b.csv", "External ID,Status,Current Value,As Of Date\nKPI 1/ä,On Track,1,2026-01-05\n", 200),
        ("b.csv", "KPI 1/ä,On Track,1,2026-01-05\n", 200),
        ("b.csv", "External ID,As Of Date,Status,Metric Value\nKPI 1/ä,2026-01-05,On Track,1\n", 400),
        ("b.csv", HEADER + "KPI 1/ä,On Track,1,2026-01-05,x\n", 400),
        ("b.csv", "KPI 1/ä,On Track,1,2026-01-05,x\n", 400),
        ("b.json", json.dumps([update()]), 400),
    ],
)
def test_an_older_tenant_is_stricter(connect, filename, body, status):
    with running(world=make_world(older_batches=True)) as simulator:
        assert submit(connect, simulator, body, filename=filename).status_code == status


def test_the_newest_as_of_date_is_shown_whenever_it_arrives(connect):
    with running(world=make_world()) as simulator:
        for body in (
            "KPI 1/ä,On Track,10,2026-03-01,March\n",
            "KPI 1/ä,Off Track,5,2026-02-01,February came late\n",
        ):
            assert submit(connect, simulator, body).status_code == 200
        item = connect(simulator).get("/exports/plans/p").json()["items"][0]
        shown = {
            name: item[name] for name in ("statusName", "currentValue", "lastUpdateComment", "lastUpdated", "updates")
        }
        assert shown == {
            "statusName": "On Track",
            "currentValue": "10",
            "lastUpdateComment": "March",
            "lastUpdated": "2026-03-01T00:00:00Z",
            "updates": 2,
        }
        # A metric update leaves the status, a correction of the same day replaces the value.
        assert submit(connect, simulator, "KPI 1/ä,10.50,2026-03-01\n", kind="metric").status_code == 200
        item = connect(simulator).get("/exports/plans/p").json()["items"][0]
        assert (item["statusName"], item["currentValue"], item["lastUpdateComment"]) == ("On Track", "10.50", None)
        assert [entry.value for entry in simulator.world.item("KPI 1/ä").history] == ["10", "5", "10.50"]


def test_the_bytes_are_kept_as_they_came(connect, shared):
    body = "task-1,On Track,,2026-01-05,\"ä\r\n'x'\"\r\n".encode()
    client = connect(shared)
    job_id = client.submit("kpi%20push%231.csv", body, content_type="text/csv")
    batch = shared.world.batches[-1]
    assert (batch.kind, batch.filename, batch.content_type) == ("progress", "kpi push#1.csv", "text/csv")
    assert (batch.body, batch.job_id) == (body, job_id)
