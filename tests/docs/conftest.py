"""What the tests of pages share: a person's terminal, and a warehouse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import BaseHook

from tests.cli.conftest import Ended
from tests.cli.conftest import run as run
from tests.docs.terminal import Terminal


@pytest.fixture
def terminal(run: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal in an empty directory; what it exports ends with the test."""
    terminal = Terminal(tmp_path, run, monkeypatch.setenv)
    yield terminal
    terminal.stop()


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The hook of the connection ``warehouse``, an empty SQLite database."""
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "warehouse.db")}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))
    return BaseHook.get_connection("warehouse").get_hook()
