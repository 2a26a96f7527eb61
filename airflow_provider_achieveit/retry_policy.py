"""The retry policy that the operators and the sensor have by default, on Airflow 3.3 and later.

An error that no retry can mend fails the task at once with its reason, and where AchieveIt asked to wait, the next try
waits that long; everything else is left to Airflow. A policy of the user's own (an argument or in ``default_args``)
takes its place, and ``retry_policy=None`` is none at all.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_achieveit.exceptions import AchieveItError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

try:
    from airflow.providers.common.compat.sdk import RetryDecision, RetryPolicy
except ImportError:
    # Before Airflow 3.3 there are none: what derives from AirflowFailException still fails at once.
    DEFAULT_RETRY_POLICY: Any = None
else:

    class AchieveItRetryPolicy(RetryPolicy):
        """Fail at once what a retry cannot mend, and wait as long as AchieveIt asked to."""

        def evaluate(
            self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
        ) -> RetryDecision:
            """Decide about the next try of a failed task.

            AchieveIt's Retry-After (an hour at most) never makes a retry come sooner than the task's own
            ``retry_delay`` would: tries that were meant to last over an outage must not be used up in seconds. The
            task's ``max_retry_delay`` holds for it too.

            :param exception: why the task failed.
            :param try_number: the try that failed, from 1.
            :param max_tries: not used: Airflow itself counts the tries.
            :param context: the task's context.
            """
            if not isinstance(exception, AchieveItError):
                return RetryDecision.default()
            if not exception.retryable:
                return RetryDecision.fail(f"{type(exception).__name__}, which a retry cannot mend: {exception}")
            task = context["task"] if context else None
            asked = exception.retry_after or 0.0
            if (longest := getattr(task, "max_retry_delay", None)) is not None:
                asked = min(asked, longest.total_seconds())
            if asked <= _own_delay(task, try_number):
                return RetryDecision.default()
            status = f"HTTP {exception.status}, " if exception.status else ""
            return RetryDecision.retry(timedelta(seconds=asked), f"{status}AchieveIt asked to wait {asked:g} s")

        def serialize(self) -> dict[str, Any]:
            """Return the policy as JSON values; it has no settings."""
            return {"__type": f"{type(self).__module__}.{type(self).__qualname__}"}

        @classmethod
        def deserialize(cls, data: dict[str, Any]) -> AchieveItRetryPolicy:
            """Read what :meth:`serialize` gave."""
            return cls()

    DEFAULT_RETRY_POLICY = AchieveItRetryPolicy()


def policy_argument(policy: Any) -> dict[str, Any]:
    """Return a policy as an argument of ``BaseOperator``, which has none of that name before Airflow 3.3.

    :param policy: the policy, or None.
    """
    return {} if policy is None and DEFAULT_RETRY_POLICY is None else {"retry_policy": policy}


def _own_delay(task: Any, try_number: int) -> float:
    """Return the seconds that Airflow itself would wait at least."""
    if task is None:
        return 0.0
    # A number to multiply by (Airflow 3.2 and later); 0 and 1 mean no backoff.
    multiplier = float(task.retry_exponential_backoff or 1)
    try:
        return float(task.retry_delay.total_seconds() * multiplier ** (try_number - 1))
    except OverflowError:
        return float("inf")
