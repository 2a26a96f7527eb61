"""A local AchieveIt that has plans of given sizes and costs little: every item is rendered before the first request.

    python benchmarks/plan_server.py --items 1500 --items 100000 [--latency 0.5]

Prints its base URL and the bytes of an item when it is ready; ends when its standard input does.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import msgspec

from airflow_provider_achieveit.simulator.export import escaped
from airflow_provider_achieveit.simulator.seed_data import generated_plan


def plan_id(items: int) -> str:
    """Return the id of the plan that has so many items."""
    return f"00000000-0000-4000-8000-{items:012}"


class RenderedPlan:
    """The items of one plan as JSON, in the orders that are asked for."""

    def __init__(self, items: int) -> None:
        plan = generated_plan(items, seed=7, plan_id=plan_id(items))
        rendered = [msgspec.json.encode(escaped(item.fields)) for item in plan.items]
        by_change = sorted(range(items), key=lambda at: str(plan.items[at].fields["lastUpdated"]))
        self.orders = {"sequenceId": rendered, "lastUpdated": [rendered[at] for at in by_change]}

    def page(self, *, skip: int, take: int, sort_key: str, descending: bool) -> bytes:
        order = self.orders[sort_key]
        items = order[::-1][skip : skip + take] if descending else order[skip : skip + take]
        return b'{"items":[' + b",".join(items) + b'],"totalCount":%d}' % len(order)


def server(sizes: list[int], latency: float) -> ThreadingHTTPServer:
    """Return a server on a free port of this machine; it waits ``latency`` seconds before each answer."""
    plans = {plan_id(size): RenderedPlan(size) for size in sizes}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            time.sleep(latency)
            url = urlsplit(self.path)
            asked = {name: values[-1] for name, values in parse_qs(url.query).items()}
            body = plans[url.path.rpartition("/")[2]].page(
                skip=int(asked["skip"]),
                take=int(asked["take"]),
                sort_key=asked["sortKey"],
                descending=asked.get("sortDirection") == "desc",
            )
            self.send_response(200)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.item_bytes = {size: sum(map(len, plans[plan_id(size)].orders["sequenceId"])) // size for size in sizes}  # type: ignore[attr-defined]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve plans of given sizes.")
    parser.add_argument("--items", type=int, action="append", required=True, help="items of a plan; may be repeated")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer (default 0)")
    options = parser.parse_args()
    with server(options.items, options.latency) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        ready = {"url": f"http://127.0.0.1:{running.server_port}", "item_bytes": running.item_bytes}  # type: ignore[attr-defined]
        print(json.dumps(ready), flush=True)
        sys.stdin.read()
        running.shutdown()


if __name__ == "__main__":
    main()
