"""The provider's errors.

Every one says what happened, where and what to do, and derives from ``AirflowException``, so that ``soft_fail`` and
callbacks treat it like Airflow's own. Those that a retry cannot mend derive from ``AirflowFailException`` too: Airflow
then fails the task at once, whatever its ``retries`` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind


class AchieveItError(AirflowException):
    """Anything that went wrong with AchieveIt.

    :param message: what happened, where, and what to do.
    :param status: the HTTP status code of AchieveIt's answer, if one came.
    :param retryable: whether a retry may succeed without anybody mending anything (default False).
    :param retry_after: seconds AchieveIt asked to wait, if it did.
    :param job_id: the job concerned, if one is.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        job_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retryable = retryable
        self.retry_after = retry_after
        self.job_id = job_id


class AchieveItAuthError(AchieveItError, AirflowFailException):
    """The API key is missing or was not accepted (401)."""


class AchieveItForbiddenError(AchieveItError, AirflowFailException):
    """The key's user may not do this (403)."""


class AchieveItRequestError(AchieveItError, AirflowFailException):
    """AchieveIt did not understand the request (another 4xx), or answered with a redirect that is not followed."""


class AchieveItUnavailableError(AchieveItError):
    """AchieveIt could not be asked just now: 429, 5xx or the network. Worth a retry."""


class AchieveItUnsureSubmissionError(AchieveItError, AirflowFailException):
    """A batch went out and no usable answer came back: only a person can tell whether it is queued."""


class AchieveItJobFailedError(AchieveItError):
    """AchieveIt did not apply a batch: its side failed (500), so a retry may help."""


class AchieveItJobRefusedError(AchieveItJobFailedError, AirflowFailException):
    """AchieveIt refused the data of a batch (400): the same data would be refused again."""


class AchieveItJobTimeoutError(AchieveItError, AirflowFailException):
    """A job had not ended at the deadline. AchieveIt may still apply it, so nothing is sent again."""


class AchieveItInvalidRowsError(AchieveItError, AirflowFailException):
    """Rows of the source cannot be sent as they are."""


class AchieveItInconsistentExportError(AchieveItError):
    """A plan kept changing while its pages were read; nothing was loaded. Worth a retry at a quieter time."""


class AchieveItLoadRefusedError(AchieveItError, AirflowFailException):
    """The warehouse, the file's place, run or settings forbid a load: nothing was written, no retry helps."""


_ERRORS: dict[FailureKind, type[AchieveItError]] = {
    FailureKind.AUTH: AchieveItAuthError,
    FailureKind.FORBIDDEN: AchieveItForbiddenError,
    FailureKind.REQUEST: AchieveItRequestError,
    FailureKind.UNAVAILABLE: AchieveItUnavailableError,
    FailureKind.UNSURE: AchieveItUnsureSubmissionError,
    FailureKind.JOB_REFUSED: AchieveItJobRefusedError,
    FailureKind.JOB_FAILED: AchieveItJobFailedError,
    FailureKind.JOB_TIMEOUT: AchieveItJobTimeoutError,
    FailureKind.INCONSISTENT_EXPORT: AchieveItInconsistentExportError,
}


def error_for(failure: Failure, message: str | None = None) -> AchieveItError:
    """Return the typed error for a failure.

    :param failure: what went wrong.
    :param message: told instead of the failure's own message (default: that one).
    """
    return _ERRORS[failure.kind](
        message or failure.message,
        status=failure.status,
        retryable=failure.retryable,
        retry_after=failure.retry_after,
        job_id=failure.job_id,
    )


@contextmanager
def typed_errors() -> Iterator[None]:
    """Turn an :class:`~.api.failure.ApiError` of the block into its typed error."""
    try:
        yield
    except ApiError as error:
        # The carrier's own traceback names hosts and headers' places; the message already says all that matters.
        raise error_for(error.failure) from None
