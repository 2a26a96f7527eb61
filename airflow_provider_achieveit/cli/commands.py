"""What the commands do: each makes the operator (or hook) that a DAG would use, and runs it here."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_achieveit.cli.failures import NOT_WRITTEN_DOWN, ExitCode, StoppedError, stopped_by
from airflow_provider_achieveit.cli.running import Answer, command
from airflow_provider_achieveit.cli.task import CommandTask, absolute, run_operator
from airflow_provider_achieveit.exceptions import AchieveItJobRefusedError

if TYPE_CHECKING:
    from airflow_provider_achieveit.api.client import AchieveItClient
    from airflow_provider_achieveit.api.contract import UpdateKind
    from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator

_SUBMIT_OPTIONS = (
    "achieveit_conn_id path path_conn_id columns as_of_date timezone status_map extra_statuses format header "
    "batch_size on_invalid rejects_path on_duplicate on_empty artifact_path wait_for_completion poll_interval "
    "wait_timeout ledger_conn_id ledger_table resubmit on_unsure"
).split()
_EXPORT_OPTIONS = (
    "achieveit_conn_id plan_id path path_conn_id format page_size sort_key parallel_pages max_reads unescape_html"
).split()
_PATHS = {"path", "rejects_path", "artifact_path"}
_LOOK_PAUSE = 2.0
_LONGEST_LOOK = 60.0
"""Seconds: how often and how long a job is asked again that says it failed; once may be a passing fault."""


@command
def check(args: Namespace) -> Answer:
    """Tell what works of a connection: what its test in Airflow's form tells."""
    from airflow_provider_achieveit.hooks.achieveit import AchieveItHook

    hook = AchieveItHook(**_given(args, ["achieveit_conn_id"]))
    works, message = hook.test_connection()
    if not works:
        raise StoppedError(ExitCode.FAILED, f"Connection {hook.achieveit_conn_id!r}: {message}")
    return Answer({"conn_id": hook.achieveit_conn_id, "message": message})


@command
def validate(args: Namespace) -> Answer:
    """Check a file as a submit does, without a connection."""
    return _validated(args)


@command
def submit(args: Namespace) -> Answer:
    """Check a file, send it, and wait; a repeat knows what was sent where there is a ledger."""
    if args.dry_run:
        return _validated(args)
    has_ledger = bool(getattr(args, "ledger_conn_id", ""))
    if not has_ledger and (lonely := [name for name in ("ledger_table", "run_id", "resubmit") if name in args]):
        option = f"--{lonely[0].replace('_', '-')}"
        raise StoppedError(ExitCode.USAGE, f"{option} says how a ledger is used; give --ledger-conn-id too")
    operator = _submit_operator(args, durable=has_ledger, deferrable=False)
    task = CommandTask.of_file(operator.kind, str(operator.path), run_id=getattr(args, "run_id", None))
    try:
        result = run_operator(operator, task)
    except AirflowSkipException as skipped:
        return Answer({"skipped": str(skipped)})
    except KeyboardInterrupt:
        operator.on_kill()
        raise StoppedError(ExitCode.INTERRUPTED, _interrupted(task, has_ledger), job_ids=task.job_ids) from None
    except Exception as error:
        # The only batch was refused: nothing is there that could be there twice.
        nothing_applied = not task.job_ids or (isinstance(error, AchieveItJobRefusedError) and len(task.job_ids) == 1)
        stopped = stopped_by(error, job_ids=task.job_ids, repeat_is_safe=has_ledger or nothing_applied)
        if stopped is None:
            raise
        raise stopped from error
    hint = NOT_WRITTEN_DOWN if task.job_ids and not has_ledger else ""
    return Answer({**result, "job_ids": task.job_ids}, hint=hint)


def _validated(args: Namespace) -> Answer:
    operator = _submit_operator(args, dry_run=True)
    try:
        return Answer(run_operator(operator, CommandTask.of_file(operator.kind, str(operator.path))))
    except AirflowSkipException as skipped:
        return Answer({"skipped": str(skipped)})


def _interrupted(task: CommandTask, has_ledger: bool) -> str:
    if has_ledger:
        return f"Interrupted; {len(task.job_ids)} batches were sent. The same command goes on from here."
    told = f" {NOT_WRITTEN_DOWN}" if task.job_ids else ""
    return f"Interrupted; {len(task.job_ids)} batches were sent.{told}"


