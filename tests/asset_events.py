"""The asset events of a DAG's tasks, as Airflow's metadata database has them. Airflow 2 calls assets datasets."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import select

from tests.airflow_versions import AIRFLOW


class Event(NamedTuple):
    uri: str
    extra: dict[str, Any]
    aliases: list[str]
    queued: list[str]
    """DAGs that are to run because of it."""


def events_of(dag_id: str) -> list[Event]:
    """Return the events of a DAG's tasks, in their order."""
    from airflow.utils.session import create_session

    if AIRFLOW < (3,):
        from airflow.models.dataset import DatasetDagRunQueue as Queue
        from airflow.models.dataset import DatasetEvent as StoredEvent

        kind = "dataset"
    else:
        from airflow.models.asset import AssetDagRunQueue as Queue
        from airflow.models.asset import AssetEvent as StoredEvent

        kind = "asset"
    with create_session() as session:
        found = session.scalars(select(StoredEvent).where(StoredEvent.source_dag_id == dag_id).order_by(StoredEvent.id))
        return [
            Event(
                getattr(event, kind).uri,
                event.extra,
                [alias.name for alias in event.source_aliases],
                list(
                    session.scalars(
                        select(Queue.target_dag_id).where(getattr(Queue, f"{kind}_id") == getattr(event, f"{kind}_id"))
                    )
                ),
            )
            for event in found
        ]
