"""A run of a DAG that goes on from what the metadata database says: after a clear, a lost worker, a new expansion.

``dag.test()`` always begins anew. Here each role does its part by Airflow's own code: the scheduler's for what can run
and for a task whose worker is gone, the worker's, the triggerer's from the stored trigger to the submitted event.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.base import DagRunInfo
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from pendulum import DateTime
from sqlalchemy import select

from tests.airflow_versions import AIRFLOW
from tests.dag_runs import register, stored_xcoms

if AIRFLOW < (3,):
    from tests import roles_airflow_2 as roles
else:
    from tests import roles_airflow_3 as roles

_STEPS = 200


_LOST = {TaskInstanceState.QUEUED, TaskInstanceState.RUNNING}


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
        raise RuntimeError(
            f"not at its end after {_STEPS} steps: {[(i.task_id, i.map_index, str(i.state)) for i in self.instances()]}"
        )

    def clear(self, *task_ids: str) -> None:
        """Do what the button Clear does to these tasks (default: all)."""
        with create_session() as session:
            found = self._instances(session)
            chosen = [instance for instance in found if not task_ids or instance.task_id in task_ids]
            clear_task_instances(chosen, session, dag_run_state=DagRunState.QUEUED)

    def clear_run(self) -> None:
        """Do what clearing the DAG run does, and a backfill that reprocesses it."""
        with create_session() as session:
            roles.clear_run(self._stored_dag(session), self._run(session), session)

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
        roles.call_back(path, self.callback)

    def miss_deadline(self) -> list[Any]:
        """Do what the scheduler and the triggerer do when the run's deadline passes; return what the latter tells."""
        from airflow.models.deadline import Deadline

        self._make_run()
        with create_session() as session:
            missed = session.scalars(select(Deadline).where(Deadline.dagrun_id == self._run(session).id)).one()
            missed.handle_miss(session)
            stored = missed.callback.trigger if AIRFLOW >= (3, 2) else missed.trigger
            trigger = resolve_name(stored.classpath)(**stored.kwargs)

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
        return stored_xcoms(self.dag.dag_id, self.run_id).get((task_id, map_index, key))

    def _instances(self, session: Any) -> list[TaskInstance]:
        of_run = TaskInstance.dag_id == self.dag.dag_id, TaskInstance.run_id == self.run_id
        return list(session.scalars(select(TaskInstance).where(*of_run).order_by(TaskInstance.map_index)))

    # --- The scheduler ------------------------------------------------------------------------------------------------

    def _make_run(self) -> None:
        with create_session() as session:
            if self._run(session) is not None:
                return
            now = datetime.now(UTC)
            info = self.info or DagRunInfo.exact(DateTime.instance(now))
            roles.create_run(self._stored_dag(session), self.run_id, info, now, session)

    def _find_lost(self) -> None:
        """Find tasks that run nowhere, as after the end of their processes."""
        with create_session() as session:
            lost = [instance for instance in self._instances(session) if instance.state in _LOST]
            if lost:
                roles.give_up_lost(self.dag, lost, session)

    def _stored_dag(self, session: Any) -> Any:
        """Return the latest version of the DAG, as a bundle without versions gives it."""
        stored = SerializedDagModel.get(self.dag.dag_id, session=session)
        assert stored is not None, "it has to be registered first"
        return stored.dag

    def _run(self, session: Any) -> Any:
        of_run = DagRun.dag_id == self.dag.dag_id, DagRun.run_id == self.run_id
        return session.scalar(select(DagRun).where(*of_run))

    def _schedule(self) -> DagRunState:
        with create_session() as session:
            run = self._run(session)
            if run.state == DagRunState.QUEUED:
                run.state = DagRunState.RUNNING
            run.dag = self._stored_dag(session)
            schedulable, self.callback = run.update_state(session=session, execute_callbacks=False)
            run.schedule_tis(schedulable, session=session)
            return DagRunState(run.state)

    # --- The worker and the triggerer ---------------------------------------------------------------------------------

    def _work(self, instance: TaskInstance) -> None:
        error = roles.work(instance, self.dag.task_dict[instance.task_id])
        self.errors[instance.task_id, instance.map_index] = error

    def _trigger(self, instance: TaskInstance) -> None:
        roles.fire(instance)
