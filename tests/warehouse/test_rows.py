"""Conversion of items to rows: exact, or kept beside in ``extra``; never away."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_achieveit.api import contract
from airflow_provider_achieveit.warehouse.model import Nested, plan_tables, snake_case
from airflow_provider_achieveit.warehouse.rows import RowMaker
from airflow_provider_achieveit.warehouse.values import Limits

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make(
    item: dict[str, Any], nested: Nested = Nested.TABLES, *, unescape_html: bool = True, null_bytes: bool = True
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of one item as dicts, ``extra`` read as JSON."""
    maker = RowMaker("plan", NOW, nested=nested, unescape_html=unescape_html, limits=Limits(null_bytes=null_bytes))
    rows = maker.rows([item])
    made = {}
    for table in plan_tables(nested):
        names = [column.name for column in table.columns]
        made[table.suffix] = [dict(zip(names, row, strict=True)) for row in rows[table.suffix]]
        for row in made[table.suffix]:
            row["extra"] = json.loads(row["extra"], parse_float=Decimal) if row["extra"] else {}
    return made


def cell(name: str, value: Any, **options: Any) -> tuple[Any, Any]:
    """Return what one field's value becomes, and what is kept of it in ``extra`` (None: nothing)."""
    row = make({"id": "i", name: value}, **options)[""][0]
    return row[snake_case(name)], row["extra"].get(name)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("baseline", "123456789012.345678901234567890", Decimal("123456789012.345678901234567890")),
        ("baseline", "9007199254740993", Decimal(9007199254740993)),
        ("target", "-0.10", Decimal("-0.10")),
        ("target", " 12.5 ", Decimal("12.5")),
        ("target", "1E+2", Decimal("1E+2")),
        ("target", ".5", Decimal("0.5")),
        ("target", 5, Decimal(5)),
        ("target", Decimal("0.30"), Decimal("0.30")),
        ("currentValue", "", None),
        ("currentValue", "  ", None),
        ("start", "2026-05-04", datetime(2026, 5, 4, tzinfo=UTC)),
        ("start", "2026-05-04T10:00:00", datetime(2026, 5, 4, 10, tzinfo=UTC)),
        ("start", "2026-05-04T10:00:00.1234560Z", datetime(2026, 5, 4, 10, 0, 0, 123456, tzinfo=UTC)),
        ("start", "2026-05-04T01:00:00+02:00", datetime(2026, 5, 3, 23, tzinfo=UTC)),
        ("start", "2026-05-04T10:00:00,1234560Z", datetime(2026, 5, 4, 10, 0, 0, 123456, tzinfo=UTC)),
        ("updates", 2**63 - 1, 2**63 - 1),
        ("updates", 2**53 + 1, 2**53 + 1),
        ("isOrphan", False, False),
        ("name", "R&amp;D &lt;b&gt; &#39;x&#39; 😀", "R&D <b> 'x' 😀"),
        ("name", "Dept&region; &para R&amp;D&copy", "Dept&region; &para R&D&copy"),
        ("name", "&#x41;&#X42;&#67 &amp;amp; &nope; &;", "AB&#67 &amp; &nope; &;"),
        ("indentedName", "    A &amp; B", "    A & B"),
        ("statusName", "On &amp; Track", "On & Track"),
        ("description", "<p>R&amp;D</p>", "<p>R&amp;D</p>"),
        ("lastComment", "a &amp; b", "a &amp; b"),
        ("description", "", ""),
        ("description", "a\x00b", "a\x00b"),
        ("name", None, None),
    ],
)
def test_values_that_fit_are_exact_and_only_in_their_column(name: str, value: Any, expected: Any) -> None:
    got, kept = cell(name, value)
    assert (got, type(got), kept) == (expected, type(expected), None)
    assert str(got) == str(expected)  # Decimal("0.1") == Decimal("0.10"), but a reader sees the difference


