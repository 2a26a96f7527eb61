"""A run of a DAG that goes on from what the metadata database says: after a clear, a lost worker, a new expansion.

``dag.test()`` always begins anew. Here each role does its part by Airflow's own code: the scheduler's for what can run
and for a task whose worker is gone, the worker's by the in-process execution API, the triggerer's from the stored
trigger to the submitted event.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.dag_processing.processor import DagFileParseRequest, _parse_file
from airflow.executors.base_executor import BaseExecutor
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.models.deadline import Deadline
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.models.trigger import Trigger
from airflow.models.xcom import XComModel
from airflow.providers.common.compat.sdk import DAG
from airflow.sdk import DagRunState, TaskInstanceState
from airflow.sdk._shared.module_loading import import_string
from airflow.sdk.api.datamodels._generated import TaskInstance as WorkerTaskInstance
from airflow.sdk.execution_time.supervisor import InProcessTestSupervisor, run_task_in_process
from airflow.timetables.base import DagRunInfo
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from pendulum import DateTime
from sqlalchemy import select

_STEPS = 200


_LOST = {TaskInstanceState.QUEUED, TaskInstanceState.RUNNING}


def register(*dags: DAG) -> None:
    """Write DAGs into the metadata database, as parsing their files does."""
    DagBundlesManager().sync_bundles_to_db()
    bag = BundleDagBag(dag_folder=os.devnull, bundle_path=Path(os.devnull), bundle_name="dags-folder")
    for dag in dags:
        bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)


class GoingRun:
    """One run of a DAG.

    :param dag: as its file makes it; another one with the same id may take its place between two calls.
    :param run_id: the run; made if it is not there. It tells its type, as ``scheduled__...`` does.
    :param info: when the run is due and what for; default: now.
    """

    def __init__(self, dag: DAG, run_id: str = "run", info: DagRunInfo | None = None) -> None:
        self.dag = dag
        self.run_id = run_id
        self.info = info
        self.errors: dict[tuple[str, int], BaseException | None] = {}
        self.callback: Any = None
        """The callback that the scheduler asks for at the end of the run."""

    def go_on(self, dag: DAG | None = None) -> DagRunState:
        """Bring the run to its end, whatever an earlier process left behind.

        :param dag: what the DAG's file, edited meanwhile, makes; default: the DAG as it was.
        """
        if dag is not None:
            self.dag = dag
            register(dag)
        self._make_run()
        self._find_lost()
        for _ in range(_STEPS):
            state = self._schedule()
            if state in (DagRunState.SUCCESS, DagRunState.FAILED):
                return state
            for place in [(found.task_id, found.map_index) for found in self.instances()]:
                instance = self.instance(*place)
                if instance.state == TaskInstanceState.SCHEDULED:
                    self._work(instance)
                elif instance.state == TaskInstanceState.DEFERRED:
                    self._trigger(instance)
        raise RuntimeError(f"not at its end after {_STEPS} steps")

    def clear(self, *task_ids: str) -> None:
        """Do what the button Clear does to these tasks (default: all)."""
        with create_session() as session:
            found = self._instances(session)
            chosen = [instance for instance in found if not task_ids or instance.task_id in task_ids]
            clear_task_instances(chosen, session, dag_run_state=DagRunState.QUEUED)

    def clear_run(self) -> None:
        """Do what clearing the DAG run does, and a backfill that reprocesses it."""
        with create_session() as session:
            dag = DBDagBag().get_latest_version_of_dag(self.dag.dag_id, session=session)
            assert dag is not None
            dag.clear(run_id=self.run_id, dag_run_state=DagRunState.QUEUED, session=session)

    def delete(self) -> None:
        """Do what deleting the DAG run does."""
        with create_session() as session:
            session.delete(self._run(session))

    def let_deferral_time_out(self, instance: TaskInstance) -> None:
        """Do what the scheduler does with a deferred task whose time is up and whose trigger has not fired."""
        with create_session() as session:
            session.merge(instance).trigger_timeout = datetime.now(UTC) - timedelta(seconds=1)
        SchedulerJobRunner(Job()).check_trigger_timeouts()

    def call_back(self, path: Path) -> None:
        """Do what the DAG processor does with the callback that the scheduler asks for at the end of a run.

        :param path: the DAG's file.
        """
        request = DagFileParseRequest(
            file=str(path), bundle_path=path.parent, bundle_name="dags-folder", callback_requests=[self.callback]
        )
        _parse_file(
            DagFileParseRequest.model_validate_json(request.model_dump_json()), structlog.get_logger("callbacks")
        )

    def miss_deadline(self) -> list[Any]:
        """Do what the scheduler and the triggerer do when the run's deadline passes; return what the latter tells."""
        self._make_run()
        with create_session() as session:
            missed = session.scalars(select(Deadline).where(Deadline.dagrun_id == self._run(session).id)).one()
            missed.handle_miss(session)
            stored = missed.callback.trigger
            trigger = import_string(stored.classpath)(**stored.kwargs)

        async def told() -> list[Any]:
            return [event.payload async for event in trigger.run()]

        return asyncio.run(told())

    def instances(self) -> list[TaskInstance]:
        with create_session() as session:
            return list(self._instances(session))

    def instance(self, task_id: str, map_index: int = -1) -> TaskInstance:
        [found] = [i for i in self.instances() if (i.task_id, i.map_index) == (task_id, map_index)]
        return found

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return what a task pushed, as Airflow stored it."""
        with create_session() as session:
            row = session.scalars(
                select(XComModel).where(
                    XComModel.dag_id == self.dag.dag_id,
                    XComModel.run_id == self.run_id,
                    XComModel.task_id == task_id,
                    XComModel.map_index == map_index,
                    XComModel.key == key,
                )
            ).first()
            return None if row is None else XComModel.deserialize_value(row)

    def _instances(self, session: Any) -> list[TaskInstance]:
        of_run = TaskInstance.dag_id == self.dag.dag_id, TaskInstance.run_id == self.run_id
        return list(session.scalars(select(TaskInstance).where(*of_run).order_by(TaskInstance.map_index)))

    # --- The scheduler ------------------------------------------------------------------------------------------------

    def _make_run(self) -> None:
        with create_session() as session:
            if self._run(session) is not None:
                return
            dag = DBDagBag().get_latest_version_of_dag(self.dag.dag_id, session=session)
            assert dag is not None, "it has to be registered first"
            now = datetime.now(UTC)
            info = self.info or DagRunInfo.exact(DateTime.instance(now))
            dag.create_dagrun(
                run_id=self.run_id,
                logical_date=info.logical_date,
                data_interval=info.data_interval,
                run_after=info.run_after,
                run_type=DagRunType.from_run_id(self.run_id),
                triggered_by=DagRunTriggeredByType.TEST,
                state=DagRunState.RUNNING,
                session=session,
                start_date=now,
            )

    def _find_lost(self) -> None:
        """A task that runs nowhere: the executor says that its process has gone, and the scheduler acts."""
        with create_session() as session:
            executor = BaseExecutor()
            for instance in self._instances(session):
                if instance.state in _LOST:
                    executor.fail(instance.key, info="its heartbeat stopped")
            if executor.event_buffer:
                SchedulerJobRunner.process_executor_events(executor, None, DBDagBag(), session)

    def _run(self, session: Any) -> Any:
        of_run = DagRun.dag_id == self.dag.dag_id, DagRun.run_id == self.run_id
        return session.scalar(select(DagRun).where(*of_run))

    def _schedule(self) -> DagRunState:
        with create_session() as session:
            run = self._run(session)
            if run.state == DagRunState.QUEUED:
                run.state = DagRunState.RUNNING
            # The latest version of the DAG, as a bundle without versions gives it.
            run.dag = DBDagBag().get_latest_version_of_dag(self.dag.dag_id, session=session)
            schedulable, self.callback = run.update_state(session=session, execute_callbacks=False)
            run.schedule_tis(schedulable, session=session)
            return DagRunState(run.state)

    # --- The worker ---------------------------------------------------------------------------------------------------

    def _work(self, instance: TaskInstance) -> None:
        with create_session() as session:
            session.merge(instance).state = TaskInstanceState.QUEUED
        done = run_task_in_process(ti=_for_worker(instance), task=self.dag.task_dict[instance.task_id])
        self.errors[instance.task_id, instance.map_index] = done.error

    # --- The triggerer ------------------------------------------------------------------------------------------------

    def _trigger(self, instance: TaskInstance) -> None:
        trigger_id = instance.trigger_id
        assert trigger_id is not None
        with create_session() as session:
            stored = session.get(Trigger, trigger_id)
            assert stored is not None
            trigger = import_string(stored.classpath)(**stored.kwargs)
        event = InProcessTestSupervisor.run_trigger_in_process(trigger=trigger, ti=_for_worker(instance))
        assert event is not None
        Trigger.submit_event(trigger_id, event)


def _for_worker(instance: TaskInstance) -> WorkerTaskInstance:
    return WorkerTaskInstance(
        id=UUID(str(instance.id)),
        task_id=instance.task_id,
        dag_id=instance.dag_id,
        run_id=instance.run_id,
        try_number=instance.try_number,
        map_index=instance.map_index,
        dag_version_id=UUID(str(instance.dag_version_id)),
    )
