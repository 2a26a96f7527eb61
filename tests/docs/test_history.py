"""What docs/history.md tells to type."""

from __future__ import annotations

import configparser
from pathlib import Path

from airflow_provider_achieveit.get_provider_info import get_provider_info
from airflow_provider_achieveit.stores.records import BatchState
from tests.docs.blocks import blocks
from tests.history.writing import Written, reject
from tests.stores.conftest import database_url
from tests.stores.databases import Database


def test_its_settings_are_those_of_the_provider() -> None:
    [settings] = blocks("docs/history.md", "ini")
    parser = configparser.ConfigParser()
    parser.read_string(settings)
    options = get_provider_info()["config"]["achieveit"]["options"]
    assert set(parser["achieveit"]) == set(options)
    assert parser["achieveit"]["ledger_table"] == options["ledger_table"]["default"]


def test_its_sql_runs(tmp_path: Path) -> None:
    database = Database(database_url("postgresql+psycopg2", tmp_path))
    try:
        states = [BatchState.APPLIED, BatchState.FAILED, BatchState.QUEUED]
        Written(database.url, database.table).run("push", states, rejects=[reject()])
        found = []
        with database.engine().begin() as connection:
            for block in blocks("docs/history.md", "sql"):
                for statement in filter(str.strip, block.replace("achieveit_submissions", database.table).split(";")):
                    result = connection.exec_driver_sql(statement)
                    found.append(len(result.fetchall()) if result.returns_rows else None)
        assert found == [None, None, 1, 1, 3]
    finally:
        database.drop()
