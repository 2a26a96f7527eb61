"""Run a DAG made in a test with Airflow itself, in this process, and look at what came out."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from tests.airflow_versions import AIRFLOW

TaskLog = Callable[[], str]
"""Returns what the tasks, triggers and callbacks of a test have logged."""


def without_masked(printed: str) -> str:
    """Return what was printed, without the secrets that Airflow 3.0 itself prints of every connection in such a run."""
    return re.sub(r".*Sending request +msg=MaskSecret\(.*", "", printed)


class FinishedRun:
    """A run that has ended.

    :param dag_run: Airflow's record of it.
    """

    def __init__(self, dag_run: Any) -> None:
        self.dag_run = dag_run

    @property
    def state(self) -> str:
        return str(self.dag_run.state)

    def task(self, task_id: str, map_index: int = -1) -> Any:
        return self.dag_run.get_task_instance(task_id, map_index=map_index)

    def task_state(self, task_id: str, map_index: int = -1) -> str:
        return str(self.task(task_id, map_index).state)

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return what a task pushed, as Airflow stored it."""
        return stored_xcoms(self.dag_run.dag_id, self.dag_run.run_id).get((task_id, map_index, key))


def stored_xcoms(dag_id: str, run_id: str) -> dict[tuple[str, int, str], Any]:
    """Return what the tasks of a run pushed, as Airflow stored it, by task, map index and key."""
    from airflow.models import xcom
    from airflow.utils.session import create_session
    from sqlalchemy import select

    # Airflow 2 has one class for what workers and the database see.
    stored = xcom.XComModel if AIRFLOW >= (3,) else xcom.BaseXCom
    with create_session() as session:
        # The columns by themselves: the object of Airflow 2 is not what its own method takes.
        columns = stored.task_id, stored.map_index, stored.key, stored.value
        rows = session.execute(select(*columns).where(stored.dag_id == dag_id, stored.run_id == run_id))
        return {(row.task_id, row.map_index, row.key): stored.deserialize_value(row) for row in rows}


def place(dag: DAG, path: pathlib.Path) -> None:
    """Tell a DAG which file it is of, as parsing the file does."""
    if AIRFLOW < (3,):
        dag.fileloc = str(path)
    else:
        dag.relative_fileloc = path.name


def register(*dags: DAG) -> None:
    """Write DAGs into the metadata database, as parsing their files does."""
    nowhere = pathlib.Path(os.devnull)
    if AIRFLOW < (3,):
        from airflow.models.dagbag import DagBag

        bag = DagBag(nowhere, include_examples=False)
        for dag in dags:
            bag.bag_dag(dag, root_dag=dag)
        bag.sync_to_db()
        return

    from airflow.dag_processing.bundles.manager import DagBundlesManager

    DagBundlesManager().sync_bundles_to_db()
    if AIRFLOW < (3, 1):
        from airflow.models.dagbag import DagBag

        bag, sync = DagBag(nowhere, include_examples=False, bundle_path=nowhere), DagBag.sync_to_db
    elif AIRFLOW < (3, 2):
        from airflow.models.dagbag import BundleDagBag
        from airflow.models.dagbag import sync_bag_to_db as sync

        bag = BundleDagBag(nowhere, bundle_path=nowhere)
    else:
        from airflow.dag_processing.dagbag import BundleDagBag
        from airflow.dag_processing.dagbag import sync_bag_to_db as sync

        bag = BundleDagBag(nowhere, bundle_path=nowhere, bundle_name="dags-folder")
    for dag in dags:
        # Airflow 3.0 gives it to the DAGs of a file only.
        dag.relative_fileloc = dag.relative_fileloc or dag.fileloc
        bag.bag_dag(dag)
    sync(bag, "dags-folder", None)


def _tell_callbacks_the_error() -> None:
    """Before 3.3 a task that runs in this process ends without what a worker's process does first."""
    from airflow.sdk.execution_time import task_runner

    finalize = task_runner.finalize

    def finalize_as_a_worker(ti: Any, state: Any, context: Any, log: Any, error: BaseException | None) -> None:
        context["exception"] = error
        finalize(ti, state, context, log, error)

    task_runner.finalize = finalize_as_a_worker


if (3,) <= AIRFLOW < (3, 3):
    _tell_callbacks_the_error()


def run_dag(dag: DAG, **options: Any) -> FinishedRun:
    """Register the DAG as Airflow would after parsing it, and run it to its end."""
    register(dag)
    return run_by_file(dag, **options)


def run_by_file(dag: DAG, **options: Any) -> FinishedRun:
    """Run a DAG to its end as people do by its file."""
    if AIRFLOW < (3,) and "logical_date" in options:
        options["execution_date"] = options.pop("logical_date")
    return FinishedRun(dag.test(**options))