@command
def status(args: Namespace) -> Answer:
    """Look once at every job."""
    from airflow_provider_achieveit.api.contract import UpdateKind
    from airflow_provider_achieveit.exceptions import typed_errors
    from airflow_provider_achieveit.hooks.achieveit import AchieveItHook

    if not all(job_id.strip() for job_id in args.job_ids):
        raise StoppedError(ExitCode.USAGE, "A job id is empty")
    with typed_errors(), AchieveItHook(**_given(args, ["achieveit_conn_id"])).get_conn() as client:
        jobs = [_job(client, UpdateKind(args.kind), job_id) for job_id in dict.fromkeys(args.job_ids)]
    states = {job["state"] for job in jobs}
    code = ExitCode.DONE if states == {"applied"} else ExitCode.FAILED
    if states <= {"applied", "pending"} and "pending" in states:
        code = ExitCode.REPEAT
    return Answer({"kind": args.kind, "jobs": jobs}, code)


@command
def export(args: Namespace) -> Answer:
    """Write a plan into a file."""
    from airflow_provider_achieveit.operators.export import AchieveItExportPlanToFileOperator

    operator = AchieveItExportPlanToFileOperator(task_id="export", **_given(args, _EXPORT_OPTIONS))
    return Answer(run_operator(operator, CommandTask("export", operator.plan_id)))


@command
def probe(args: Namespace) -> Answer:
    """Ask a tenant what the documents leave open."""
    from airflow_provider_achieveit.api.probe.report import summary
    from airflow_provider_achieveit.cli.probing import how_it_ended, marked_update, new_report, tell_plan
    from airflow_provider_achieveit.exceptions import typed_errors
    from airflow_provider_achieveit.hooks.achieveit import AchieveItHook

    update = marked_update(args)
    hook = AchieveItHook(**_given(args, ["achieveit_conn_id"]))
    plan_id = args.plan_id.strip() or hook.get_plan_id()
    with (
        typed_errors(),
        hook.get_conn() as client,
        new_report(client, plan_id, update, getattr(args, "report", "")) as probe,
    ):
        tell_plan(probe)
        probe.run()
    document = probe.document()
    code, hint = how_it_ended(probe)
    return Answer(document if args.output == "json" else summary(document), code, hint)


def simulate(args: Namespace) -> None:
    """Run the simulator until it is interrupted."""
    from airflow_provider_achieveit.simulator.__main__ import serve

    serve(args)


def _submit_operator(args: Namespace, **options: Any) -> AchieveItSubmitProgressUpdatesOperator:
    from airflow_provider_achieveit.operators import updates

    kinds: Mapping[str, Any] = {
        "progress": updates.AchieveItSubmitProgressUpdatesOperator,
        "metric": updates.AchieveItSubmitMetricUpdatesOperator,
    }
    operator: AchieveItSubmitProgressUpdatesOperator = kinds[args.kind](
        task_id=f"submit_{args.kind}", **_given(args, _SUBMIT_OPTIONS), **options
    )
    return operator


def _given(args: Namespace, names: list[str]) -> dict[str, Any]:
    given = {name: getattr(args, name) for name in names if name in args}
    # Some versions of Airflow look for what is relative in the root directory.
    return {name: absolute(value) if name in _PATHS else value for name, value in given.items()}


def _job(client: AchieveItClient, kind: UpdateKind, job_id: str) -> dict[str, str]:
    """Return the state of a job; a failure counts only when it is repeated."""
    from airflow_provider_achieveit.api.contract import JobState
    from airflow_provider_achieveit.api.failure import ApiError
    from airflow_provider_achieveit.api.jobs import JobWait

    found = client.job_status(kind, job_id)
    state, reason = found.state.value, found.reason
    if found.state is JobState.FAILED:
        now = time.time()
        wait = JobWait([job_id], poll_interval=_LOOK_PAUSE, deadline=now + _LONGEST_LOOK, now=now)
        outcome = client.look_at_jobs(kind, wait)
        if outcome.failure:
            raise ApiError(outcome.failure)
        result = outcome.results.get(job_id)
        state, reason = (result.end.value, result.reason) if result else (JobState.PENDING.value, "")
    return {"job_id": job_id, "state": state, "reason": reason}
