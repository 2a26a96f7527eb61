"""What a test of a connection can prove. AchieveIt documents no call that only checks a key, and no "who am I".

Reading a plan proves all. Without one, the state of a job that cannot exist is asked for: an answer shows that
something is there, and a 401 that it refused the key, but any other may have been given without a look at the key.
"""

from __future__ import annotations

from airflow_provider_achieveit.api.client import AchieveItClient
from airflow_provider_achieveit.api.contract import JobState, JobStatus, UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind
from airflow_provider_achieveit.api.rate import HeldBackError

PATIENCE = 15.0
"""Seconds for an answer: somebody is looking at the form."""
_NO_JOB = "00000000-0000-0000-0000-000000000000"


def check(client: AchieveItClient, plan_id: str) -> tuple[bool, str]:
    """Tell what works, station by station: reachable, key accepted, plan readable. Read-only; one or two requests.

    :param client: how to ask.
    :param plan_id: a plan of which one item is read; empty: none.
    :return: whether nothing is wrong, and what was proved and what not.
    """
    try:
        if not plan_id:
            return _without_a_plan(client.job_status(UpdateKind.PROGRESS, _NO_JOB, PATIENCE))
        page = client.fetch_plan_page(plan_id, skip=0, take=1, sort_key="sequenceId", patience=PATIENCE)
    except HeldBackError as error:
        return False, f"Nothing was tested: {error}."
    except ApiError as error:
        return False, _explained(error.failure, plan_id)
    return True, f"Reachable: yes. Key accepted: yes. Plan readable: yes, plan {plan_id} has {page.total_count} items."


def _without_a_plan(status: JobStatus) -> tuple[bool, str]:
    if status.reason.startswith("<") or status.state in (JobState.APPLIED, JobState.PENDING):
        return False, (
            "Reachable: something answers, but not like AchieveIt's API (to a question about a job that does not "
            f"exist: {status.state}, {status.reason!r}). Check the base URL, and whether a proxy answers in its place. "
            "Key accepted: not tested."
        )
    if status.state is JobState.FAILED:
        return False, f"Reachable: yes, but AchieveIt fails just now ({status.reason!r}). Key accepted: not tested."
    return True, (
        "Reachable: yes. Key accepted: it was not refused, but only reading a plan proves more: set the extra field "
        "plan_id. Plan readable: not tested."
    )


def _explained(failure: Failure, plan_id: str) -> str:
    # What was asked is plain here.
    message = failure.message.removeprefix(f"status of job {_NO_JOB}: ").removeprefix(f"export of plan {plan_id}: ")
    message = message.rstrip(".")
    if failure.status is None:
        return f"Reachable: no. {message}."
    if failure.kind is FailureKind.AUTH:
        return f"Reachable: yes. Key accepted: no. {message}. Plan readable: not tested."
    told = f"Reachable: yes. Key accepted: not proved. Plan readable: {'no' if plan_id else 'not tested'}. {message}."
    if failure.kind is FailureKind.FORBIDDEN:
        told += " AchieveIt's documents leave open whether it answers an unknown key in this way too."
    return told
