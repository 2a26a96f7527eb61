"""``@task.achieveit_progress_updates`` and ``@task.achieveit_metric_updates``: a function gives the rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    SET_DURING_EXECUTION,
    DecoratedOperator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_provider_achieveit.exceptions import AchieveItInvalidRowsError
from airflow_provider_achieveit.operators.updates import (
    AchieveItSubmitMetricUpdatesOperator,
    AchieveItSubmitProgressUpdatesOperator,
    _SubmitUpdatesOperator,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskDecorator

    from airflow_provider_achieveit.updates.spool import Prepared

_SOURCES = ("rows", "sql", "conn_id", "parameters", "path", "path_conn_id")


class _FunctionFailed(Exception):  # noqa: N818  (it carries the error)
    """Carries an error of the user's function past those who would take it for one of the rows.

    :param error: as the function, or the generator it returned, raised it.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class _UpdatesOfFunctionOperator(DecoratedOperator, _SubmitUpdatesOperator):
    """Calls a function for rows and submits them; all else is the submit operator's.

    The function runs once in every try that reads rows: not when the task resumes after its wait in the triggerer.

    :param python_callable: returns rows as a list of dicts, a DataFrame, or any iterable of dicts (a generator).
    :param op_args: its positional arguments. Templated.
    :param op_kwargs: its keyword arguments. Templated.
    :raises ValueError: another source of rows is given, or the function is asynchronous.
    :raises AchieveItInvalidRowsError: the function returned None; nothing was sent.
    """

    custom_operator_name: str
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(name for name in _SubmitUpdatesOperator.template_fields if name not in _SOURCES),
    )
    # A text given to the function is no file, however it ends.
    template_ext: Sequence[str] = ()
    template_fields_renderers: ClassVar[dict[str, str]] = dict(DecoratedOperator.template_fields_renderers)

    def __init__(self, *, python_callable: Callable[..., Any], **kwargs: Any) -> None:
        decorator = self.custom_operator_name
        if not getattr(self, "_BaseOperator__from_mapped", False):
            # The arguments of a mapped one hold all default_args of the DAG (Airflow 2).
            _refuse_sources(decorator, kwargs)
        if inspect.iscoroutinefunction(python_callable) or inspect.isasyncgenfunction(python_callable):
            raise ValueError(f"{decorator}: {python_callable.__name__} is asynchronous; the rows come from a plain def")
        # Named, so that default_args of the DAG do not fill them in.
        sources = dict.fromkeys(_SOURCES) | {"rows": SET_DURING_EXECUTION}
        super().__init__(python_callable=python_callable, **{**kwargs, **sources})

    def execute(self, context: Context) -> dict[str, Any]:
        """Call the function and submit its rows: the whole work, or all up to the wait when deferrable."""
        # Past DecoratedOperator: that of Airflow 3.0 calls a method which no operator has.
        result: dict[str, Any] = super(DecoratedOperator, self).execute(context)
        return result

    def _run(self, context: Context, *, give_up_at: float) -> dict[str, Any]:
        try:
            return super()._run(context, give_up_at=give_up_at)
        except _FunctionFailed as failed:
            error = failed.error
            for note in getattr(failed, "__notes__", ()):
                error.add_note(note)
        raise error

    def _prepare(self, context: Context) -> Prepared:
        context_merge(context, self.op_kwargs)
        arguments = determine_kwargs(self.python_callable, self.op_args, context)
        with _told_apart():
            rows = self.python_callable(*self.op_args, **arguments)
        if rows is None:
            raise AchieveItInvalidRowsError(
                f"{self.custom_operator_name}: {self.python_callable.__name__} returned None, nothing was sent. Return "
                "the rows; an empty list where there are none"
            )
        self.rows = _each_told_apart(rows) if isinstance(rows, Iterator) else rows
        return super()._prepare(context)


def _refuse_sources(decorator: str, options: Mapping[str, Any]) -> None:
    if given := [name for name in _SOURCES if options.get(name) is not None]:
        raise ValueError(f"{decorator}: leave out {', '.join(given)}; the function gives the rows")


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _FunctionFailed(error) from error


def _each_told_apart(rows: Iterator[Any]) -> Iterator[Any]:
    with _told_apart():
        yield from rows


class _ProgressUpdatesOfFunctionOperator(_UpdatesOfFunctionOperator, AchieveItSubmitProgressUpdatesOperator):
    custom_operator_name = "@task.achieveit_progress_updates"


class _MetricUpdatesOfFunctionOperator(_UpdatesOfFunctionOperator, AchieveItSubmitMetricUpdatesOperator):
    custom_operator_name = "@task.achieveit_metric_updates"


def progress_updates_task(python_callable: Callable[..., Any] | None = None, **options: Any) -> TaskDecorator:
    """Make a task that submits the rows of a function as progress updates: ``@task.achieveit_progress_updates``.

    See "TaskFlow" in Airflow's documentation, and "Submitting Progress Updates" in the help centre.

    :param python_callable: returns rows as a list of dicts, a DataFrame, or any iterable of dicts (a generator).
    :param options: those of :class:`.operators.updates.AchieveItSubmitProgressUpdatesOperator` but ``sql``,
        ``conn_id``, ``parameters``, ``path``, ``path_conn_id`` and ``rows``.
    :raises ValueError: one of these is given.
    """
    return _decorator(_ProgressUpdatesOfFunctionOperator, python_callable, options)


def metric_updates_task(python_callable: Callable[..., Any] | None = None, **options: Any) -> TaskDecorator:
    """Make a task that submits the rows of a function as metric updates: ``@task.achieveit_metric_updates``.

    See "TaskFlow" in Airflow's documentation, and "Submitting Metric Updates" in the help centre.

    :param python_callable: returns rows as a list of dicts, a DataFrame, or any iterable of dicts (a generator).
    :param options: those of :class:`.operators.updates.AchieveItSubmitMetricUpdatesOperator` but ``sql``, ``conn_id``,
        ``parameters``, ``path``, ``path_conn_id`` and ``rows``.
    :raises ValueError: one of these is given.
    """
    return _decorator(_MetricUpdatesOfFunctionOperator, python_callable, options)


def _decorator(
    operator: type[_UpdatesOfFunctionOperator], python_callable: Callable[..., Any] | None, options: Mapping[str, Any]
) -> TaskDecorator:
    # A mapped task makes its operator when it runs: too late to say this.
    _refuse_sources(operator.custom_operator_name, options)
    return task_decorator_factory(python_callable, decorated_operator_class=operator, **options)
