"""Names of batches: found by people, safe in a URL, never shared by two runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_achieveit.api.contract import BodyFormat
from airflow_provider_achieveit.updates.filenames import batch_filename

SHA = "1a2b3c4d" * 8
RUN = "scheduled__2026-01-05T06:00:00+00:00"
GIVEN: dict[str, Any] = {
    "dag_id": "daily_kpis",
    "task_id": "push",
    "run_id": RUN,
    "map_index": -1,
    "number": 1,
    "sha256": SHA,
    "body_format": BodyFormat.CSV,
}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "daily_kpis.push.scheduled-2026-01-05T06-00-00-00-00.b0001.1a2b3c4d.csv"),
        ({"map_index": 3}, "daily_kpis.push.scheduled-2026-01-05T06-00-00-00-00.m3.b0001.1a2b3c4d.csv"),
        (
            {"map_index": 0, "number": 12345, "body_format": BodyFormat.JSON},
            "daily_kpis.push.scheduled-2026-01-05T06-00-00-00-00.m0.b12345.1a2b3c4d.json",
        ),
        (
            {"task_id": "group.push", "run_id": "manual__2026-01-05T06:00:00.123456+00:00_aB3dE5gH"},
            "daily_kpis.group.push.manual-2026-01-05T06-00-00-123456-00-00_aB3dE5gH.b0001.1a2b3c4d.csv",
        ),
        (
            {"run_id": "asset_triggered__2026-01-05T06:00:00+00:00"},
            "daily_kpis.push.asset_triggered-2026-01-05T06-00-00-00-00.b0001.1a2b3c4d.csv",
        ),
        ({"run_id": "my-run_7"}, "daily_kpis.push.my-run_7.b0001.1a2b3c4d.csv"),
    ],
)
def test_names_for_people(given: dict[str, Any], name: str) -> None:
    assert batch_filename(**{**GIVEN, **given}) == name


@pytest.mark.parametrize(
    ("part", "left", "right"),
    [
        ("run_id", "a:b", "a b"),
        ("run_id", RUN, "scheduled-2026-01-05T06-00-00-00-00"),
        ("run_id", "manual__2026-01-05T06:00:00+05:00", "manual__2026-01-05T06:00:00-05:00"),
        ("run_id", "x" * 250, "x" * 249 + "y"),
        ("dag_id", "x" * 200, "x" * 201),
        ("dag_id", "a.b", "a-b"),
        ("dag_id", "цели", "планы"),
        ("task_id", "a..b", "a.-b"),
    ],
)
def test_what_looks_alike_differs(part: str, left: str, right: str) -> None:
    assert batch_filename(**{**GIVEN, part: left}) != batch_filename(**{**GIVEN, part: right})


def test_the_dag_ends_at_the_first_dot() -> None:
    left = batch_filename(**{**GIVEN, "dag_id": "a.b", "task_id": "c"})
    assert left != batch_filename(**{**GIVEN, "dag_id": "a", "task_id": "b.c"})


TEXTS = st.text(min_size=1, max_size=300) | st.text("ab.-_:+0", min_size=1, max_size=80)


@given(TEXTS, TEXTS, TEXTS, st.integers(-1, 2**31), st.integers(1, 10**9), st.sampled_from(list(BodyFormat)))
def test_safe_and_bounded(dag: str, task: str, run: str, map_index: int, number: int, body_format: BodyFormat) -> None:
    given = {"dag_id": dag, "task_id": task, "run_id": run, "map_index": map_index, "number": number}
    name = batch_filename(**given, sha256=SHA, body_format=body_format)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name)
    assert ".." not in name
    assert len(name) <= 180
    assert name.endswith(f".1a2b3c4d.{body_format.value}")
    assert name == batch_filename(**given, sha256=SHA, body_format=body_format)


IDS = st.text("ab._-:", min_size=1, max_size=4)


@given(st.tuples(IDS, IDS, IDS), st.tuples(IDS, IDS, IDS))
def test_different_runs_never_share_a_name(left: tuple[str, str, str], right: tuple[str, str, str]) -> None:
    names = [
        batch_filename(**{**GIVEN, "dag_id": dag, "task_id": task, "run_id": run}) for dag, task, run in (left, right)
    ]
    assert (names[0] == names[1]) == (left == right)
