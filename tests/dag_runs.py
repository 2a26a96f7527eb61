"""Run a DAG made in a test with Airflow itself, in this process, and look at what came out."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from airflow.providers.common.compat.sdk import DAG


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
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            row = session.scalars(
                select(XComModel).where(
                    XComModel.dag_id == self.dag_run.dag_id,
                    XComModel.run_id == self.dag_run.run_id,
                    XComModel.task_id == task_id,
                    XComModel.map_index == map_index,
                    XComModel.key == key,
                )
            ).first()
            return None if row is None else XComModel.deserialize_value(row)


def run_dag(dag: DAG, **options: Any) -> FinishedRun:
    """Register the DAG as Airflow would after parsing it, and run it to its end."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    DagBundlesManager().sync_bundles_to_db()
    bag = BundleDagBag(dag_folder=os.devnull, bundle_path=pathlib.Path(os.devnull), bundle_name="dags-folder")
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
    return FinishedRun(dag.test(**options))