@pytest.mark.parametrize(
    ("name", "value", "column"),
    [
        ("currentValue", "12 %", None),
        ("currentValue", "1,234.5", None),
        ("currentValue", "1_000", None),
        ("currentValue", "١٢", None),
        ("currentValue", "NaN", None),
        ("currentValue", "Infinity", None),
        ("currentValue", "1e99999", None),
        ("currentValue", "1e-99999", None),
        ("currentValue", True, None),
        ("currentValue", [1], None),
        ("start", "soon", None),
        ("start", "05/04/2026", None),
        ("start", "", None),
        ("start", 20260504, None),
        ("start", "0001-01-01T00:00:00+01:00", None),
        ("created", "2026-05-04T10:00:00.1234567Z", datetime(2026, 5, 4, 10, 0, 0, 123456, tzinfo=UTC)),
        ("created", "2026-05-04T10:00:00,1234567Z", datetime(2026, 5, 4, 10, 0, 0, 123456, tzinfo=UTC)),
        ("updates", 2**63, None),
        ("updates", "3", None),
        ("updates", Decimal("3.0"), None),
        ("updates", True, None),
        ("isOrphan", 1, None),
        ("isOrphan", "true", None),
        ("name", 7, None),
        ("name", {"en": "x"}, None),
    ],
)
def test_values_that_do_not_fit_are_kept_as_they_came(name: str, value: Any, column: Any) -> None:
    assert cell(name, value) == (column, value)


def test_null_bytes_leave_only_the_column_and_only_where_they_must() -> None:
    assert cell("name", "a\x00 &amp; b", null_bytes=False) == ("a & b", "a\x00 &amp; b")
    assert cell("name", "a\x00 &amp; b", null_bytes=True) == ("a\x00 & b", None)


def test_halves_of_utf_16_pairs_leave_only_the_column() -> None:
    text = "cut \ud83d &amp; b"
    assert cell("name", text) == ("cut \ufffd & b", text)
    assert cell("description", "\ude00") == ("\ufffd", "\ude00")
    item = {"id": "i", "own": {"a\ud83d": ["\ude00", 1, Decimal("0.10"), None]}, "tags": [{"name": "x\ud83d"}]}
    made = make(item)
    assert made[""][0]["extra"] == {"own": {"a\\ud83d": ["\ude00", 1, Decimal("0.10"), None]}}
    assert (made["_tags"][0]["name"], made["_tags"][0]["extra"]) == ("x\ufffd", {"name": "x\ud83d"})
    assert make(item, Nested.JSON)[""][0]["tags"] == '[{"name":"x\\ud83d"}]'


def test_a_value_that_does_not_fit_changes_nothing_of_the_others_on_its_page() -> None:
    """Columns are turned as a whole where they can be; one odd value must not carry over to its neighbours."""
    odd: dict[str, Any] = {"name": "a &amp; b\x00", "updates": 2**63, "isOrphan": 1, "baseline": "?", "start": "soon"}
    good = {"name": "n", "updates": 3, "isOrphan": True, "baseline": "1.50", "start": "2026-05-04", "tags": []}
    items = [good | {"id": "0"}, odd | {"id": "1", "new": 1}, {"id": "2"}, good | {"id": "3", "updates": None}]
    maker = RowMaker("plan", NOW, nested=Nested.TABLES, unescape_html=True, limits=Limits(null_bytes=False))
    together = maker.rows(items)
    for suffix, rows in together.items():
        assert rows == [row for item in items for row in maker.rows([item])[suffix]]
    extras = [row[-2] for row in together[""]]
    assert [json.loads(extra) if extra else None for extra in extras] == [None, odd | {"new": 1}, None, None]


def test_html_stays_where_it_is_wanted() -> None:
    assert cell("name", "R&amp;D", unescape_html=False) == ("R&amp;D", None)


def test_the_plan_id_is_always_the_exported_one() -> None:
    assert make({"id": "i", "planId": "plan"})[""][0] | {"extra": {}} == make({"id": "i"})[""][0]
    row = make({"id": "i", "planId": "other"})[""][0]
    assert (row["plan_id"], row["extra"]) == ("plan", {"planId": "other"})


def test_an_id_that_is_a_number_is_a_key_and_is_kept() -> None:
    made = make({"id": 12, "tags": [{"id": "t"}]})
    assert (made[""][0]["id"], made[""][0]["extra"]) == ("12", {"id": 12})
    assert made["_tags"][0]["item_id"] == "12"


