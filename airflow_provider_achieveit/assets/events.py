"""The asset events of tasks that submit to a plan or export one (``emit_asset=True``).

Which plan a task is about is known when it runs: the host comes from the connection, the id from templates. So the
task has an alias as its outlet, and adds the real asset to that when the work is done ("Dynamic data events emitting
and dataset creation through AssetAlias" of Airflow's documentation). Airflow writes the event when the task succeeds,
so that tries that fail tell nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Asset, AssetAlias

from airflow_provider_achieveit.assets.plan import api_host, create_asset
from airflow_provider_achieveit.exceptions import AchieveItRequestError
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context

_OF_SUBMIT = ("kind", "rows_submitted", "rows_rejected", "rows_unchanged", "batch_count")
_OF_EXPORT = ("items", "inserted", "updated", "deleted", "mode", "format", "bytes", "extracted_at")


def add_outlet(operator: BaseOperator) -> AssetAlias:
    """Give a task the alias that its events go through, ``achieveit:<dag id>.<task id>``, as an outlet; return it.

    :param operator: the task; it belongs to its DAG.
    """
    alias = AssetAlias(f"achieveit:{operator.dag_id}.{operator.task_id}")
    operator.outlets = [*operator.outlets, alias]
    return alias


def plan_asset(achieveit_conn_id: str, plan_id: str) -> Asset:
    """Return the asset of a plan that a connection leads to.

    :param achieveit_conn_id: id of the connection.
    :param plan_id: the plan.
    :raises AchieveItRequestError: the connection cannot be used, or there is no plan of an empty id.
    """
    if not plan_id or plan_id.isspace():
        raise AchieveItRequestError("emit_asset=True needs plan_id, which its template left empty; nothing was sent")
    with AchieveItHook(achieveit_conn_id).get_conn() as client:
        return create_asset(host=api_host(client.config.base_url), plan_id=plan_id)


def emit_submitted(
    operator: Any, context: Context, alias: AssetAlias, summary: Mapping[str, Any], *, found: int
) -> None:
    """Tell that a plan has changed, if it has: rows were applied.

    Rows that were applied before have been told of, but for those that an earlier try of this round applied before it
    failed, and for those whose job had not ended when the task failed and was cleared.

    :param operator: the task, with ``plan_id`` and ``achieveit_conn_id``.
    :param context: its context.
    :param alias: its alias.
    :param summary: its result.
    :param found: how many of its unchanged rows are such.
    """
    if not summary["rows_submitted"] + found:
        operator.log.info("No asset event: nothing has changed in plan %s", operator.plan_id)
        return
    plan = plan_asset(operator.achieveit_conn_id, operator.plan_id)
    _emit(operator, context, alias, plan, {name: summary[name] for name in _OF_SUBMIT})


def emit_exported(
    operator: Any, context: Context, alias: AssetAlias, summary: Mapping[str, Any], target: str | None
) -> None:
    """Tell that a table or file has been brought up to the present of a plan.

    :param operator: the task, with ``plan_id`` and ``achieveit_conn_id``.
    :param context: its context.
    :param alias: its alias.
    :param summary: its result.
    :param target: address of the table or file; None: it has none.
    """
    plan = plan_asset(operator.achieveit_conn_id, operator.plan_id)
    # For listeners and callbacks of the task: the graph of assets is drawn from the parsed DAG.
    operator.inlets = [*operator.inlets, plan]
    if target is None:
        operator.log.info("No asset event: Airflow has no asset address for tables of this database")
    elif summary.get("unchanged") and not _is_retry(operator, context):
        operator.log.info("No asset event: nothing was loaded (skip_unchanged)")
    else:
        counts = {name: summary[name] for name in _OF_EXPORT if name in summary}
        _emit(operator, context, alias, Asset(uri=target), {"plan": str(plan.uri), **counts})


def _emit(operator: Any, context: Context, alias: AssetAlias, asset: Asset, extra: dict[str, Any]) -> None:
    event: Any = context["outlet_events"][alias]
    if not hasattr(Asset, "ref"):  # Airflow 2, where assets have no names
        _make_known(alias)
        event.add(asset, extra=extra)
    else:
        try:
            # The DAG that waits for the asset may have given it a name of its own.
            event.add(Asset.ref(uri=str(asset.uri)), extra=extra)
        except Exception:
            # No DAG has it.
            event.add(asset, extra=extra)
    operator.log.info("Asset event for %s: %s", asset.uri, extra)


def _make_known(alias: AssetAlias) -> None:
    """Write an alias into the metadata database of Airflow 2, if it is not there.

    That of a mapped task is made when the task runs, so no parsed DAG has it, and Airflow 2 fails a task whose alias it
    does not know, after the work.
    """
    from airflow.models.dataset import DatasetAliasModel  # type: ignore[import-not-found]
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.exc import IntegrityError

    # Another of the mapped tasks may be first.
    with suppress(IntegrityError), create_session() as session:
        if session.scalar(select(DatasetAliasModel.id).where(DatasetAliasModel.name == alias.name)) is None:
            session.add(DatasetAliasModel(name=alias.name))


def _is_retry(operator: Any, context: Context) -> bool:
    """Tell whether an earlier try of this round, since the last Clear, may have done the work and not told of it."""
    ti = context["ti"]
    return bool(ti.try_number > ti.max_tries - operator.retries + 1)
