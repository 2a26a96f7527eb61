"""The AchieveIt of a cluster: the simulator over TLS, as a process of its own, and what it saw."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import requests

from tests.cluster.programs import ROOT, Programs, until

PLAN = "c1a5e0d2-0000-4000-8000-00000000000c"
ITEMS = 60


class AchieveIt:
    """A running simulator.

    :param programs: starts it.
    :param directory: where its CA goes.
    """

    def __init__(self, programs: Programs, directory: Path) -> None:
        self.ca_file = directory / "ca.pem"
        command = [sys.executable, "-m", "airflow_provider_achieveit.simulator", "--port", "0", "--tls"]
        command += ["--ca-file", str(self.ca_file), "--job-seconds", "0"]
        program = programs.start("achieveit", command, {**os.environ, "PYTHONPATH": str(ROOT)})
        found = until(
            lambda: program.check() or re.search(r"https://\S+:(\d+)", program.output()),
            seconds=60,
            what="the simulator tells its address",
        )
        self.port = int(found[1])
        self.url = f"https://127.0.0.1:{self.port}"
        key = until(lambda: re.search(r"API key:\s+(\S+)", program.output()), seconds=10, what="it tells its key")
        self._key = key[1]
        self._control = requests.Session()
        self._control.verify = str(self.ca_file)
        self._control.trust_env = False
        items = [{"externalId": f"kpi-{number}", "hasMetric": True} for number in range(ITEMS)]
        self.put_plan(PLAN, {"name": "Cluster", "items": items})

    def put_plan(self, plan_id: str, described: dict[str, Any]) -> None:
        """Make a plan (see :mod:`airflow_provider_achieveit.simulator.control`)."""
        self._ask("PUT", f"plans/{plan_id}", described)

    def plan(self, plan_id: str) -> dict[str, Any]:
        """Return a plan with all its items and their histories."""
        return dict(self._ask("GET", f"plans/{plan_id}"))

    def change_plan(self, plan_id: str, *changes: str) -> None:
        """Change a plan as people would (see :data:`airflow_provider_achieveit.simulator.seed_data.CHANGES`)."""
        self._ask("POST", f"plans/{plan_id}/mutate", {"changes": changes})

    def add_user(self, name: str, plan_id: str) -> str:
        """Let somebody in who may see and update one plan only; return the new key."""
        key = secrets.token_urlsafe(24)
        self._ask("PUT", "users", {**self._ask("GET", "users"), key: {"name": name, "plans": [plan_id]}})
        return key

    def connection(self, port: int | None = None, *, key: str | None = None, **extra: Any) -> str:
        """Return an Airflow connection to it.

        :param port: of a gate before it (default: its own).
        :param key: of a user (default: of one who sees everything).
        :param extra: further fields of the connection's extra.
        """
        host = f"https://127.0.0.1:{port or self.port}"
        extra = {"verify": str(self.ca_file), **extra}
        return json.dumps({"conn_type": "achieveit", "host": host, "password": key or self._key, "extra": extra})

    def hold_jobs(self, name: str | None = None) -> None:
        """From now on jobs are said to be in the queue still: every one, or those of batches named so."""
        which = f"({'|'.join(self.jobs(name))})" if name else ""
        self.add_fault({"kind": "status", "method": "GET", "path": f"/status/{which}", "status": 202, "times": None})

    def add_fault(self, rule: dict[str, Any]) -> None:
        """Let something go wrong (see :mod:`airflow_provider_achieveit.simulator.faults`)."""
        self._ask("POST", "faults", rule)

    def let_go(self) -> None:
        """End all faults: jobs tell how they ended, and nothing goes wrong any more."""
        self._ask("DELETE", "faults")

    def posts(self, name: str) -> int:
        """Count the POSTs of batches whose filename begins so; every one counts, answered or not."""
        return sum(
            request["method"] == "POST" and request["path"].rpartition("/")[2].startswith(name)
            for request in self._ask("GET", "log")
        )

    def requests(self, begin: datetime, end: datetime) -> list[dict[str, Any]]:
        """Return all requests that came in some time."""
        return [
            request
            for request in self._ask("GET", "log")
            if begin <= datetime.fromisoformat(request["received_at"]) <= end
        ]

    def forget_requests(self) -> None:
        """Begin a new log of requests: a long one takes its time to read."""
        self._ask("DELETE", "log")

    def jobs(self, name: str) -> list[str]:
        """Return the ids of the jobs of batches whose filename begins so."""
        return [job["job_id"] for job in self._ask("GET", "jobs") if job["filename"].startswith(name)]

    def looked_at(self, name: str) -> bool:
        """Tell whether somebody has asked for the state of every such job, and there are some."""
        paths = [request["path"] for request in self._ask("GET", "log")]
        asked = {path.rpartition("/")[2] for path in paths if "/status/" in path}
        jobs = self.jobs(name)
        return bool(jobs) and set(jobs) <= asked

    def most_open_jobs(self, name: str) -> int:
        """Return how many jobs of such batches were open at once at most: submitted, and not yet told to be applied."""
        jobs = {f"/status/{job}" for job in self.jobs(name)}
        open_jobs = most = 0
        for request in self._ask("GET", "log"):
            if request["method"] == "POST" and request["path"].rpartition("/")[2].startswith(name):
                open_jobs += 1
            elif request["status"] == 200 and any(request["path"].endswith(job) for job in jobs):
                open_jobs -= 1
            most = max(most, open_jobs)
        return most

    def applied(self, name: str) -> Counter[str]:
        """Return how often each update of such batches is in the histories of the plan's items, by its comment."""
        return Counter(
            entry["comment"]
            for item in self.plan(PLAN)["items"]
            for entry in item["history"]
            if entry["filename"].startswith(name)
        )

    def _ask(self, method: str, what: str, body: Any = None) -> Any:
        answer = self._control.request(method, f"{self.url}/_simulator/{what}", json=body, timeout=30)
        assert answer.ok, f"{method} {what}: {answer.status_code} {answer.text}"
        return answer.json()
