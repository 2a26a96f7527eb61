"""That a benchmark still runs, on a small scale; what it measures is nobody's promise here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.airflow_versions import needs_airflow_of_benchmarks

ROOT = Path(__file__).parents[1]


@needs_airflow_of_benchmarks
@pytest.mark.timeout(300)
def test_jobs_wait_in_a_real_triggerer(tmp_path: Path) -> None:
    environment = os.environ | {"TEST_POSTGRES_URL": "postgresql://nobody@127.0.0.1:1/none", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "benchmarks/triggerer.py", "--jobs", "12", "--only-provider", "--poll", "0.5"]
    done = subprocess.run(
        [*command, "--seconds", "2"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = {line[:24].strip(): line[24:].split() for line in done.stdout.splitlines()}
    assert rows["jobs polled"] == ["12"]
    assert rows["ends seen"] == ["3", "of", "3"]
    assert float(rows["task resumed, p95, s"][0]) > 0
    assert "SQLite" in done.stdout
    assert list(tmp_path.iterdir()) == []
