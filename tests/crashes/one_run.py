"""The one run of a case: made, brought on by process after process, corrected by a person, and told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from airflow.providers.common.compat.sdk import DAG
from airflow.utils.db import initdb

from tests import execution_api
from tests.airflow_versions import AIRFLOW
from tests.dag_runs import stored_xcoms
from tests.going_run import GoingRun, register


def set_up(dags: list[DAG]) -> None:
    """Make the metadata database and write the DAGs into it."""
    initdb()
    register(*dags)


class OneRun(GoingRun):
    """One run of a DAG with one task."""

    def told(self) -> dict[str, Any]:
        """Return how the task ended, as JSON values."""
        [instance] = self.instances()
        error = self.errors.get((instance.task_id, instance.map_index))
        return {
            "state": str(instance.state),
            "try_number": instance.try_number,
            "error": type(error).__name__ if error else None,
            "message": str(error) if error else "",
            "xcoms": {key: value for (_, _, key), value in stored_xcoms(self.dag.dag_id, self.run_id).items()},
        }

    def correct(self, key: str, state: str) -> None:
        """Do what a person does who has looked into AchieveIt: set the state in the task state store."""
        from airflow.models.task_state_store import TaskStateStoreModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            of_run = TaskStateStoreModel.dag_id == self.dag.dag_id, TaskStateStoreModel.run_id == self.run_id
            kept = session.scalar(select(TaskStateStoreModel).where(*of_run, TaskStateStoreModel.key == key))
            assert kept is not None
            kept.value = json.dumps(json.loads(kept.value) | {"state": state})


def warm_up() -> None:
    """Build, once for all forks, what takes seconds to build; no thread and no connection is left behind."""
    if AIRFLOW < (3,):
        return
    execution_api.keep_one()
    import httpx
    from airflow.sdk.execution_time.supervisor import in_process_api_server

    async def ask() -> None:
        transport = in_process_api_server().atransport
        async with httpx.AsyncClient(transport=transport, base_url="http://in-process.invalid") as client:
            # The first request builds the routes of every version of the execution API.
            (await client.get("/health")).raise_for_status()

    asyncio.run(ask())
