"""How OpenLineage asks an operator: its provider looks for these methods by their names.

See "Implementing OpenLineage in Operators" of Airflow's OpenLineage provider, which is optional (extra
``openlineage``). It asks in a process of its own, with the operator as it was when the task began or ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


class TellsLineage:
    """Answers OpenLineage by :meth:`lineage`. What goes wrong there never fails the task: it is a line in the log."""

    log: Any
    result: dict[str, Any] | None = None
    """The task's result, once its work is done; in a deferred task too, where another instance began the work."""

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any] | None:
        """Return the data sets, with the columns of tables that are there already."""
        return self._told(None)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return the data sets with their columns and counts."""
        return self._told(self.result)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return the data sets of work that failed."""
        return self._told(None)

    def lineage(self, result: dict[str, Any] | None) -> OperatorLineage[Any, Any]:
        """Return the lineage of this task.

        :param result: its result; None: there is none.
        """
        raise NotImplementedError

    def _told(self, result: dict[str, Any] | None) -> OperatorLineage[Any, Any] | None:
        try:
            return self.lineage(result)
        except Exception as error:
            self.log.warning("OpenLineage is not told of this task's data: %s: %s", type(error).__name__, error)
            return None
