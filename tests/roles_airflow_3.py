"""What the parts of Airflow 3 do with a run, each by its own code. The parts of Airflow 2: roles_airflow_2.py."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from uuid import UUID

import structlog
from airflow.dag_processing.processor import DagFileParseRequest, _parse_file
from airflow.executors.base_executor import BaseExecutor
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.providers.common.compat.sdk import DAG
from airflow.sdk.api.datamodels._generated import TaskInstance as WorkerTaskInstance
from airflow.sdk.execution_time.supervisor import InProcessTestSupervisor, run_task_in_process
from airflow.timetables.base import DagRunInfo
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType

from tests.airflow_versions import AIRFLOW

if AIRFLOW < (3, 1):
    from airflow.jobs.scheduler_job_runner import SchedulerDagBag as StoredDags
else:
    from airflow.models.dagbag import DBDagBag as StoredDags


def create_run(stored: Any, run_id: str, info: DagRunInfo, now: datetime, session: Any) -> None:
    """Do what the scheduler does for a run that is due.

    :param stored: the DAG, as the metadata database has it.
    """
    stored.create_dagrun(
        run_id=run_id,
        logical_date=info.logical_date if info.data_interval else None,
        data_interval=info.data_interval,
        run_after=info.run_after,
        run_type=DagRunType.from_run_id(run_id),
        triggered_by=DagRunTriggeredByType.TEST,
        state=DagRunState.RUNNING,
        session=session,
        start_date=now,
    )


def clear_run(stored: Any, run: Any, session: Any) -> None:
    """Do what clearing the DAG run does, and a backfill that reprocesses it."""
    stored.clear(run_id=run.run_id, dag_run_state=DagRunState.QUEUED, session=session)


def give_up_lost(dag: DAG, lost: list[TaskInstance], session: Any) -> None:
    """Do what the scheduler does when the executor says that the processes of tasks have gone."""
    executor = BaseExecutor()
    for instance in lost:
        executor.fail(instance.key, info="its heartbeat stopped")
    SchedulerJobRunner.process_executor_events(executor, None, StoredDags(), session)


def work(instance: TaskInstance, task: Any) -> BaseException | None:
    """Do what a worker does with a queued task, by the in-process execution API; return the task's error."""
    with create_session() as session:
        session.merge(instance).state = TaskInstanceState.QUEUED
    return run_task_in_process(ti=_for_worker(instance), task=task).error


def fire(instance: TaskInstance) -> None:
    """Do what the triggerer does with the trigger of a deferred task."""
    with create_session() as session:
        stored = session.get(Trigger, instance.trigger_id)
        assert stored is not None
        trigger = resolve_name(stored.classpath)(**stored.kwargs)
    event = _first_event(trigger, instance)
    assert event is not None
    Trigger.submit_event(instance.trigger_id, event)


def call_back(path: Path, request: Any) -> None:
    """Do what the DAG processor does with the callback that the scheduler asks for at the end of a run."""
    bundle = {"bundle_name": "dags-folder"} if AIRFLOW >= (3, 2) else {}
    parsing = DagFileParseRequest(file=str(path), bundle_path=path.parent, callback_requests=[request], **bundle)
    _parse_file(DagFileParseRequest.model_validate_json(parsing.model_dump_json()), structlog.get_logger("callbacks"))


def _first_event(trigger: Any, instance: TaskInstance) -> Any:
    if AIRFLOW >= (3, 1):
        return InProcessTestSupervisor.run_trigger_in_process(trigger=trigger, ti=_for_worker(instance))

    async def first() -> Any:
        return await anext(trigger.run(), None)

    return asyncio.run(first())


def _for_worker(instance: TaskInstance) -> WorkerTaskInstance:
    return WorkerTaskInstance(
        id=UUID(str(instance.id)),
        task_id=instance.task_id,
        dag_id=instance.dag_id,
        run_id=instance.run_id,
        try_number=instance.try_number,
        map_index=instance.map_index,
        **({"dag_version_id": UUID(str(instance.dag_version_id))} if AIRFLOW >= (3, 1) else {}),
    )
