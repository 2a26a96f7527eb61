"""The file of docs/push.md is pushed, and its tables have every field and every setting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airflow_provider_achieveit.api.contract import UpdateField
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.dag_runs import run_dag
from tests.docs.blocks import ROOT, blocks
from tests.docs.dags import dag_of

PAGE = (ROOT / "docs" / "push.md").read_text(encoding="utf-8")


def test_its_file_is_pushed(simulator: RunningSimulator, airflow_db: None, tmp_path: Path) -> None:
    source, _ = blocks("docs/push.md", "python")
    rows = 'KPI,Figure,Closing Date,Remark\nfin-margin,0.021,2026-01-31,late\nfin-revenue,"1,000",2026-01-31,\n'
    (tmp_path / "finance.csv").write_text(rows, encoding="utf-8")
    finished = run_dag(dag_of(source.replace("/data", str(tmp_path)), tmp_path))
    assert finished.state == "success"
    [batch] = simulator.world.batches
    assert batch.body == b"External ID,Metric Value,As Of Date,Comment\nfin-margin,0.021,2026-01-31,late"
    assert "no comma" in (tmp_path / "finance.rejects.csv").read_text(encoding="utf-8")
    told = finished.xcom("push")
    assert told["rows_read"] == told["rows_submitted"] + told["rows_unchanged"] + told["rows_rejected"]
    assert told["batches"][0].keys() == {"filename", "job_id", "rows", "sha256", "state"}


@pytest.mark.parametrize(("bad", "state"), [("", "success"), ("saf-falls;keine;31.10.2026\n", "failed")])
def test_a_source_that_one_may_not_change(
    bad: str, state: str, simulator: RunningSimulator, airflow_db: None, tmp_path: Path
) -> None:
    [source] = blocks("docs/push.md", "python", "A source that you may not change")
    rows = f"Kennzahl;Wert;Stichtag;für wen\nfin-margin;16,4 %;31.10.2026;\npat-nps;1.047,5;31.10.2026;\n{bad}"
    (tmp_path / "kennzahlen.csv").write_text(rows, encoding="cp1252")
    assert run_dag(dag_of(source.replace("/data", str(tmp_path)), tmp_path)).state == state
    assert [batch.body.splitlines()[1:] for batch in simulator.world.batches] == (
        [] if bad else [[b"fin-margin,0.164,2026-10-31", b"pat-nps,1047.5,2026-10-31"]]
    )


def test_every_field_is_told() -> None:
    below = PAGE.partition("## Which column is which field")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", below, re.MULTILINE) == [field.value for field in UpdateField]
