"""docs/runbook.md has every error, and the words and lines that it quotes are those of the package."""

from __future__ import annotations

import re
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_achieveit import exceptions
from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.dag_runs import run_dag
from tests.docs.blocks import ROOT, blocks

PAGE = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
PARTS = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", PAGE, re.MULTILINE))
ERRORS = {
    name: error
    for name, error in vars(exceptions).items()
    if isinstance(error, type)
    and issubclass(error, exceptions.AchieveItError)
    and error is not exceptions.AchieveItError
}
SOURCES = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "airflow_provider_achieveit").rglob("*.py"))
# A text that goes on in the next line is one.
TEXTS = re.sub(r'"\s*\n\s*f?"', "", SOURCES)


def quoted(part: str) -> list[str]:
    """Return what the first column of the table in a part quotes."""
    rows = [line for line in PARTS[part].splitlines() if line.startswith("| `")]
    return [text for row in rows for text in re.findall(r"`([^`]+)`", row.split(" | ")[0])]


def test_every_error_has_its_part() -> None:
    listed = re.findall(r"^\| \[`(\w+)`\]", PAGE, re.MULTILINE)
    assert listed == [part for part in PARTS if part in vars(exceptions)]
    assert set(listed) == set(ERRORS)


@pytest.mark.parametrize("name", ERRORS)
def test_a_part_says_what_it_means_where_to_look_what_to_do_and_whether_a_clear_is_safe(name: str) -> None:
    words = ["**Means.**", "**Clear:**"]
    table_instead = name in ("AchieveItRequestError", "AchieveItLoadRefusedError")
    words += ["| the message holds | do |"] if table_instead else ["**Look at.**", "**Do.**"]
    assert [word for word in words if word not in PARTS[name]] == []


@pytest.mark.parametrize("name", ERRORS)
def test_what_airflow_retries_is_what_the_table_says(name: str) -> None:
    [retried] = re.findall(rf"^\| \[`{name}`\]\S+ \| .+ \| (yes|no) \| .+ \|$", PAGE, re.MULTILINE)
    assert (retried == "no") == issubclass(ERRORS[name], AirflowFailException)


@pytest.mark.parametrize("part", ["AchieveItRequestError", "AchieveItLoadRefusedError", "Lines worth an alert"])
def test_what_is_quoted_is_what_the_package_says(part: str) -> None:
    found = quoted(part)
    assert found
    # A number of the page stands for any, an ellipsis for what is other each time.
    missing = [
        text for text in found for piece in text.split("…") if re.sub(r"\d+", "%d", piece) not in TEXTS + "404 429"
    ]
    assert missing == []


def test_its_questions_are_answered_by_a_ledger(simulator: RunningSimulator, airflow_db: None, warehouse: Any) -> None:
    good = {"external_id": "pat-nps", "status": "On Track", "metric_value": 1, "as_of_date": "2026-01-05"}
    with DAG("push_kpis", schedule=None) as dag:
        AchieveItSubmitProgressUpdatesOperator(
            task_id="push",
            rows=[good, {**good, "status": "On Trakc"}],
            on_invalid="skip",
            ledger_conn_id="warehouse",
        )
    finished = run_dag(dag)
    [batches] = blocks("docs/runbook.md", "sql", "Runbook: a task has failed")[:1]
    [rejects] = blocks("docs/runbook.md", "sql", "AchieveItInvalidRowsError")
    here = {"manual__2026-11-16": finished.dag_run.run_id}
    [batch] = warehouse.get_records(batches.replace(*next(iter(here.items()))))
    assert batch[2].endswith(".csv")
    assert batch[4] == "applied"
    [reject] = warehouse.get_records(rejects.replace(*next(iter(here.items()))))
    assert reject[:3] == (2, "status", "On Trakc")
