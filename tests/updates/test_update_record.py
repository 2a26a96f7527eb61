"""Columns and rows: what is mapped, what is made of a row, and what is told about a bad one."""

from __future__ import annotations

import csv
import io
import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from airflow_provider_achieveit.api.contract import UpdateField, UpdateKind
from airflow_provider_achieveit.updates.columns import resolve_columns
from airflow_provider_achieveit.updates.record import Checker, Record
from airflow_provider_achieveit.updates.rejects import Reject, reject_value, write_rejects_csv

PROGRESS, METRIC = UpdateKind.PROGRESS, UpdateKind.METRIC
ALL = {"external_id": "kpi", "status": "rag", "metric_value": "value", "as_of_date": "day", "comment": "note"}
GOOD = {"kpi": "A 1", "rag": "on track", "value": "0.90", "day": "01/05/2026", "note": None, "other": object()}


def test_columns_by_default_are_the_fields() -> None:
    assert resolve_columns(None, PROGRESS) == {field: field.value for field in UpdateField}
    assert UpdateField.STATUS not in resolve_columns(None, METRIC)


def test_columns_given_are_exactly_these() -> None:
    columns = {"external_id": "id", "as_of_date": "ts", "comment": "id"}
    assert resolve_columns(columns, METRIC) == {
        UpdateField.EXTERNAL_ID: "id",
        UpdateField.AS_OF_DATE: "ts",
        UpdateField.COMMENT: "id",
    }


@pytest.mark.parametrize(
    ("columns", "kind", "message"),
    [
        ({"externl_id": "x"}, PROGRESS, r"'externl_id': no such field \(did you mean 'external_id'\?\); the fields"),
        ({"zzz": "x"}, METRIC, "'zzz': no such field; .* external_id, metric_value, as_of_date, comment"),
        ({"status": "x"}, METRIC, "metric updates have no status"),
        ({"external_id": ""}, PROGRESS, "needs the name of a column"),
        ({"external_id": 5}, PROGRESS, "needs the name of a column"),
        (["external_id"], PROGRESS, "not be a list"),
    ],
)
def test_columns_refused(columns: Any, kind: UpdateKind, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_columns(columns, kind)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": {"external_id": "id", "status": "s"}}, "need 'as_of_date'; name .* or give one as_of_date"),
        ({"columns": {"external_id": "id", "as_of_date": "d"}}, "need 'status'"),
        ({"columns": {"status": "s"}, "as_of_date": "2026-01-05"}, "need 'external_id'"),
        ({"columns": ALL, "as_of_date": "2026-01-05"}, "leave one of them out"),
        ({"as_of_date": "tomorrow"}, "as_of_date='tomorrow': no such day"),
        ({"as_of_date": ""}, "as_of_date='': missing"),
        ({"timezone": "Europe/Berlni"}, r"no such time zone \(did you mean 'Europe/Berlin'\?\)"),
        ({"timezone": "../etc/passwd"}, "no such time zone"),
        ({"status_map": {"G": "Gren"}}, "status_map"),
    ],
)
def test_checker_arguments_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Checker(PROGRESS, **arguments)


def test_metric_updates_need_a_value_column() -> None:
    with pytest.raises(ValueError, match="metric updates need 'metric_value'"):
        Checker(METRIC, {"external_id": "id", "as_of_date": "d"})


def test_source_columns_accepted() -> None:
    Checker(PROGRESS, ALL).check_columns(["value", "kpi", "rag", "note", "day", "more", "more"])
    Checker(PROGRESS).check_columns(["external_id", "status", "as_of_date"])
    Checker(PROGRESS, as_of_date="2026-01-05").check_columns(["external_id", "status"])
    Checker(METRIC).check_columns(["external_id", "metric_value", "as_of_date", "status", "Status"])
    Checker(PROGRESS).check_columns(["external_id", "status", "as_of_date", "my comment", "metric_value_2", "№"])


def test_columns_that_a_mapping_leaves_out_are_left_out_on_purpose() -> None:
    look_alikes = ["External ID", "Metric Value", "comment"]
    Checker(PROGRESS, ALL).check_columns([*ALL.values(), *look_alikes, "as_of_date"])
    dated = {"external_id": "kpi", "status": "rag"}
    Checker(PROGRESS, dated, as_of_date="2026-01-05").check_columns(["kpi", "rag", *look_alikes, "as_of_date"])
    default = {"as_of_date": "2026-01-05", "date_is_default": True}
    Checker(PROGRESS, dated, **default).check_columns(["kpi", "rag", *look_alikes])
    Checker(PROGRESS, {**dated, "comment": "as_of_date"}, **default).check_columns(["kpi", "rag", "as_of_date"])


REQUIRED = ("external_id", "status", "as_of_date")


@pytest.mark.parametrize(
    ("columns", "look_alike", "field"),
    [
        ((*REQUIRED, "Metric Value"), "Metric Value", "metric_value"),
        ((*REQUIRED, "metricValue"), "metricValue", "metric_value"),
        ((*REQUIRED, "metric_value", "METRIC_VALUE"), "METRIC_VALUE", "metric_value"),
        ((*REQUIRED, " comment "), " comment ", "comment"),
        (("External ID", "status", "as_of_date"), "External ID", "external_id"),
        (("external_id", "status", "As Of Date"), "As Of Date", "as_of_date"),
        (("external_id", "status", "asofdate"), "asofdate", "as_of_date"),
    ],
)
def test_a_column_that_looks_like_a_field_is_not_lost(columns: list[str], look_alike: str, field: str) -> None:
    message = f"column '{look_alike}' looks like '{field}' but is not read; map it with columns={{...}}. kpis.csv has"
    with pytest.raises(ValueError, match=re.escape(message)):
        Checker(PROGRESS).check_columns(columns, "kpis.csv")


