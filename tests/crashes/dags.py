"""The DAGs of the campaign: one task that sends three batches, for each way to wait and each store."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
from tests.crashes.points import BATCHES

ROWS_IN_BATCH = 2
TASK = "push"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a case is run with.

    :param deferrable: wait in the triggerer.
    :param ledger_table: keep account in this table; None: in Airflow's task state store.
    :param on_unsure: as the operator's argument.
    """

    deferrable: bool
    ledger_table: str | None = None
    on_unsure: str = "fail"

    @property
    def dag_id(self) -> str:
        return f"{'deferrable' if self.deferrable else 'sync'}_{'ledger' if self.ledger_table else 'task_state'}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def make_dag(setting: Setting) -> DAG:
    """Return the DAG as its file would make it in a worker."""
    ledger: dict[str, Any] = (
        {"ledger_conn_id": "ledger", "ledger_table": setting.ledger_table} if setting.ledger_table else {}
    )
    days = range(1, BATCHES * ROWS_IN_BATCH + 1)
    with DAG(setting.dag_id, schedule=None) as dag:
        AchieveItSubmitProgressUpdatesOperator(
            task_id=TASK,
            rows=[
                {"external_id": "pat-nps", "status": "On Track", "metric_value": day, "as_of_date": f"2026-01-{day:02}"}
                for day in days
            ],
            batch_size=ROWS_IN_BATCH,
            deferrable=setting.deferrable,
            on_unsure=setting.on_unsure,
            poll_interval=0.05,
            retries=20,
            retry_delay=timedelta(0),
            **ledger,
        )
    return dag
