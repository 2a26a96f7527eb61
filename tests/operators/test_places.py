"""Files by a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_achieveit.operators.places import object_path
from tests.operators.test_updates import push


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


@pytest.mark.usefixtures("airflow_db")
def test_all_files_of_a_submit_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("kpis.csv").write_text("external_id,status,as_of_date\nkpi-1,on track,2026-01-05\nkpi-1,nonsense,2026-01-06\n")
    outcome = push(
        path="kpis.csv", rejects_path="bad/rejects.csv", artifact_path="kept", on_invalid="skip", dry_run=True
    )
    assert outcome.state == "success"
    assert b"nonsense" in Path("bad/rejects.csv").read_bytes()
    assert [path.read_bytes().count(b"kpi-1") for path in Path("kept").iterdir()] == [1]
