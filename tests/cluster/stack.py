"""A whole Airflow on this machine: every component a process of its own, with CeleryExecutor, Redis and PostgreSQL."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psycopg2
import requests

from tests.cluster import programs as running
from tests.cluster.programs import ROOT, Program, Programs
from tests.postgres import POSTGRES_URL
from tests.sockets import free_port

_T = TypeVar("_T")
DAGS = Path(__file__).parent / "dags"
WORKERS = 2
ENDED = {"success", "failed", "skipped", "upstream_failed", "removed"}


class Cluster:
    """Airflow's API server, scheduler, DAG processor, triggerer and Celery workers, while the block lasts.

    All listen on loopback only, keys and passwords are random. Three databases are made in the server of
    ``TEST_POSTGRES_URL`` and dropped at the end: Airflow's own, one for a ledger and one for a warehouse (connections
    ``ledger`` and ``warehouse``). A worker that is gone is noticed after 15 s, a triggerer after 6 s.

    :param programs: starts and ends the components.
    :param directory: their files.
    :param connections: Airflow connections by id.
    """

    def __init__(self, programs: Programs, directory: Path, connections: Mapping[str, str]) -> None:
        self._programs = programs
        self._home = directory / "airflow"
        self._home.mkdir(mode=0o700)
        self._port, self._redis_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.password = secrets.token_urlsafe(24)
        self._redis_password = secrets.token_urlsafe(24)
        name = f"achieveit_cluster_{secrets.token_hex(4)}"
        self.databases = {which: f"{name}_{which}" for which in ("airflow", "ledger", "warehouse")}
        own = {which: self._database_connection(which) for which in ("ledger", "warehouse")}
        self.environment = self._environment({**connections, **own})
        self._workers_started = 0
        self._workers: list[Program] = []
        self._session = requests.Session()
        self._session.trust_env = False
        self.parts: dict[str, Program] = {}

    # --- Components ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all and wait until they work."""
        self._make_databases()
        self._start_redis()
        self._programs.run("migrate", _airflow("db", "migrate"), self.environment)
        for part in ("api-server", "scheduler", "dag-processor", "triggerer"):
            self.start_part(part)
        self.start_workers()
        self.until(self._all_healthy, seconds=120, what="all components are healthy")
        for worker in self._workers:
            self.until(lambda worker=worker: "ready." in worker.output(), seconds=120, what="a worker is ready")

    def start_part(self, part: str) -> None:
        """Start a component, for the first time or again."""
        options = {
            "api-server": ["--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"],
            # What these serve logs on is open to all the world.
            "scheduler": ["--skip-serve-logs"],
            "triggerer": ["--skip-serve-logs"],
        }
        self.parts[part] = self._programs.start(part, _airflow(part, *options.get(part, [])), self.environment)

    def start_workers(self) -> None:
        """Start the Celery workers; later ones take over from those that were killed."""
        for _ in range(WORKERS):
            self._workers_started += 1
            name = f"w{self._workers_started}"
            command = _airflow("celery", "worker", "--skip-serve-logs", "--without-gossip", "--without-mingle")
            command += ["--celery-hostname", f"{name}@%h", "--pid", str(self._home / f"{name}.pid")]
            self._workers.append(self._programs.start(f"worker-{name}", command, self.environment))

    def kill_workers(self) -> None:
        """SIGKILL to all workers, as when their machines are gone."""
        while self._workers:
            self._workers.pop().kill()

    def kill_task(self, task: Mapping[str, Any]) -> None:
        """SIGKILL to the process of a running task instance, in whichever worker it is; fail if there is none."""
        killed = [worker.kill_children(f"airflow worker -- {task['id']}") for worker in self._workers]
        assert any(killed), f"no worker runs {task['task_id']}"

    def database_url(self, which: str) -> str:
        """Return where a database is: ``airflow``, ``ledger`` or ``warehouse``."""
        return urlsplit(POSTGRES_URL)._replace(path=f"/{self.databases[which]}").geturl()

    def _make_databases(self) -> None:
        connection = psycopg2.connect(POSTGRES_URL, connect_timeout=5)
        connection.autocommit = True
        for name in self.databases.values():
            self._programs.drop_at_end(name)
            connection.cursor().execute(f'create database "{name}"')
        connection.close()

    def _database_connection(self, which: str) -> str:
        url = urlsplit(self.database_url(which))
        given = {"host": url.hostname, "port": url.port, "login": url.username, "password": url.password}
        return json.dumps({"conn_type": "postgres", "schema": self.databases[which], **given})

    def _start_redis(self) -> None:
        server = shutil.which("redis-server")
        assert server
        settings = self._home / "redis.conf"
        settings.touch(mode=0o600)
        settings.write_text(
            f'bind 127.0.0.1\nport {self._redis_port}\nsave ""\nappendonly no\nrequirepass {self._redis_password}\n'
            f"dir {self._home}\n"
        )
        redis = self._programs.start("redis", [server, str(settings)], self.environment)
        self.until(lambda: "Ready to accept connections" in redis.output(), seconds=30, what="Redis is ready")

    def _environment(self, connections: Mapping[str, str]) -> dict[str, str]:
        passwords = self._home / "passwords.json"
        passwords.touch(mode=0o600)
        passwords.write_text(json.dumps({"admin": self.password}))
        database = urlsplit(self.database_url("airflow"))._replace(scheme="postgresql+psycopg2").geturl()
        settings = {
            "CORE__EXECUTOR": "CeleryExecutor",
            "CORE__DAGS_FOLDER": str(DAGS),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "API__BASE_URL": self.url,
            "API__SECRET_KEY": secrets.token_urlsafe(32),
            "API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
            "DATABASE__SQL_ALCHEMY_CONN": database,
            "CELERY__BROKER_URL": f"redis://:{self._redis_password}@127.0.0.1:{self._redis_port}/0",
            "CELERY__RESULT_BACKEND": f"db+{database}",
            "CELERY__CELERY_CONFIG_OPTIONS": "tests.cluster.celery_settings.SETTINGS",
            "CELERY__WORKER_CONCURRENCY": "8",
            "LOGGING__BASE_LOG_FOLDER": str(self._home / "logs"),
            # Whatever dies is to be noticed soon.
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
            "SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
            "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
            "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
            "TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            # The files do not change: no core is spent on reading them again.
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
        }
        own = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        return {
            **own,
            **{f"AIRFLOW__{name}": value for name, value in settings.items()},
            **{f"AIRFLOW_CONN_{name.upper()}": value for name, value in connections.items()},
            "AIRFLOW_HOME": str(self._home),
            "PYTHONPATH": str(ROOT),
            "NO_PROXY": "localhost,127.0.0.1",
            "no_proxy": "localhost,127.0.0.1",
        }

    def _all_healthy(self) -> bool:
        try:
            health = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=5).json()
        except (requests.RequestException, ValueError):
            return False
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all((health.get(part) or {}).get("status") == "healthy" for part in parts)

    # --- Runs ---------------------------------------------------------------------------------------------------------

    def run(self, dag_id: str) -> Run:
        """Start a run of a DAG, as soon as Airflow has parsed it."""
        self.wait_for_dag(dag_id)
        run_id = f"r{secrets.token_hex(3)}"
        self.ask("POST", f"dags/{dag_id}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": {}})
        return Run(self, dag_id, run_id)

    def wait_for_dag(self, dag_id: str) -> None:
        """Wait until Airflow has parsed a DAG."""
        self.until(lambda: self.ask("GET", f"dags/{dag_id}", may_fail=True), seconds=120, what=f"{dag_id} is parsed")

    def ask(self, method: str, path: str, body: Any = None, *, may_fail: bool = False) -> Any:
        """Call Airflow's REST API and return its answer; with ``may_fail`` None where it gives none."""
        try:
            if "Authorization" not in self._session.headers:
                given = {"username": "admin", "password": self.password}
                token = self._session.post(f"{self.url}/auth/token", json=given, timeout=30).json()["access_token"]
                self._session.headers["Authorization"] = f"Bearer {token}"
            answer = self._session.request(method, f"{self.url}/api/v2/{path}", json=body, timeout=30)
        except requests.RequestException:
            if may_fail:
                return None
            raise
        if may_fail and not answer.ok:
            return None
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def until(self, look: Callable[[], _T], *, seconds: float, what: str) -> _T:
        """As :func:`.programs.until`; fails at once when a component has ended by itself."""

        def careful() -> _T:
            self._programs.check()
            return look()

        return running.until(careful, seconds=seconds, what=what)

    def log(self, run: Run, task_id: str) -> str:
        """Return all that the tries of a task, and their triggers, have written."""
        base = self._home / "logs" / f"dag_id={run.dag_id}" / f"run_id={run.run_id}" / f"task_id={task_id}"
        return "\n".join(
            file.read_text(encoding="utf-8", errors="replace") for file in sorted(base.rglob("*")) if file.is_file()
        )