@pytest.mark.parametrize("columns", [None, {"external_id": "kpi", "status": "rag"}])
@pytest.mark.parametrize("date_column", ["as_of_date", "As Of Date"])
def test_the_default_date_does_not_hide_a_column_of_dates(columns: Any, date_column: str) -> None:
    checker = Checker(PROGRESS, columns, as_of_date="2026-01-05", date_is_default=True)
    message = f"the source has a column '{date_column}' that columns does not map; map it, or give as_of_date"
    with pytest.raises(ValueError, match=message):
        checker.check_columns([*(columns or {"external_id": "external_id", "status": "status"}).values(), date_column])


@pytest.mark.parametrize(
    ("checker", "columns", "message"),
    [
        (
            Checker(PROGRESS, ALL),
            ["KPI", "rag", "value", "day", "note"],
            r"no column 'kpi' .*did you mean 'KPI'\?.*'rag'",
        ),
        (Checker(PROGRESS, ALL), ["kpi", "rag", "value", "day", "notes"], "no column 'note' for 'comment'"),
        (Checker(PROGRESS, ALL), ["kpi", "rag", "kpi", "value", "day", "note"], "'kpi' .*is there 2 times"),
        (Checker(PROGRESS), ["external_id", "metric_value", "as_of_date"], "no column 'status'"),
        (Checker(PROGRESS), ["external_id", "status"], "no column 'as_of_date'"),
        (Checker(METRIC), ["external_id", "as_of_date"], "no column 'metric_value'"),
        (Checker(METRIC), [], r"\(none\)"),
        (
            Checker(METRIC, as_of_date="2026-01-05"),
            ["external_id", "metric_value", "as_of_date"],
            "leave one of them out",
        ),
        (
            Checker(METRIC, as_of_date="2026-01-05"),
            ["external_id", "metric_value", "AsOfDate"],
            "leave one of them out",
        ),
    ],
)
def test_source_columns_refused(checker: Checker, columns: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checker.check_columns(columns, "kpis.csv")


def test_a_good_row() -> None:
    record = Checker(PROGRESS, ALL).check(1, GOOD)
    assert record == Record("A 1", "On Track", Decimal("0.90"), date(2026, 1, 5), None)
    assert str(record[2]) == "0.90"


def test_metric_updates_have_no_status() -> None:
    columns = {field: column for field, column in ALL.items() if field != "status"}
    record = Checker(METRIC, columns).check(1, GOOD)
    assert record == Record("A 1", None, Decimal("0.90"), date(2026, 1, 5), None)


def test_one_date_for_all_rows_and_two_fields_of_one_column() -> None:
    checker = Checker(
        PROGRESS, {"external_id": "kpi", "status": "rag", "comment": "kpi"}, as_of_date=datetime(2026, 2, 3, 23)
    )
    assert checker.check(1, GOOD) == Record("A 1", "On Track", None, date(2026, 2, 3), "A 1")


def test_the_zone_counts() -> None:
    row = {**GOOD, "day": "2026-01-04T23:30:00Z"}
    utc, berlin = Checker(PROGRESS, ALL), Checker(PROGRESS, ALL, timezone=ZoneInfo("Europe/Berlin"))
    assert [checker.check(1, row)[3] for checker in (utc, berlin)] == [date(2026, 1, 4), date(2026, 1, 5)]


def test_every_bad_column_is_told() -> None:
    row = {"kpi": 1.5, "rag": "amber", "value": "20%", "day": 20260105, "note": "a\0b"}
    rejects = Checker(PROGRESS, ALL).check(7, row)
    assert isinstance(rejects, list)
    assert [(reject.row, reject.column, reject.value) for reject in rejects] == [
        (7, "kpi", "1.5"),
        (7, "rag", "amber"),
        (7, "value", "20%"),
        (7, "day", "20260105"),
        (7, "note", "a\0b"),
    ]
    assert all(reject.reason for reject in rejects)


def test_a_row_of_nulls_is_told() -> None:
    rejects = Checker(METRIC).check(1, dict.fromkeys(["external_id", "metric_value", "as_of_date", "comment"]))
    assert [(reject.column, reject.value, reject.reason[:8]) for reject in rejects] == [
        ("external_id", "", "missing:"),
        ("metric_value", "", "missing:"),
        ("as_of_date", "", "missing:"),
    ]


def test_an_integer_that_cannot_become_text_is_a_reject() -> None:
    rejects = Checker(PROGRESS, ALL).check(1, {**GOOD, "kpi": 10**5000, "value": 10**5000})
    assert [(reject.column, reject.value) for reject in rejects] == [("kpi", "(int)"), ("value", "(int)")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        ("None", "None"),
        (Decimal("NaN"), "NaN"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        ("a\ud800", "a\\ud800"),
        (["a"], "['a']"),
    ],
)
def test_reject_value(value: Any, text: str) -> None:
    assert reject_value(value) == text


def test_a_reject_as_text() -> None:
    assert str(Reject(3, "rag", "amber\n", "no such status")) == "row 3, rag 'amber\\n': no such status"
    assert str(Reject(4, "", "a,b", "2 fields, the header has 5")) == "row 4, 'a,b': 2 fields, the header has 5"


def test_rejects_csv_reads_back() -> None:
    rejects = [Reject(1, 'a "b"', "x,\ny", "why"), Reject(22, "c", "", "Größe")]
    stream = io.StringIO(newline="")
    write_rejects_csv(stream, iter(rejects))
    header, *rows = csv.reader(io.StringIO(stream.getvalue(), newline=""))
    assert header == ["row", "column", "value", "reason"]
    assert [Reject(int(row), *rest) for row, *rest in rows] == rejects
