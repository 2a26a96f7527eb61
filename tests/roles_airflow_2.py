"""What the parts of Airflow 2 do with a run, each by its own code. The parts of Airflow 3: roles_airflow_3.py."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import datetime
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

from airflow.dag_processing.processor import DagFileProcessor
from airflow.executors.base_executor import BaseExecutor
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagbag import DagBag
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.base import DagRunInfo
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunType


def create_run(stored: Any, run_id: str, info: DagRunInfo, now: datetime, session: Any) -> None:
    """Do what the scheduler does for a run that is due.

    :param stored: the DAG, as the metadata database has it.
    """
    stored.create_dagrun(
        run_id=run_id,
        execution_date=info.logical_date,
        data_interval=info.data_interval,
        run_type=DagRunType.from_run_id(run_id),
        state=DagRunState.RUNNING,
        session=session,
        start_date=now,
    )


def clear_run(stored: Any, run: Any, session: Any) -> None:
    """Do what clearing the DAG run does."""
    day = run.execution_date
    stored.clear(start_date=day, end_date=day, dag_run_state=DagRunState.QUEUED, session=session)


def give_up_lost(dag: DAG, lost: list[TaskInstance], session: Any) -> None:
    """Do what the scheduler does with tasks without a heartbeat, and the DAG processor after it."""
    requests: list[Any] = []
    executor = BaseExecutor()
    executor.callback_sink = SimpleNamespace(send=requests.append)
    scheduler = SchedulerJobRunner(Job(executor=executor))
    scheduler._purge_zombies([(instance, dag.fileloc, None) for instance in lost], session=session)
    session.commit()
    bag = DagBag(os.devnull, include_examples=False)
    bag.bag_dag(dag, root_dag=dag)
    DagFileProcessor.execute_callbacks(bag, requests, False, session=session)


def work(instance: TaskInstance, task: Any) -> BaseException | None:
    """Do what a worker does with a queued task; return the task's error."""
    with create_session() as session:
        found = session.merge(instance)
        found.state = TaskInstanceState.QUEUED
        session.commit()
        found.task = task
        try:
            found.run(session=session)
        except BaseException as error:
            return error
    return None


def fire(instance: TaskInstance) -> None:
    """Do what the triggerer does with the trigger of a deferred task."""
    with create_session() as session:
        stored = session.get(Trigger, instance.trigger_id)
        trigger = resolve_name(stored.classpath)(**stored.kwargs)
    trigger.task_instance = instance

    async def first_event() -> Any:
        return await anext(trigger.run(), None)

    event = asyncio.run(first_event())
    assert event is not None
    Trigger.submit_event(instance.trigger_id, event)


def call_back(path: Path, request: Any) -> None:
    """Do what the DAG processor does with the callback that the scheduler asks for at the end of a run."""
    request = type(request).from_json(request.to_json())
    processor = DagFileProcessor(dag_ids=None, dag_directory=str(path.parent), log=logging.getLogger("callbacks"))
    processor.process_file(str(path), [request])