def test_lists_become_rows_in_their_order() -> None:
    made = make(
        {
            "id": "i",
            "members": [{"id": "u2", "name": "B &amp; C", "type": "Team"}, {"id": "u1", "new": [1]}],
            "advancedMetricGoals": [{"goalId": "g", "goalName": "a &amp; b", "metricBucketValue": Decimal("0.10")}],
            "checklists": [
                {"id": "c", "name": "n", "sortIndex": 1, "items": [{"id": "p", "doneOn": "2026-01-01"}, {"name": "q"}]},
                {"id": "c", "items": None, "other": 1},
                {"name": "no list", "items": "?"},
            ],
        }
    )
    key = {"plan_id": "plan", "item_id": "i", "_extracted_at": NOW}
    assert made["_members"] == [
        key | {"position": 0, "id": "u2", "name": "B & C", "type": "Team", "extra": {}},
        key | {"position": 1, "id": "u1", "name": None, "type": None, "extra": {"new": [1]}},
    ]
    goal = made["_metric_goals"][0]
    assert (goal["goal_name"], str(goal["metric_bucket_value"]), goal["sort_order"]) == ("a & b", "0.10", None)
    assert [(row["position"], row["id"], row["extra"]) for row in made["_checklists"]] == [
        (0, "c", {}),
        (1, "c", {"other": 1}),
        (2, None, {"items": "?"}),
    ]
    assert [
        (row["checklist_id"], row["checklist_position"], row["position"], row["id"], row["name"], row["done_on"])
        for row in made["_checklist_items"]
    ] == [("c", 0, 0, "p", None, datetime(2026, 1, 1, tzinfo=UTC)), ("c", 0, 1, None, "q", None)]
    assert made[""][0]["extra"] == {}


@pytest.mark.parametrize("value", ["x", 0, "", {}, ["a"], [{"id": "t"}, None], {"id": "t"}])
def test_a_list_of_something_else_is_kept_whole(value: Any) -> None:
    made = make({"id": "i", "tags": value})
    assert made["_tags"] == []
    assert made[""][0]["extra"] == {"tags": value}


def test_lists_as_json_or_left_out() -> None:
    item = {"id": "i", "tags": [{"id": "t", "n": Decimal("0.10")}], "members": [], "admins": None, "own": 1}
    row = make(item, Nested.JSON)[""][0]
    assert (row["tags"], row["members"], row["admins"]) == ('[{"id":"t","n":0.10}]', "[]", None)
    assert row["extra"] == {"own": 1}
    row = make(item, Nested.DROP)[""][0]
    assert row["extra"] == {"own": 1}
    assert "tags" not in row


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(codec="utf-8"))
    | st.decimals(allow_nan=False, allow_infinity=False, places=6)
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
field_names = st.sampled_from([*contract.ITEM_FIELDS, *contract.CHILD_FIELDS]) | st.text(
    st.characters(codec="utf-8"), min_size=1, max_size=8
)


@given(fields=st.dictionaries(field_names, json_values, max_size=8), null_bytes=st.booleans())
def test_whatever_comes_is_found_again(fields: dict[str, Any], null_bytes: bool) -> None:
    """Every value that is not null is in its column unchanged, or in ``extra`` unchanged."""
    item = fields | {"id": "i"}
    row = make(item, Nested.JSON, unescape_html=False, null_bytes=null_bytes)[""][0]
    columns = {column.source: column.name for column in plan_tables(Nested.JSON)[0].columns}
    for name, value in item.items():
        if name in row["extra"]:
            assert row["extra"][name] == value
        elif value is None or (name in ("baseline", "target", "currentValue") and str(value).strip() == ""):
            assert name not in columns or row[columns[name]] in (None, "plan")
        else:
            stored = row[columns[name]]
            kind = contract.ITEM_FIELDS.get(name)
            if name in contract.CHILD_FIELDS:
                assert json.loads(stored, parse_float=Decimal) == value
            elif kind is contract.FieldType.DECIMAL:
                assert stored == Decimal(str(value).strip())
            elif kind is contract.FieldType.MOMENT:
                assert stored.tzinfo is UTC
            else:
                assert stored == value
                assert null_bytes or "\x00" not in str(stored)
