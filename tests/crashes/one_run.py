"""A run of a DAG that goes on from where the last process died: scheduler, worker and triggerer in one process.

``dag.test()`` always begins anew. This goes by what the metadata database says, and each role does its part by code of
Airflow's own: the scheduler's for a task whose process is gone, the worker's by the in-process execution API, the
triggerer's from the stored trigger to the submitted event.
"""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.executors.base_executor import BaseExecutor
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.models.task_state_store import TaskStateStoreModel
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.models.trigger import Trigger
from airflow.models.xcom import XComModel
from airflow.providers.common.compat.sdk import DAG
from airflow.sdk import DagRunState, TaskInstanceState
from airflow.sdk._shared.module_loading import import_string
from airflow.sdk.api.datamodels._generated import TaskInstance as WorkerTaskInstance
from airflow.sdk.execution_time.supervisor import InProcessTestSupervisor, in_process_api_server, run_task_in_process
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select

_STEPS = 100
_LOST = {TaskInstanceState.QUEUED, TaskInstanceState.RUNNING}


def set_up(dags: list[DAG]) -> None:
    """Make the metadata database and write the DAGs into it, as parsing their files does."""
    initdb()
    DagBundlesManager().sync_bundles_to_db()
    bag = BundleDagBag(dag_folder=os.devnull, bundle_path=Path(os.devnull), bundle_name="dags-folder")
    for dag in dags:
        bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)


class OneRun:
    """One run of a DAG with one task.

    :param dag: as its file makes it.
    :param run_id: the run; made if it is not there.
    """

    def __init__(self, dag: DAG, run_id: str) -> None:
        self._dag = dag
        self._run_id = run_id
        [self._task] = dag.tasks
        self._error: BaseException | None = None

    def go_on(self) -> dict[str, Any]:
        """Bring the task to its end, whatever an earlier process left behind, and tell how it ended."""
        self._scheduler_finds_what_is_lost()
        for _ in range(_STEPS):
            match self._scheduler_schedules():
                case TaskInstanceState.SCHEDULED:
                    self._worker()
                case TaskInstanceState.DEFERRED:
                    self._triggerer()
                case TaskInstanceState.SUCCESS | TaskInstanceState.FAILED:
                    return self._told()
        raise RuntimeError(f"not at its end after {_STEPS} steps")

    def correct(self, key: str, state: str) -> None:
        """Do what a person does who has looked into AchieveIt: set the state in the task state store."""
        with create_session() as session:
            kept = session.scalar(
                select(TaskStateStoreModel).where(
                    TaskStateStoreModel.run_id == self._run_id,
                    TaskStateStoreModel.task_id == self._task.task_id,
                    TaskStateStoreModel.key == key,
                )
            )
            assert kept is not None
            kept.value = json.dumps(json.loads(kept.value) | {"state": state})

    def clear(self) -> None:
        """Do what the button Clear does."""
        with create_session() as session:
            clear_task_instances([self._instance(session)], session, dag_run_state=DagRunState.RUNNING)

    def _run(self, session: Any) -> DagRun | None:
        return session.scalar(select(DagRun).where(DagRun.dag_id == self._dag.dag_id, DagRun.run_id == self._run_id))

    def _instance(self, session: Any) -> TaskInstance:
        found = session.scalar(
            select(TaskInstance).where(
                TaskInstance.dag_id == self._dag.dag_id,
                TaskInstance.run_id == self._run_id,
                TaskInstance.task_id == self._task.task_id,
            )
        )
        assert found is not None
        return found

    # --- The scheduler ------------------------------------------------------------------------------------------------

    def _scheduler_finds_what_is_lost(self) -> None:
        """A task that runs nowhere: the executor says that its process has gone, and the scheduler acts."""
        with create_session() as session:
            if self._run(session) is None:
                self._make_run(session)
            instance = self._instance(session)
            if instance.state in _LOST:
                executor = BaseExecutor()
                executor.fail(instance.key, info="its heartbeat stopped")
                session.flush()
                SchedulerJobRunner.process_executor_events(executor, None, DBDagBag(), session)

    def _make_run(self, session: Any) -> None:
        dag = DBDagBag().get_latest_version_of_dag(self._dag.dag_id, session=session)
        assert dag is not None
        now = datetime.now(UTC)
        dag.create_dagrun(
            run_id=self._run_id,
            logical_date=now,
            data_interval=(now, now),
            run_after=now,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            session=session,
            start_date=now,
        )

    def _scheduler_schedules(self) -> Any:
        with create_session() as session:
            run = self._run(session)
            assert run is not None
            run.dag = DBDagBag().get_dag_for_run(run, session=session)
            schedulable, _ = run.update_state(session=session, execute_callbacks=False)
            run.schedule_tis(schedulable, session=session)
            session.flush()
            session.expire_all()
            return self._instance(session).state

    # --- The worker ---------------------------------------------------------------------------------------------------

    def _worker(self) -> None:
        with create_session() as session:
            instance = self._instance(session)
            instance.state = TaskInstanceState.QUEUED
            told = self._for_worker(instance)
        self._error = run_task_in_process(ti=told, task=self._task).error

    def _for_worker(self, instance: TaskInstance) -> WorkerTaskInstance:
        return WorkerTaskInstance(
            id=UUID(str(instance.id)),
            task_id=instance.task_id,
            dag_id=instance.dag_id,
            run_id=instance.run_id,
            try_number=instance.try_number,
            map_index=instance.map_index,
            dag_version_id=UUID(str(instance.dag_version_id)),
        )

    # --- The triggerer ------------------------------------------------------------------------------------------------

    def _triggerer(self) -> None:
        with create_session() as session:
            instance = self._instance(session)
            trigger_id = instance.trigger_id
            told = self._for_worker(instance)
            stored = session.get(Trigger, trigger_id)
            trigger = import_string(stored.classpath)(**stored.kwargs)
        event = InProcessTestSupervisor.run_trigger_in_process(trigger=trigger, ti=told)
        Trigger.submit_event(trigger_id, event)

    # --- How it ended -------------------------------------------------------------------------------------------------

    def _told(self) -> dict[str, Any]:
        with create_session() as session:
            instance = self._instance(session)
            pushed = session.scalars(
                select(XComModel).where(XComModel.dag_id == self._dag.dag_id, XComModel.run_id == self._run_id)
            )
            return {
                "state": str(instance.state),
                "try_number": instance.try_number,
                "error": type(self._error).__name__ if self._error else None,
                "message": str(self._error) if self._error else "",
                "xcoms": {row.key: XComModel.deserialize_value(row) for row in pushed},
            }


def warm_up() -> None:
    """Build, once for all forks, what takes seconds to build; no thread and no connection is left behind."""

    async def ask() -> None:
        transport = in_process_api_server().atransport
        async with httpx.AsyncClient(transport=transport, base_url="http://in-process.invalid") as client:
            # The first request builds the routes of every version of the execution API.
            (await client.get("/health")).raise_for_status()

    asyncio.run(ask())
