"""The DAGs of the cluster tests: each task submits a few rows, one in a batch, to a local AchieveIt."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
from tests.cluster.data import MANY, POOLED, rows


def dag(dag_id: str) -> DAG:
    defaults = {"batch_size": 1, "poll_interval": 1, "retries": 3, "retry_delay": timedelta(seconds=1)}
    return DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1), default_args=defaults)


def push(dag: DAG, task_id: str, **options: Any) -> None:
    AchieveItSubmitProgressUpdatesOperator(task_id=task_id, rows=rows(dag.dag_id, task_id), **options)


with dag("process_killed") as process_killed:
    push(process_killed, "push")

with dag("worker_killed") as worker_killed:
    push(worker_killed, "waiting")
    push(worker_killed, "sending", on_unsure="fail")
    push(worker_killed, "sending_again", on_unsure="resubmit")
    push(worker_killed, "ledger_waiting", ledger_conn_id="ledger")
    push(worker_killed, "ledger_sending", ledger_conn_id="ledger", on_unsure="fail")

with dag("killed_before_wait") as killed_before_wait:
    push(killed_before_wait, "push", deferrable=True)

with dag("many"):
    AchieveItSubmitProgressUpdatesOperator.partial(task_id="push", deferrable=True).expand(
        rows=[rows("many", "push", range(number, number + 1)) for number in range(MANY)]
    )

with dag("pooled"):
    for task_id, pool in (("bounded", "counts_deferred"), ("unbounded", "counts_running")):
        AchieveItSubmitProgressUpdatesOperator.partial(task_id=task_id, deferrable=True, pool=pool).expand(
            rows=[rows("pooled", task_id, range(number, number + 1)) for number in range(POOLED)]
        )

with dag("marked") as marked:
    push(marked, "failed", deferrable=True)
    push(marked, "cleared", deferrable=True)

with dag("abandoned") as abandoned:
    push(abandoned, "stuck", deferrable=True, wait_timeout=5)
    push(abandoned, "applied", deferrable=True, wait_timeout=5)

for how in ("refused", "hung"):
    with dag(f"{how}_waiting") as waiting:
        push(waiting, "worker", achieveit_conn_id=f"achieveit_{how}")
        push(waiting, "triggerer", achieveit_conn_id=f"achieveit_{how}", deferrable=True)
    with dag(f"{how}_submitting") as submitting:
        push(submitting, "push", achieveit_conn_id=f"achieveit_{how}", retries=10, retry_delay=timedelta(seconds=3))

with dag("api_server_killed") as api_server_killed:
    push(api_server_killed, "worker")
    push(api_server_killed, "triggerer", deferrable=True)
