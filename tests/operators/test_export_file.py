"""The operator that writes files, against a running server: formats, places, and what it refuses."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowException, AirflowFailException

from airflow_provider_achieveit.exceptions import (
    AchieveItForbiddenError,
    AchieveItInconsistentExportError,
    AchieveItLoadRefusedError,
    AchieveItUnavailableError,
)
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.operators.export import AchieveItExportPlanToFileOperator
from airflow_provider_achieveit.simulator.seed_data import generated_plan
from airflow_provider_achieveit.simulator.server import RunningSimulator
from airflow_provider_achieveit.warehouse.model import LISTS, snake_case
from tests.airflow_versions import AIRFLOW
from tests.warehouse.test_whole_export import plan_on_server


@pytest.fixture
def simulator(plan_server: RunningSimulator) -> RunningSimulator:
    plan_server.world.plans["p1"] = generated_plan(600, seed=1, plan_id="p1")
    return plan_server


def operator(path: Path | str | None, **options: Any) -> AchieveItExportPlanToFileOperator:
    arguments = {"task_id": "export", "plan_id": "p1", "path": path and str(path), "page_size": 250} | options
    return AchieveItExportPlanToFileOperator(**arguments)


def items_as_they_come() -> list[dict[str, Any]]:
    with AchieveItHook().get_conn() as client:
        return client.fetch_plan_page("p1", skip=0, take=1500, sort_key="sequenceId").items


def under_api_names(value: Any, item: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a Parquet file under the names that an item has."""
    return {name: value[snake_case(name)] for name in item}


def test_parquet_holds_every_field_of_every_item(simulator: RunningSimulator, tmp_path: Path) -> None:
    path = tmp_path / "made" / "on the way" / "plan.parquet"
    result = operator(path).execute({})
    extracted_at = datetime.fromisoformat(result.pop("extracted_at"))
    assert result == {
        "plan_id": "p1", "items": 600, "pages": 3, "reads": 1, "path": str(path), "format": "parquet",
        "bytes": path.stat().st_size,
    }  # fmt: skip
    rows = pq.read_table(path).to_pylist()
    assert {row["_extracted_at"] for row in rows} == {extracted_at}
    server = plan_on_server(simulator.world.plans["p1"])
    assert all(any(item[name] for item in server) for name in LISTS), "the plan must have entries in every list"
    assert len(rows) == len(server)
    for row, item in zip(rows, server, strict=True):
        found = under_api_names(row, item)
        for name in LISTS:
            found[name] = [
                under_api_names(entry, wanted) for entry, wanted in zip(row[snake_case(name)], item[name], strict=True)
            ]
        for checklist, wanted in zip(found["checklists"], item["checklists"], strict=True):
            checklist["items"] = [
                under_api_names(point, meant) for point, meant in zip(checklist["items"], wanted["items"], strict=True)
            ]
        assert found == item
        assert row["extra"] is None


