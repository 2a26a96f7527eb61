"""Which store a submit task writes down in what it has sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.exceptions import AchieveItRequestError, AchieveItUnavailableError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_achieveit.stores.records import SubmissionStore


@contextmanager
def open_store(
    context: Context,
    *,
    kind: UpdateKind,
    achieveit_conn_id: str,
    server: str,
    durable: bool,
    ledger_conn_id: str | None,
    ledger_table: str,
    log: Any,
) -> Iterator[SubmissionStore]:
    """Give the store of a task: the ledger where one is wanted, else Airflow's task state store, else none.

    :param context: the task's.
    :param kind: progress or metric updates.
    :param achieveit_conn_id: the connection the batches go through.
    :param server: host of the AchieveIt that it leads to; another one has another account.
    :param durable: whether anything is to be written down.
    :param ledger_conn_id: the SQL connection of the ledger, if one is wanted.
    :param ledger_table: its table.
    :param log: the task's logger.
    :raises AchieveItRequestError: the ledger's tables cannot be used as they are.
    :raises AchieveItUnavailableError: the ledger's database does not answer.
    """
    from airflow_provider_achieveit.stores.records import NoStore
    from airflow_provider_achieveit.stores.task_state import TaskStateStore

    kept = context.get("task_state_store") if durable else None
    airflows: SubmissionStore = NoStore() if kept is None else TaskStateStore(kept, kind, achieveit_conn_id, server)
    if not ledger_conn_id:
        if durable and kept is None:
            log.warning(
                "This Airflow has no task state store (3.3 and later have one) and no ledger_conn_id is given: a retry "
                "after a lost worker cannot know what was sent"
            )
        yield airflows
        return

    from sqlalchemy.exc import SQLAlchemyError

    from airflow_provider_achieveit.operators.databases import database_hook
    from airflow_provider_achieveit.stores.ledger import Ledger, LedgerError, TaskKey, ledger_engine

    ti = context["ti"]
    key = TaskKey(
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        try_number=ti.try_number,
        kind=kind,
        achieveit_conn_id=achieveit_conn_id,
        server=server,
    )
    try:
        engine = ledger_engine(database_hook(ledger_conn_id))
        with Ledger(engine, table=ledger_table, key=key, earlier=airflows) as ledger:
            yield ledger
    except LedgerError as error:
        raise AchieveItRequestError(f"ledger_conn_id={ledger_conn_id!r}: {error}") from None
    except SQLAlchemyError as error:
        # Without SQLAlchemy's statement and parameters, which tell a person nothing.
        cause = getattr(error, "orig", None) or error
        raise AchieveItUnavailableError(
            f"ledger_conn_id={ledger_conn_id!r}: the ledger cannot be used ({type(cause).__name__}: "
            f"{str(cause).strip()}). No batch is sent that is not written down before",
            retryable=True,
        ) from None