class Run:
    """A DAG run.

    :param cluster: where it runs.
    """

    def __init__(self, cluster: Cluster, dag_id: str, run_id: str) -> None:
        self.cluster, self.dag_id, self.run_id = cluster, dag_id, run_id

    def name(self, task_id: str) -> str:
        """Return how the filenames of a task's batches begin."""
        return f"{self.dag_id}.{task_id}.{self.run_id}."

    def tasks(self) -> list[dict[str, Any]]:
        """Return the task instances; none where the API server does not answer."""
        found: list[dict[str, Any]] = []
        while True:
            path = f"dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances?limit=100&offset={len(found)}&order_by=id"
            page = (self.cluster.ask("GET", path, may_fail=True) or {"task_instances": []})["task_instances"]
            found += page
            if len(page) < 100:
                return found

    def task(self, task_id: str) -> dict[str, Any]:
        """Return a task instance that is not mapped."""
        path = f"dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}"
        return dict(self.cluster.ask("GET", path))

    def wait(self, task_id: str, state: str, seconds: float = 60) -> None:
        """Wait until all instances of a task are in a state; fail when they have ended in another one."""

        def look() -> bool:
            states = {str(task["state"]) for task in self.tasks() if task["task_id"] == task_id}
            ended_otherwise = states and states <= ENDED and states != {state}
            assert not ended_otherwise, f"{self.dag_id}.{task_id} is {states}:\n{self.log(task_id)[-4000:]}"
            return states == {state}

        self.cluster.until(look, seconds=seconds, what=f"{self.dag_id}.{task_id} is {state}")

    def ended(self, seconds: float = 120) -> dict[str, str]:
        """Wait until all tasks (none of them mapped) have ended, and return their states."""

        def look() -> dict[str, str]:
            states = {task["task_id"]: str(task["state"]) for task in self.tasks()}
            return states if states and set(states.values()) <= ENDED else {}

        return self.cluster.until(look, seconds=seconds, what=f"all tasks of {self.dag_id} have ended")

    def log(self, task_id: str) -> str:
        """Return all that the tries of a task, and their triggers, have written."""
        return self.cluster.log(self, task_id)

    def mark(self, task_id: str, state: str) -> None:
        """Mark a task, as a person does."""
        path = f"dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}"
        self.cluster.ask("PATCH", path, {"new_state": state})

    def write_state(self, task_id: str, key: str, value: Any) -> None:
        """Correct an entry of the task state store, as a person does."""
        path = f"dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}/state-store/{key}"
        self.cluster.ask("PATCH", path, {"value": value})

    def clear(self, task_id: str) -> None:
        """Clear a task, as a person does."""
        body = {"dry_run": False, "dag_run_id": self.run_id, "task_ids": [task_id], "only_failed": False}
        self.cluster.ask("POST", f"dags/{self.dag_id}/clearTaskInstances", {**body, "reset_dag_runs": True})


def _airflow(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *arguments]
