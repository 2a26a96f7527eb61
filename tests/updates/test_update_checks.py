"""One value at a time: what is let through, as what, and why the rest is refused."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from airflow_provider_achieveit.updates.checks import (
    InvalidValue,
    check_comment,
    check_external_id,
    check_status_options,
    is_null,
    status_check,
)
from airflow_provider_achieveit.updates.dates import as_of_date_check
from airflow_provider_achieveit.updates.encode import decimal_text
from airflow_provider_achieveit.updates.metric_values import check_metric_value, check_required_metric_value

NULLS: list[Any] = [
    None,
    "",
    " ",
    "\t\n",
    math.nan,
    np.float32("nan"),
    np.float64("nan"),
    pd.NaT,
    pd.NA,
    np.datetime64("NaT", "ns"),
]


@pytest.mark.parametrize("value", NULLS, ids=repr)
def test_null_in_every_spelling(value: Any) -> None:
    assert is_null(value)
    assert check_metric_value(value) is None
    assert check_comment(value) is None
    for check in (check_external_id, status_check(None, ()), as_of_date_check(UTC), check_required_metric_value):
        with pytest.raises(InvalidValue, match="missing"):
            check(value)


@pytest.mark.parametrize(
    "value",
    [0, 0.0, False, "None", "nan", "0", Decimal("NaN"), Decimal("sNaN"), math.inf, [], np.array([1.0, 2.0]), {}],
)
def test_not_null(value: Any) -> None:
    assert not is_null(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("  padded id ", "  padded id "),
        ("Größe/№ 5;'#\u00a0x", "Größe/№ 5;'#\u00a0x"),
        ("👩‍🚒", "👩‍🚒"),
        (2**53 + 1, "9007199254740993"),
        (np.int64(2**53 + 1), "9007199254740993"),
        (-5, "-5"),
        (Decimal("12345678901234567890"), "12345678901234567890"),
        (UUID("CE0ECED5-B1B9-4504-8BA9-87A476BB0F87"), "ce0eced5-b1b9-4504-8ba9-87a476bb0f87"),
        (np.str_("abc"), "abc"),
    ],
)
def test_external_id_kept(value: Any, text: str) -> None:
    checked = check_external_id(value)
    assert checked == text
    assert type(checked) is str


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("a,b", "must not contain a comma"),
        ('say "x"', "must not contain a quotation mark"),
        ("my EXTernal id", 'must not contain the word "external"'),
        ("a\nb", r"control character or line break \(U\+000A\)"),
        ("a\u2028b", r"U\+2028"),
        ("a\0", r"U\+0000"),
        ("a\ud800", r"lone surrogate \(U\+D800\)"),
        (1.0, "a float with decimal places is no external id; cast the column to text"),
        (np.float64(7), "cast the column to text"),
        (Decimal("1.0"), "a Decimal with decimal places"),
        (Decimal("NaN"), "Decimal"),
        (True, "a truth value is no external id"),
        (b"x", "a bytes is no external id"),
        ([1], "a list is no external id"),
        (date(2026, 1, 1), "a date is no external id"),
    ],
)
def test_external_id_refused(value: Any, reason: str) -> None:
    with pytest.raises(InvalidValue, match=reason):
        check_external_id(value)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("On Track", "On Track"),
        ("  oN tRACK ", "On Track"),
        ("canceled", "Canceled"),
        ("blocked", "Blocked"),
        ("g", "On Track"),
        ("1", "At Risk"),
        (1, "At Risk"),
        (np.int64(1), "At Risk"),
        (True, "Achieved"),
        ("Achieved", "Not Achieved"),
        ("achieved", "Achieved"),
    ],
)
def test_status_found(value: Any, status: str) -> None:
    check = status_check(
        {"g": "on track", "1": "At Risk", "True": "Achieved", " Achieved ": "Not Achieved"},
        ["Blocked"],
    )
    assert check(value) == status


def test_status_map_keys_may_be_numbers() -> None:
    check = status_check({1: "On Track", 2: "At Risk"}, ())
    assert [check(1), check("2"), check(Decimal(1))] == ["On Track", "At Risk", "On Track"]


@pytest.mark.parametrize(
    ("value", "near"),
    [("On Trak", "'On Track'"), ("cancelled", "'Canceled'"), ("bloked", "'Blocked'"), ("at-risk", "'At Risk'")],
)
def test_status_refused_with_the_nearest(value: str, near: str) -> None:
    with pytest.raises(InvalidValue, match=rf"no such status \(did you mean {near}\?\); known are On Track, .*Blocked"):
        status_check(None, ["Blocked"])(value)


def test_status_refused_without_guessing() -> None:
    with pytest.raises(InvalidValue, match=r"^no such status; known are"):
        status_check(None, ())("qqq")


@pytest.mark.parametrize(
    ("status_map", "extra", "message"),
    [
        ({"G": "On Trakc"}, (), r"status_map: 'G' leads to 'On Trakc'.*did you mean 'On Track'\?.*extra_statuses"),
        ({"G": "Blocked"}, (), "no status"),
        ({"G": None}, (), "no status"),
        ({None: "On Track"}, (), "status_map: None cannot be mapped: a row without a status is never sent"),
        ({math.nan: "On Track"}, (), "nan cannot be mapped"),
        ({" ": "On Track"}, (), "' ' cannot be mapped"),
        (None, "Blocked", "must be a list"),
        (None, [""], "is no status"),
        (None, ["a\nb"], "is no status"),
        (None, [7], "is no status"),
    ],
)
def test_status_options_refused(status_map: Any, extra: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_status_options(status_map, extra)


def test_status_options_accepted() -> None:
    check_status_options({"G": "on track", "B": "blocked"}, ["Blocked"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (2**53 + 1, "9007199254740993"),
        (np.int64(2**53 + 1), "9007199254740993"),
        (np.uint8(7), "7"),
        (Decimal("123456789012345678"), "123456789012345678"),
        (Decimal("0.123456789012345678"), "0.123456789012345678"),
        (Decimal("0.90"), "0.90"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-10"), "0.0000000001"),
        (Decimal("0E+3"), "0"),
        (Decimal("0.00"), "0.00"),
        (Decimal("-0.0"), "0.0"),
        (0.1, "0.1"),
        (1e22, "10000000000000000000000"),
        (1e-7, "0.0000001"),
        (-0.0, "0.0"),
        (np.float64(0.1), "0.1"),
        (np.float32(0.1), "0.1"),
        ("20", "20"),
        (" .2 ", "0.2"),
        ("5.", "5"),
        ("+5", "5"),
        ("-0", "0"),
        ("-1234.50", "-1234.50"),
        ("007", "7"),
    ],
)
def test_metric_value_exact(value: Any, text: str) -> None:
    number = check_metric_value(value)
    assert type(number) is Decimal
    assert decimal_text(number) == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("20%", "20% is 0.2"),
        ("$5", "currency"),
        ("5 €", "currency"),
        ("1,234", "thousands"),
        ("1,5", "comma"),
        ("1e3", "exponent"),
        ("1_000", "plain decimal"),
        ("٣", "digits 0 to 9"),
        ("½", "plain decimal"),
        ("--1", "plain decimal"),
        ("1.2.3", "plain decimal"),
        (".", "plain decimal"),
        ("(5)", "plain decimal"),
        ("NaN", "plain decimal"),
        ("n/a", "plain decimal"),
        ("inf", "plain decimal"),
        (math.inf, "infinity"),
        (-math.inf, "infinity"),
        (np.float64("inf"), "infinity"),
        (Decimal("Infinity"), "infinity"),
        (Decimal("NaN"), "NaN"),
        (Decimal("sNaN"), "NaN"),
        (True, "bool is no number"),
        (np.True_, "bool is no number"),
        (Decimal("1E+5000"), "100 digits"),
        (Decimal("1E-5000"), "100 digits"),
        (10**200, "100 digits"),
        (1e300, "100 digits"),
        (1 + 2j, "complex is no number"),
        ([1], "list is no number"),
        (b"1", "bytes is no number"),
        (timedelta(1), "timedelta is no number"),
    ],
    ids=repr,
)
def test_metric_value_refused(value: Any, reason: str) -> None:
    with pytest.raises(InvalidValue, match=reason):
        check_metric_value(value)


BERLIN = ZoneInfo("Europe/Berlin")
DAY = date(2026, 1, 5)


@pytest.mark.parametrize(
    "value",
    [
        DAY,
        datetime(2026, 1, 5, 23, 59),
        datetime(2026, 1, 4, 23, 30, tzinfo=UTC),
        datetime(2026, 1, 5, 23, 30, tzinfo=timezone(timedelta(hours=5))),
        pd.Timestamp("2026-01-05 12:00"),
        pd.Timestamp("2026-01-04 23:30", tz="UTC"),
        "2026-01-05",
        " 20260105 ",
        "2026-W02-1",
        "2026W021",
        "2026-01-05T23:59:59",
        "2026-01-05 06:00",
        "2026-01-04T23:00:00Z",
        "20260104T233000Z",
        "2026-01-04t23:30:00.123456+00:00",
        "01/05/2026",
        "1/5/2026",
        "1/5/2026 11:59 PM",
        "1/5/2026 12:00:00.0000000am",
        "01/05/2026T00:00",
        "01/05/2026  23:59:59.999",
        "1/5/2026 9:05\u202fPM",
    ],
    ids=repr,
)
def test_date_in_every_form(value: Any) -> None:
    checked = as_of_date_check(BERLIN)(value)
    assert checked == DAY
    assert type(checked) is date


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("31/12/2026", "no such day: write YYYY-MM-DD .* or MM/DD/YYYY"),
        ("2026-02-30", "no such day"),
        ("1/5/26", "no such day"),
        ("5 Jan 2026", "no such day"),
        ("2026-01", "no such day"),
        ("20260105106", "no such day"),
        ("2026-01-0\u0665", "no such day"),
        ("01/05/2026 soon", "no such day"),
        ("01/05/2026 23:30+00:00", "MM/DD/YYYY, which takes no offset"),
        ("01/05/2026 23:30:00Z", "no such day"),
        ("01/05/2026 11:30 PM -0500", "no such day"),
        ("01/05/2026 12:00 noon", "no such day"),
        ("01/05/2026 24:00", "no such day"),
        ("01/05/2026 9:60", "no such day"),
        ("01/05/2026 9:05:60", "no such day"),
        ("01/05/2026 13:00 PM", "no such day"),
        ("01/05/2026 0:30 AM", "no such day"),
        ("01/05/2026 9:5", "no such day"),
        ("9999-12-31T23:59:59-10:00", "too far away"),
        (20260105, "a int is no date"),
        (46000.5, "a float is no date"),
        (True, "a bool is no date"),
        (np.datetime64("2026-01-05"), "a datetime64 is no date"),
    ],
)
def test_date_refused(value: Any, reason: str) -> None:
    with pytest.raises(InvalidValue, match=reason):
        as_of_date_check(BERLIN)(value)


def test_date_extremes_are_calendar_days_like_others() -> None:
    assert as_of_date_check(UTC)("0001-01-01") == date.min
    assert as_of_date_check(UTC)("12/31/9999") == date.max


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (' "quoted", and\r\nbroken\t', ' "quoted", and\r\nbroken\t'),
        ("None", "None"),
        (5, "5"),
        (Decimal("1.50"), "1.50"),
        (True, "True"),
        (DAY, "2026-01-05"),
        ("\u0007", "\u0007"),
    ],
)
def test_comment_kept(value: Any, text: str) -> None:
    assert check_comment(value) == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [("a\0b", "NUL"), ("a\udcff", "surrogate"), (b"x", "bytes is no comment"), ({"a": 1}, "dict"), (["x"], "list")],
)
def test_comment_refused(value: Any, reason: str) -> None:
    with pytest.raises(InvalidValue, match=reason):
        check_comment(value)
