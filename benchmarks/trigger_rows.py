"""Deferred tasks in Airflow's own database, each with the trigger that a provider's operator would have left there.

    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=... python benchmarks/trigger_rows.py provider --port 8443 --ca-file ca.pem

Commands are lines of JSON on the standard input, each answered by a line; see :func:`commands`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseOperator
from airflow.triggers.base import BaseTrigger

DAG_ID = TASK_ID = "waiting"
RUN_ID = "benchmark"
WAIT = 7 * 86_400.0
MakeTrigger = Callable[[Sequence[int], float], BaseTrigger]
Way = tuple[dict[str, Any], MakeTrigger]


def job_id(job: int) -> str:
    """Return the id of a job as AchieveIt writes it."""
    return f"00000000-0000-4000-8000-{job:012}"


def provider(options: argparse.Namespace) -> Way:
    from airflow_provider_achieveit.triggers.job import AchieveItJobTrigger

    def trigger(jobs: Sequence[int], poll_interval: float) -> BaseTrigger:
        ids = [job_id(job) for job in jobs]
        return AchieveItJobTrigger(job_ids=ids, deadline=time.time() + WAIT, poll_interval=poll_interval)

    extra = json.dumps({"verify": options.ca_file})
    host = f"https://127.0.0.1:{options.port}"
    return {"conn_id": "achieveit_default", "conn_type": "achieveit", "host": host, "extra": extra}, trigger


def dbt_cloud(options: argparse.Namespace) -> Way:
    from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

    def trigger(jobs: Sequence[int], poll_interval: float) -> Any:
        end = time.time() + WAIT
        return DbtCloudRunJobTrigger("dbt_cloud_default", jobs[0], end, poll_interval, account_id=1)

    host = f"127.0.0.1:{options.port}"
    return {"conn_id": "dbt_cloud_default", "conn_type": "dbt_cloud", "login": "1", "host": host}, trigger


def databricks(options: argparse.Namespace) -> Way:
    from airflow.providers.databricks.triggers.databricks import DatabricksExecutionTrigger

    def trigger(jobs: Sequence[int], poll_interval: float) -> Any:
        return DatabricksExecutionTrigger(
            jobs[0], "databricks_default", polling_period_seconds=poll_interval, run_page_url="https://127.0.0.1/"
        )

    where = {"host": "127.0.0.1", "port": options.port}
    return {"conn_id": "databricks_default", "conn_type": "databricks", "login": "token", **where}, trigger


WAYS: dict[str, Callable[[argparse.Namespace], Way]] = {
    "provider": provider,
    "dbt-cloud": dbt_cloud,
    "databricks": databricks,
}


class Rows:
    """The DAG, its run, and the deferred tasks.

    :param connection: the connection that the triggers look up.
    :param make_trigger: makes the trigger that waits for some jobs.
    """

    def __init__(self, connection: dict[str, Any], make_trigger: Callable[[Sequence[int], float], BaseTrigger]) -> None:
        from airflow.models import Connection
        from airflow.utils.session import create_session

        self._make_trigger = make_trigger
        self._dag_version, self._task, self._run = _registered()
        with create_session() as session:
            session.add(Connection(**connection, password="benchmark-key-of-nobody"))

    def watch(self, path: str, max_sockets: int | None) -> None:
        """Defer a task on the trigger that measures the event loop."""
        from loop_lag import LoopLagTrigger

        self._defer({0: LoopLagTrigger(path, max_sockets)})

    def wait(self, groups: Sequence[Sequence[int]], poll_interval: float) -> None:
        """Defer a task for each group of jobs; its map index is the first of them."""
        self._defer({jobs[0]: self._make_trigger(jobs, poll_interval) for jobs in groups})

    def _defer(self, triggers: dict[int, BaseTrigger]) -> None:
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.trigger import Trigger
        from airflow.utils.session import create_session
        from airflow.utils.state import TaskInstanceState

        with create_session() as session:
            rows = {index: Trigger.from_object(trigger) for index, trigger in triggers.items()}
            session.add_all(rows.values())
            session.flush()
            deferred = {"state": TaskInstanceState.DEFERRED, "next_method": "execute_complete", "next_kwargs": {}}
            session.bulk_insert_mappings(
                TaskInstance,
                [
                    TaskInstance.insert_mapping(
                        RUN_ID, self._task, index, dag_version_id=self._dag_version, dag_run=self._run
                    )
                    | deferred
                    | {"trigger_id": row.id, "try_number": 1}
                    for index, row in rows.items()
                ],
            )

    def resumed(self) -> dict[int, float]:
        """Return when each task was told to go on, in seconds since the epoch, by map index."""
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session
        from airflow.utils.state import TaskInstanceState
        from sqlalchemy import select

        which = select(TaskInstance.map_index, TaskInstance.scheduled_dttm).where(
            TaskInstance.dag_id == DAG_ID, TaskInstance.state == TaskInstanceState.SCHEDULED
        )
        with create_session() as session:
            return {index: moment.timestamp() for index, moment in session.execute(which) if moment}


def _registered() -> tuple[Any, Any, Any]:
    """Make a DAG with a run, as Airflow does when it has parsed one; return its version, its task and the run."""
    from airflow._shared.timezones import timezone
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.models.dag_version import DagVersion
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    with DAG(DAG_ID, schedule=None) as dag:
        task = BaseOperator(task_id=TASK_ID)
    DagBundlesManager().sync_bundles_to_db()
    bag = BundleDagBag(dag_folder=os.devnull, bundle_path=Path(os.devnull), bundle_name="dags-folder")
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
    with create_session() as session:
        version = DagVersion.get_latest_version(DAG_ID, session=session)
        assert version is not None
        run = DagRun(
            dag_id=DAG_ID,
            run_id=RUN_ID,
            run_type=DagRunType.MANUAL,
            run_after=timezone.utcnow(),
            start_date=timezone.utcnow(),
            state=DagRunState.RUNNING,
            triggered_by=DagRunTriggeredByType.TEST,
        )
        run.created_dag_version_id = version.id
        session.add(run)
        session.flush()
        session.expunge(run)
        return version.id, task, run


def commands(rows: Rows) -> None:
    """Do what the lines of the standard input say: ``watch``, ``wait``, ``resumed``."""
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(getattr(rows, name)(**arguments)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Defer tasks.")
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ca-file", required=True)
    options = parser.parse_args()
    rows = Rows(*WAYS[options.way](options))
    print("{}", flush=True)
    commands(rows)


if __name__ == "__main__":
    main()
