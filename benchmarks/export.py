"""What an export of a plan into PostgreSQL costs, beside the least it can cost and beside what people use otherwise.

    python benchmarks/export.py [--items 100000] [--runs 3] [--dlt-python PATH]

The plan (see plan_server.py) comes from an HTTP server in a process of its own; every load runs in a fresh process (see
export_ways.py) and into a fresh schema, the ways taking turns. Ratios are those of one turn, and their median is
printed. dlt lives in an environment of its own, ``.venv-dlt``, which is made when it is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import uuid
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from plan_server import plan_id

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
DATABASE = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/test")
WAYS = ("limit", "provider", "pandas", "dlt")
SMALL, SLOW, LATENCY = 1_500, 30_000, 0.5
DLT = "dlt[postgres]>=1.20"


class Bench:
    """Runs loads, each in a process and a schema of its own.

    :param dlt_python: the interpreter that has dlt.
    :param home: a directory for Airflow.
    """

    def __init__(self, dlt_python: str, home: str) -> None:
        self.pythons = {"dlt": dlt_python}
        self.environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        }

    @contextmanager
    def server(self, *sizes: int, latency: float = 0.0) -> Iterator[dict[str, Any]]:
        """Run a server; give its base URL and the bytes of an item by the size of the plan."""
        command = [sys.executable, str(HERE / "plan_server.py"), "--latency", str(latency)]
        for size in sizes:
            command += ["--items", str(size)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.environment
        ) as running:
            assert running.stdout is not None
            yield json.loads(running.stdout.readline())
            # Its end of input lets the server go.
            running.communicate()

    def load(self, way: str, url: str, items: int, *options: str) -> dict[str, float]:
        """Load a plan and return the seconds and the megabytes it took.

        :raises RuntimeError: the load failed, or its table does not have the plan's items.
        """
        schema = f"benchmark_{uuid.uuid4().hex[:12]}"
        _execute(f'CREATE SCHEMA "{schema}"')
        try:
            python = self.pythons.get(way, sys.executable)
            command = [python, str(HERE / "export_ways.py"), way, "--url", url, "--database", DATABASE]
            command += ["--schema", schema, "--plan", plan_id(items), *options]
            done = subprocess.run(command, capture_output=True, text=True, env=self.environment, check=False)
            if done.returncode:
                raise RuntimeError(f"{way} failed:\n{done.stdout}{done.stderr}")
            loaded = _execute(f'SELECT count(*) FROM "{schema}".plan_items')
            if loaded != items:
                raise RuntimeError(f"{way} loaded {loaded} of {items} items")
            return dict(json.loads(done.stdout.splitlines()[-1]))
        finally:
            _execute(f'DROP SCHEMA "{schema}" CASCADE')


def _execute(statement: str) -> Any:
    connection = psycopg2.connect(DATABASE)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def compare(bench: Bench, items: int, runs: int, ways: list[str]) -> None:
    """Let the ways take turns, and print how long each took and how that compares to the provider."""
    with bench.server(items) as server:
        print(f"{items:,} items of {server['item_bytes'][str(items)]:,} bytes, median of {runs} run(s)")
        turns = [{way: bench.load(way, server["url"], items)["seconds"] for way in ways} for _ in range(runs)]
    targets = {"limit": "the provider takes {:5.2f} times as long (target: at most 1.8)"}
    targets |= {"dlt": "{:5.2f} times as long as the provider (target: at least 4)"}
    targets |= {"pandas": "{:5.2f} times as long as the provider (target: at least 3)"}
    for way in ways:
        seconds = statistics.median(turn[way] for turn in turns)
        ratio = statistics.median(turn[way] / turn["provider"] for turn in turns)
        told = targets.get(way, "").format(1 / ratio if way == "limit" else ratio)
        print(f"  {way:10} {seconds:8.2f} s   {told}")


def memory(bench: Bench, items: int, runs: int) -> None:
    """Print the most memory a load of a small and of the large plan takes."""
    with bench.server(SMALL, items) as server:
        peaks = {
            size: statistics.median(bench.load("provider", server["url"], size)["peak"] for _ in range(runs))
            for size in (SMALL, items)
        }
    added = peaks[items] - peaks[SMALL]
    print(f"peak memory: {peaks[SMALL]:.0f} MB at {SMALL:,} items, {peaks[items]:.0f} MB at {items:,}:", end=" ")
    print(f"{added:.0f} MB more (target: at most 60)")


def latency(bench: Bench, items: int, runs: int) -> None:
    """Print what pages side by side gain when the server is slow."""
    with bench.server(items, latency=LATENCY) as server:
        turns = [
            {
                pages: bench.load("provider", server["url"], items, "--parallel-pages", pages)["seconds"]
                for pages in "14"
            }
            for _ in range(runs)
        ]
    ratio = statistics.median(turn["4"] / turn["1"] for turn in turns)
    serial, parallel = (statistics.median(turn[pages] for turn in turns) for pages in "14")
    print(
        f"{items:,} items, {LATENCY} s for each answer: {serial:.2f} s one by one, {parallel:.2f} s by four:", end=" "
    )
    print(f"{ratio:.2f} of the time (target: at most 0.35)")


def dlt_environment() -> str:
    """Return the interpreter of an environment with dlt, made where it is missing."""
    home = ROOT / ".venv-dlt"
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", DLT], check=True)
    return str(python)


def main() -> int:
    parser = argparse.ArgumentParser(description="Time the export of a plan into PostgreSQL.")
    parser.add_argument("--items", type=int, default=100_000, help="items of the plan (default 100,000)")
    parser.add_argument("--runs", type=int, default=3, help="turns of all ways (default 3)")
    parser.add_argument("--dlt-python", help="an interpreter that has dlt (default: that of .venv-dlt)")
    parser.add_argument("--only", choices=("compare", "memory", "latency"), action="append", help="default: all")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="what to compare (default: all)")
    options = parser.parse_args()
    parts = options.only or ["compare", "memory", "latency"]
    needs_dlt = "compare" in parts and "dlt" in options.ways
    with tempfile.TemporaryDirectory() as home:
        bench = Bench(options.dlt_python or (dlt_environment() if needs_dlt else ""), home)
        if "compare" in parts:
            compare(bench, options.items, options.runs, options.ways)
        if "memory" in parts:
            memory(bench, options.items, options.runs)
        if "latency" in parts:
            latency(bench, min(options.items, SLOW), options.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
