"""The execution API that Airflow's tests and ``dag.test()`` serve tasks with, in their own process."""

from __future__ import annotations

import functools

from tests.airflow_versions import AIRFLOW


def keep_one() -> None:
    """Let all tasks of this process be served by one, as Airflow does from 3.3 on; to build one takes seconds."""
    if (3,) <= AIRFLOW < (3, 3):
        from airflow.sdk.execution_time import supervisor

        supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)
