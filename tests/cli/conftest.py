"""Commands run in this process, as ``python -m airflow_provider_achieveit`` runs them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_achieveit.__main__ import main
from tests.airflow_versions import NEWEST


@dataclass
class Ended:
    """A command that has ended.

    :param code: its exit code.
    :param out: what it wrote to standard output.
    :param err: what it wrote to standard error.
    """

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """All of standard output, as the one JSON document that it must be."""
        found: dict[str, Any] = json.loads(self.out)
        return found


def own(told: str) -> str:
    """Return what a command itself says: an older Airflow tells beside it of its own parts."""
    airflow = r".*(?:site-packages/airflow/.*Warning: |\{providers_manager\.py:\d+\} WARNING - |\[alembic\.).*\n"
    return told if NEWEST else re.sub(airflow, "", told)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Ended]:
    """Run a command in an empty directory of its own."""
    # What a command sets for its process must not outlive the test.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    monkeypatch.delenv("_AIRFLOW_PROCESS_CONTEXT")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert isinstance(ended.value.code, int)
        printed = capsys.readouterr()
        return Ended(ended.value.code, printed.out, own(printed.err))

    return run