def test_json_lines_are_the_servers_items(simulator: RunningSimulator, tmp_path: Path) -> None:
    item = simulator.world.plans["p1"].items[7]
    item.fields |= {"newField": {"deep": [1.5, None]}, "name": "R&D <b>", "description": "x" * 1_000_000}
    path = tmp_path / "plan.ndjson"
    assert operator(path, unescape_html=True).execute({})["format"] == "jsonl"
    read = [json.loads(line, parse_float=Decimal) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    came = items_as_they_come()
    assert read == came
    assert [list(found) for found in read] == [list(meant) for meant in came]
    assert read[7]["name"] == "R&amp;D &lt;b&gt;"


def test_csv_has_every_item_and_the_lists_as_json(simulator: RunningSimulator, tmp_path: Path) -> None:
    path = tmp_path / "plan.txt"
    operator(path, format="csv").execute({})
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    came = items_as_they_come()
    assert [row["id"] for row in rows] == [item["id"] for item in came]
    assert [json.loads(row["tags"]) for row in rows] == [item["tags"] for item in came]
    server = plan_on_server(simulator.world.plans["p1"])
    assert [row["name"] for row in rows] == [item["name"] for item in server]
    assert [row["current_value"] and Decimal(row["current_value"]) for row in rows] == [
        "" if item["currentValue"] is None else item["currentValue"] for item in server
    ]


@pytest.mark.parametrize("name", ["plan.jsonl", "plan[1].jsonl", "pl*n.jsonl", "[a]/plan.jsonl"])
def test_a_store_that_is_no_disk(simulator: RunningSimulator, name: str) -> None:
    store = fsspec.filesystem("memory")
    # As a provider package of a store does it.
    if AIRFLOW < (3,):
        from airflow.io.store import attach
    else:
        from airflow.sdk.io import attach
    attach("memory", fs=store)
    store.pipe(f"/lake/{name}", b"old")
    result = operator(f"memory://lake/{name}").execute({})
    assert store.size(f"/lake/{name}") == result["bytes"]
    assert store.find("/lake") == [f"/lake/{name}"]
    store.rm("/lake", recursive=True)


def test_a_plan_that_changes_between_pages_begins_the_file_anew(simulator: RunningSimulator, tmp_path: Path) -> None:
    path = tmp_path / "plan.parquet"
    simulator.faults.add("mutate", path=r"/exports/.*skip=[1-9]\d*&take=250", changes=["delete", "insert"])
    result = operator(path).execute({})
    assert result["reads"] == 2
    assert [row["id"] for row in pq.read_table(path).to_pylist()] == [item["id"] for item in items_as_they_come()]


@pytest.mark.parametrize("name", ["plan.parquet", "plan.jsonl", "plan.csv"])
def test_a_read_that_fails_leaves_the_file_as_it_was(
    simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    path = tmp_path / "public" / name
    operator(path).execute({})
    before = path.read_bytes()
    simulator.faults.add("status", path="skip=498", status=503, times=1)
    with pytest.raises(AchieveItUnavailableError):
        operator(path).execute({})
    simulator.faults.add("mutate", path=r"/exports/.*skip=[1-9]\d*&take=250", times=None)
    with pytest.raises(AchieveItInconsistentExportError):
        operator(path, max_reads=2).execute({})
    with pytest.raises(AchieveItForbiddenError):
        operator(path, plan_id="unknown").execute({})
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == [name]
    assert list(private.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "jsonlines"}, "format must be one of 'parquet', 'jsonl', 'csv', not 'jsonlines'"),
        ({"past_runs": "ignore"}, "past_runs must be one of 'skip', 'fail', 'run', not 'ignore'"),
        ({"page_size": 0}, "page_size"),
    ],
)
def test_settings_that_cannot_work_are_refused_when_the_dag_is_parsed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        operator("plan.csv", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": ""}, "path must be a text that is not empty, not ''"),
        ({"path": None}, "path must be a text that is not empty, not None"),
        ({"plan_id": ""}, "plan_id must be a text"),
        ({"path": "/tmp/plan.xlsx"}, "ends in '.xlsx', which tells no format .* must end in .parquet, .jsonl"),
        ({"path": "/tmp/plan\x00.csv"}, "null character"),
        ({"path": "s3://lake/plans/", "format": "csv"}, "path 's3://lake/plans/' is a directory; add the name"),
        (
            {"path": "nowhere://plan.csv"},
            r"'nowhere://plan.csv' cannot be used: .*nowhere.* Is the provider package of its store",
        ),
    ],
)
def test_what_templates_gave_is_checked_before_any_request(
    simulator: RunningSimulator, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(AchieveItLoadRefusedError, match=message) as caught:
        operator(**{"path": "plan.csv"} | options).execute({})
    assert isinstance(caught.value, AirflowFailException)
    assert simulator.world.requests == []


def test_places_that_cannot_be_written_are_told_before_any_request(simulator: RunningSimulator, tmp_path: Path) -> None:
    (tmp_path / "directory.csv").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(AchieveItLoadRefusedError, match=r"directory.csv cannot be written: it is a directory"):
        operator(tmp_path / "directory.csv").execute({})
    with pytest.raises(AchieveItLoadRefusedError, match=r"cannot be written: .*(Not a directory|File exists)"):
        operator(tmp_path / "file" / "plan.csv").execute({})
    assert simulator.world.requests == []


def test_a_device_or_a_pipe_is_not_replaced_by_a_file(simulator: RunningSimulator, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "link.csv").symlink_to("pipe.csv")
    for name in ("pipe.csv", "link.csv"):
        with pytest.raises(AchieveItLoadRefusedError, match="it is a device or a pipe"):
            operator(tmp_path / name).execute({})
    assert (tmp_path / "pipe.csv").is_fifo()
    assert simulator.world.requests == []


def test_a_link_stays_a_link(simulator: RunningSimulator, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "plan.csv").write_text("old")
    (tmp_path / "plan.csv").symlink_to("there/plan.csv")
    operator(tmp_path / "plan.csv").execute({})
    assert (tmp_path / "plan.csv").is_symlink()
    assert (tmp_path / "there" / "plan.csv").read_text(encoding="utf-8").startswith("plan_id,")


def test_parquet_without_pyarrow_names_the_extra(
    simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "airflow_provider_achieveit.files.parquet", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(AchieveItLoadRefusedError, match=r"install airflow-provider-achieveit\[parquet\]"):
        operator(tmp_path / "plan.parquet").execute({})
    assert simulator.world.requests == []


def test_templated_fields() -> None:
    task = operator(
        "s3://lake/{{ day }}.csv", path_conn_id="{{ store }}", plan_id="{{ plan }}", achieveit_conn_id="{{ store }}"
    )
    task.render_template_fields({"day": "2026-01-01", "store": "aws", "plan": "p9"})
    assert (task.path, task.path_conn_id, task.plan_id) == ("s3://lake/2026-01-01.csv", "aws", "p9")
    assert task.achieveit_conn_id == "aws"


def test_default_args_reach_the_shared_arguments() -> None:
    with DAG(
        "d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), default_args={"plan_id": "p", "page_size": 9}
    ):
        task = AchieveItExportPlanToFileOperator(task_id="a", path="x.csv")
        mapped = AchieveItExportPlanToFileOperator.partial(task_id="b", path="x.csv", page_size=3).expand(plan_id=["p"])
    assert (task.plan_id, task.page_size) == ("p", 9)
    assert mapped.partial_kwargs["page_size"] == 3
    with pytest.raises((TypeError, AirflowException), match="plan_id"):
        AchieveItExportPlanToFileOperator(task_id="c", path="x.csv")
