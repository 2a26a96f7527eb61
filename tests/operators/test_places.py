"""Files by a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_achieveit.operators.places import object_path


@pytest.mark.parametrize("path", ["a.csv", "./a.csv", "in/a.csv"])
def test_a_relative_path_is_one_of_here(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    object_path(path).parent.mkdir(parents=True, exist_ok=True)
    object_path(path).write_text("goal")
    assert (tmp_path / path).read_text() == "goal"


def test_other_paths_are_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("goal")
    assert object_path(str(tmp_path / "a.csv")).read_text() == "goal"
    assert object_path(f"file://{tmp_path}/a.csv").read_text() == "goal"
    assert object_path("s3://lake/a.csv", "").bucket == "lake"
