"""Around a probe: the marked update, what a person is told before and after, and the report's file."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from airflow_provider_achieveit.cli.failures import ExitCode, StoppedError
from airflow_provider_achieveit.cli.task import DAG_ID

if TYPE_CHECKING:
    from airflow_provider_achieveit.api.client import AchieveItClient
    from airflow_provider_achieveit.api.probe.run import MarkedUpdate, Probe

MARK = "Test entry of airflow achieveit probe: it finds out how AchieveIt answers to updates"
"""The comment of the one update that a probe may send: whoever sees it in the item's history knows what it is."""
_NEEDED = {"status": "--status", "as_of_date": "--as-of-date"}
_OF_UPDATE = {**_NEEDED, "metric_value": "--metric-value", "format": "--format"}


def marked_update(args: Namespace) -> MarkedUpdate | None:
    """Return the update that the command line describes, None where none is wanted.

    What it would do to the item is the user's to say: nothing of it is guessed, or taken from the plan.

    :raises StoppedError: an option is missing, or of no use, or its value cannot be sent.
    """
    from airflow_provider_achieveit.api.contract import BodyFormat, UpdateField, UpdateKind, submit_request
    from airflow_provider_achieveit.api.probe.run import MarkedUpdate
    from airflow_provider_achieveit.updates.filenames import batch_filename
    from airflow_provider_achieveit.updates.single import single_update

    if "write_item" not in args:
        if lonely := [option for name, option in _OF_UPDATE.items() if name in args]:
            raise StoppedError(ExitCode.USAGE, f"{lonely[0]} belongs to an update; give --write-item too")
        return None
    if missing := [option for name, option in _NEEDED.items() if name not in args]:
        raise StoppedError(
            ExitCode.USAGE,
            f"--write-item needs {' and '.join(missing)}, and --metric-value if the item has a metric: the update "
            "counts as any other, so it is yours to say what the item is to have",
        )
    body_format = BodyFormat(getattr(args, "format", "csv"))
    values = {
        UpdateField.EXTERNAL_ID: args.write_item,
        UpdateField.STATUS: args.status,
        UpdateField.METRIC_VALUE: getattr(args, "metric_value", None),
        UpdateField.AS_OF_DATE: args.as_of_date,
        UpdateField.COMMENT: MARK,
    }
    try:
        batch = single_update(values, body_format=body_format)
    except ValueError as error:
        raise StoppedError(ExitCode.USAGE, f"The update cannot be sent, and nothing was asked: {error}") from None
    filename = batch_filename(
        dag_id=DAG_ID,
        task_id="probe",
        run_id="marked-update",
        map_index=-1,
        number=1,
        sha256=batch.sha256,
        body_format=body_format,
    )
    return MarkedUpdate(args.write_item, submit_request(UpdateKind.PROGRESS, filename, batch.body))


@contextmanager
def new_report(client: AchieveItClient, plan_id: str, update: MarkedUpdate | None, path: str) -> Iterator[Probe]:
    """Give the probe of a connection, and write what it has seen into a new file, however it ends.

    :param client: the connection.
    :param plan_id: the plan to read, may be empty.
    :param update: the update to send, if any.
    :param path: the file; empty: none.
    :raises OSError: the file is there already, or cannot be made; nothing was asked then.
    :raises StoppedError: interrupted.
    """
    from airflow_provider_achieveit.api.probe.report import markdown
    from airflow_provider_achieveit.api.probe.run import Probe

    config = client.config
    probe = Probe(client.ask, base_url=config.base_url, api_key=config.api_key, plan_id=plan_id, update=update)
    with ExitStack() as stack:
        if path:
            file: TextIO = stack.enter_context(Path(path).open("x", encoding="utf-8"))
            stack.callback(lambda: file.write(markdown(probe.document())))
        try:
            yield probe
        except KeyboardInterrupt:
            told = f"Interrupted after {probe.requests_sent} of {probe.planned} requests.{_told_update(probe)}"
            jobs = [probe.job_id] if probe.job_id else []
            raise StoppedError(ExitCode.INTERRUPTED, told, job_ids=jobs) from None


def tell_plan(probe: Probe) -> None:
    """Say on standard error what is going to be asked."""
    sent = "One of them sends the marked update." if probe.updates_planned else "All of them only read."
    sys.stderr.write(
        f"At most {probe.planned} requests go out, one after the other, {probe.unsigned} of them without the key or "
        f"with a made-up one. {sent}\n"
    )


def how_it_ended(probe: Probe) -> tuple[ExitCode, str]:
    """Return the exit code of a probe that was not interrupted, and what a person should know besides."""
    told = f"{probe.requests_sent} requests were sent.{_told_update(probe)}"
    if probe.stopped:
        told += f" The rest was not asked: {probe.stopped}."
    if probe.updates_sent == "unsure" or (probe.updates_sent and (probe.stopped or not probe.job_id)):
        return ExitCode.LOOK_FIRST, told
    if probe.stopped:
        return ExitCode.REPEAT, told
    if probe.key_refused and not probe.plan_read:
        mend = "save a valid API key as the password of the connection, and look whether the command check accepts it"
        return ExitCode.FAILED, f"{told} The key was not accepted (401): {mend}."
    if probe.plan_read is False:
        return ExitCode.FAILED, f"{told} The plan could not be read: look at export_address."
    return ExitCode.DONE, told


def _told_update(probe: Probe) -> str:
    if probe.updates_sent == "unsure":
        return " Nobody can tell whether the marked update is queued: look at the item's history."
    if not probe.updates_sent:
        return " The marked update was not sent, or not taken." if probe.updates_planned else ""
    return f" The marked update is job {probe.job_id or '(its id could not be read)'}."
