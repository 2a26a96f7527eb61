"""One way to bring a plan into PostgreSQL, timed in a process of its own; see export.py.

    python benchmarks/export_ways.py provider --url ... --database ... --schema ... --plan ...

Prints the seconds of the load alone (without starting and importing) and the most memory the process ever had.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

API_KEY = "benchmark"
PAGE = 1500
AUTHORIZATION = {"Authorization": f"API-KEY {API_KEY}"}
Load = Callable[[], None]


def provider(options: argparse.Namespace) -> Load:
    """The operator, as a task runs it."""
    os.environ["AIRFLOW_CONN_ACHIEVEIT_DEFAULT"] = json.dumps(
        {"conn_type": "achieveit", "password": API_KEY, "host": options.url, "extra": {"allow_http": True}}
    )
    os.environ["AIRFLOW_CONN_WAREHOUSE"] = options.database
    import airflow_provider_achieveit.api.client
    import airflow_provider_achieveit.warehouse.load  # noqa: F401
    from airflow_provider_achieveit.operators.export import AchieveItExportPlanOperator

    operator = AchieveItExportPlanOperator(
        task_id="export",
        plan_id=options.plan,
        conn_id="warehouse",
        schema=options.schema,
        parallel_pages=options.parallel_pages,
    )
    return lambda: print(operator.execute({}))


def limit(options: argparse.Namespace) -> Load:
    """The same bytes fetched, decoded by msgspec and written by one COPY into one table of text columns."""
    import msgspec
    import psycopg2
    import requests

    from airflow_provider_achieveit.api.contract import CHILD_FIELDS, ITEM_FIELDS
    from airflow_provider_achieveit.warehouse.databases.postgres import copy_text

    names = [*ITEM_FIELDS, *CHILD_FIELDS]
    encode = msgspec.json.Encoder().encode

    def texts(item: dict[str, Any]) -> tuple[str | None, ...]:
        values = map(item.get, names)
        return tuple(value if value is None or type(value) is str else encode(value).decode() for value in values)

    class Pages:
        """What COPY reads: the pages of the plan, one after the other."""

        def __init__(self) -> None:
            self.pages, self.rest = self._pages(), b""

        def _pages(self) -> Iterator[bytes]:
            with requests.Session() as session:
                for items in _pages(session, options, msgspec.json.decode):
                    yield copy_text(list(map(texts, items)))

        def read(self, size: int) -> bytes:
            if not self.rest:
                self.rest = next(self.pages, b"")
            piece, self.rest = self.rest[:size], self.rest[size:]
            return piece

    def load() -> None:
        with psycopg2.connect(options.database) as connection, connection.cursor() as cursor:
            columns = ", ".join(f'"{name}" text' for name in names)
            cursor.execute(f'CREATE TABLE "{options.schema}".plan_items ({columns})')
            cursor.copy_expert(f'COPY "{options.schema}".plan_items FROM STDIN', Pages(), 2**20)

    return load


def pandas(options: argparse.Namespace) -> Load:
    """All pages with requests, json_normalize for the items and for each list, to_sql."""
    import pandas as pd
    import requests
    import sqlalchemy

    lists = ("members", "admins", "tags", "advancedMetricGoals", "checklists")

    def load() -> None:
        with requests.Session() as session:
            items = [item for page in _pages(session, options, json.loads) for item in page]
        frames = {"plan_items": pd.json_normalize(items).drop(columns=list(lists))}
        for name in lists:
            frames[f"plan_items_{name}"] = pd.json_normalize(items, name, "id", meta_prefix="item_")
        frames["plan_items_checklists"] = frames["plan_items_checklists"].drop(columns="items")
        frames["plan_items_checklist_items"] = pd.json_normalize(
            items, ["checklists", "items"], ["id", ["checklists", "id"]], meta_prefix="item_"
        )
        engine = sqlalchemy.create_engine(options.database)
        with engine.begin() as connection:
            for name, frame in frames.items():
                frame.to_sql(name, connection, schema=options.schema, index=False)

    return load


def dlt(options: argparse.Namespace) -> Load:
    """dlt's REST API source with its defaults, told what the API's documents tell."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    # It asks for a password even where the server does not; one in the URL wins.
    os.environ["DESTINATION__POSTGRES__CREDENTIALS__PASSWORD"] = "none"
    import dlt as library
    from dlt.sources.rest_api import rest_api_source

    source = rest_api_source(
        {
            "client": {
                "base_url": options.url,
                "headers": AUTHORIZATION,
                "paginator": {
                    "type": "offset",
                    "limit": PAGE,
                    "offset_param": "skip",
                    "limit_param": "take",
                    "total_path": "totalCount",
                },
            },
            "resources": [
                {
                    "name": "plan_items",
                    "primary_key": "id",
                    "write_disposition": "replace",
                    "endpoint": {
                        "path": f"exports/plans/{options.plan}",
                        "params": {"sortKey": "sequenceId"},
                        "data_selector": "items",
                    },
                }
            ],
        }
    )

    def load() -> None:
        with tempfile.TemporaryDirectory() as home:
            pipeline = library.pipeline(
                "achieveit",
                pipelines_dir=home,
                destination=library.destinations.postgres(options.database),
                dataset_name=options.schema,
            )
            print(pipeline.run(source))

    return load


def _pages(session: Any, options: argparse.Namespace, decode: Callable[[bytes], Any]) -> Iterator[list[dict[str, Any]]]:
    """Yield the items of each page, as a loop that trusts the server would read them."""
    skip, total = 0, 1
    while skip < total:
        params = {"skip": skip, "take": PAGE, "sortKey": "sequenceId"}
        url = f"{options.url}/exports/plans/{options.plan}"
        page = decode(session.get(url, params=params, headers=AUTHORIZATION).content)
        skip, total = skip + PAGE, page["totalCount"]
        yield page["items"]


WAYS: dict[str, Callable[[argparse.Namespace], Load]] = {
    "provider": provider,
    "limit": limit,
    "pandas": pandas,
    "dlt": dlt,
}


def peak_megabytes() -> float:
    """Return the most memory this process ever had; getrusage would tell that of its parent, if that had more."""
    told = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(told.split()[1]) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description="Load one plan in one way.")
    parser.add_argument("way", choices=WAYS)
    for name in ("url", "database", "schema", "plan"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--parallel-pages", type=int, default=4)
    options = parser.parse_args()
    load = WAYS[options.way](options)
    began = time.perf_counter()
    load()
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "peak": peak_megabytes(), "cpu": time.process_time()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
