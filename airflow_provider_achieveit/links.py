"""Links on the page of a task: to the plan in AchieveIt, and to all that the task has sent.

Airflow shows a link whose address is an XCom of the task. Airflow 3 stores it when the task defers or ends; the tasks
of this provider store it themselves before, as soon as there is something to see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import BaseOperatorLink, conf
from packaging.version import Version

from airflow_provider_achieveit.hooks.achieveit import AchieveItHook

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context, TaskInstanceKey

HISTORY_PATH = "/achieveit/history"
"""Where the API server shows the sync history."""


_AIRFLOW = Version(airflow_version).release


class _Link(BaseOperatorLink):
    """A link whose address the task stores."""

    @property
    def xcom_key(self) -> str:
        """The XCom that holds the address; Airflow 2 has no such property."""
        return f"_link_{type(self).__name__}"

    def address(self, operator: Any, ti: Any) -> str | None:
        """Return where the link leads, None where there is nothing to see.

        :param operator: the task, rendered.
        :param ti: its task instance.
        """
        raise NotImplementedError

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return where the link leads; an empty text, for which Airflow shows nothing, where it leads nowhere.

        :param operator: the task: rendered, on a worker of Airflow 3; as its DAG's file has it, on Airflow 2.
        :param ti_key: the task instance.
        """
        if _AIRFLOW < (3,):
            from airflow.providers.common.compat.sdk import XCom

            return XCom.get_value(ti_key=ti_key, key=self.xcom_key) or ""
        try:
            return self.address(operator, ti_key) or ""
        except Exception:  # told by push_links
            return ""


class AchieveItPlanLink(_Link):
    """The task's plan in AchieveIt's web application, where the connection's ``web_url`` tells its address."""

    name = "Plan in AchieveIt"

    def address(self, operator: Any, ti: Any) -> str | None:
        """Return the plan's address, None without a ``plan_id`` or a ``web_url``.

        :raises AchieveItRequestError: the connection's ``web_url`` is no template of an address.
        """
        return AchieveItHook(operator.achieveit_conn_id).plan_url(str(operator.plan_id)) if operator.plan_id else None


class AchieveItSyncHistoryLink(_Link):
    """What this task of this run has sent and how it ended: the page that shows the ledger (Airflow 3.1 and later)."""

    name = "Sync history"

    def address(self, operator: Any, ti: Any) -> str | None:
        """Return the page's address, None where the task keeps no ledger."""
        if not operator.ledger_conn_id:
            return None
        base = (conf.get("api", "base_url", fallback="") or "").rstrip("/")
        asked = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id}
        return f"{base}{HISTORY_PATH}?{urlencode(asked, quote_via=quote)}"


EXPORT_LINKS = (AchieveItPlanLink(),)
SUBMIT_LINKS: tuple[_Link, ...] = (
    (AchieveItPlanLink(), AchieveItSyncHistoryLink()) if _AIRFLOW >= (3, 1) else (AchieveItPlanLink(),)
)


def push_links(operator: BaseOperator, context: Context) -> None:
    """Store the addresses of a task's links, so that they are seen from now on; never fails the task.

    :param operator: the task, rendered.
    :param context: its context.
    """
    for link in operator.operator_extra_links:
        if not isinstance(link, _Link):
            continue
        try:
            if address := link.address(operator, context["ti"]):
                context["ti"].xcom_push(key=link.xcom_key, value=address)
        except Exception as error:  # the task's work counts, and it may be done already
            operator.log.warning("The link %r cannot be shown: %s", link.name, error)
