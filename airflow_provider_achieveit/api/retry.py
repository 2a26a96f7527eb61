"""When a call to AchieveIt may be repeated, and how long to wait before: one policy for both carriers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_achieveit.api.failure import ApiError
from airflow_provider_achieveit.api.http import LONGEST_PAUSE

if TYPE_CHECKING:
    from tenacity import RetryCallState

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 60.0


def may_repeat(error: BaseException) -> bool:
    """Tell whether a failed call may be repeated: only what AchieveIt cannot have acted upon is marked retryable."""
    return isinstance(error, ApiError) and error.failure.retryable


def wait_before_repeat(state: RetryCallState) -> float:
    """Return the seconds to wait: at least the server's Retry-After, else an exponential with full jitter.

    Jitter is added to Retry-After too, so that many tasks told the same moment do not come back as one.
    """
    from tenacity import wait_random_exponential

    jittered = float(wait_random_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT)(state))
    error = state.outcome.exception() if state.outcome else None
    asked = error.failure.retry_after if isinstance(error, ApiError) else None
    return jittered if asked is None else min(asked, LONGEST_PAUSE) + min(jittered, 1.0)
