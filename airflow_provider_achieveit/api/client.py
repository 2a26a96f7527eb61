"""The synchronous carrier of the contract, on requests (workers)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any

import requests
from tenacity import Retrying, retry_if_exception, stop_after_attempt

from airflow_provider_achieveit.api import contract
from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.api.contract import JobStatus, Page, UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, Failure, FailureKind, innermost, unreachable
from airflow_provider_achieveit.api.frames import cleared_frames
from airflow_provider_achieveit.api.http import (
    MAX_REDIRECTS,
    MAX_RESPONSE_BYTES,
    MAX_STATUS_BYTES,
    SLOWEST_ANSWER,
    ApiRequest,
    ApiResponse,
    safe_redirect,
    without_key,
)
from airflow_provider_achieveit.api.jobs import JobWait, WaitOutcome
from airflow_provider_achieveit.api.progress import report
from airflow_provider_achieveit.api.rate import RateLimit, Turn
from airflow_provider_achieveit.api.retry import may_repeat, wait_before_repeat
from airflow_provider_achieveit.api.wire import Adapter, Body, Limit

log = logging.getLogger(__name__)

# requests parses a Location header even where it is not to follow it, and stumbles over odd ones.
_NO_ANSWER = (requests.RequestException, ValueError)


class AchieveItClient:
    """Calls of the AchieveIt API; each returns a value or raises :class:`ApiError`.

    Repeats by itself what may be repeated (:mod:`.retry`). May be used from several threads; close it, or use it as a
    context manager.

    :param config: where and how to call.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self._rate = RateLimit(config)
        # requests does not promise that a session may be shared by threads: each has its own.
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def __enter__(self) -> AchieveItClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        while self._sessions:
            self._sessions.pop().close()
        self._local = threading.local()

    def submit(self, kind: UpdateKind, filename: str, body: bytes) -> str:
        """Queue one batch and return its job id.

        A POST is repeated only where AchieveIt cannot have taken it: not one byte of the body left this machine, or
        the answer was 429, 503 or the documented 500 "failed to be queued".

        :param kind: progress or metric updates.
        :param filename: the name of the batch; its extension tells the format.
        :param body: the bytes of the batch.
        :raises ApiError: refused, not reachable, or (unsure) no usable answer after the body went out.
        """
        request = contract.submit_request(kind, filename, body)

        def post() -> str:
            # A connection of its own: on a kept-alive one the server may have just closed, a batch that never
            # arrived would look like one whose answer was lost.
            with self._new_session() as session:
                response = self._send_body(session, request, filename)
            if not contract.is_taken(response):
                raise ApiError(contract.submit_failure(response, filename))
            return contract.read_job_id(response)

        return str(self._repeating(post))

    def await_turn(self) -> None:
        """Wait until the connection's limit lets a request go; this thread's next one goes without waiting.

        For what has to be said before a request, but not long before.

        :raises ApiError: the requests cannot be counted.
        """
        self._local.turn = self._turn_come(None)

    def job_status(self, kind: UpdateKind, job_id: str, patience: float | None = None) -> JobStatus:
        """Ask once for a job's state; the caller's wait decides about asking again.

        :param kind: progress or metric updates.
        :param job_id: the job.
        :param patience: seconds until the whole answer must be there, if fewer than the timeout (default: no limit).
        :raises ApiError: no answer, or one that says nothing about the job.
        """
        what = f"status of job {job_id}"
        request = contract.job_status_request(kind, job_id)
        return contract.read_job_status(self._get(request, what, patience, enough=MAX_STATUS_BYTES), job_id)

    def wait_for_jobs(
        self, kind: UpdateKind, wait: JobWait, sleep: Callable[[float], None] = time.sleep
    ) -> WaitOutcome:
        """Ask about the jobs of a wait, round by round, until it is over.

        :param kind: progress or metric updates.
        :param wait: the jobs, the interval and the deadline.
        :param sleep: how to pause (default: :func:`time.sleep`).
        """
        jobs = len(wait.pending)
        while wait.pending:
            self._ask(kind, wait, wait.pending)
            report("jobs ended", jobs - len(wait.pending), jobs)
            if line := wait.report(time.time()):
                log.info(line)
            if wait.pending:
                sleep(wait.next_delay(time.time()))
        return wait.outcome()

    def look_at_jobs(self, kind: UpdateKind, wait: JobWait, sleep: Callable[[float], None] = time.sleep) -> WaitOutcome:
        """Ask about the jobs of a wait once, and again only where a failure needs to be confirmed.

        :param kind: progress or metric updates.
        :param wait: the jobs and the interval.
        :param sleep: how to pause (default: :func:`time.sleep`).
        """
        self._ask(kind, wait, wait.pending)
        while wait.unconfirmed:
            sleep(wait.next_delay(time.time()))
            self._ask(kind, wait, wait.unconfirmed)
        return wait.outcome()

    def _ask(self, kind: UpdateKind, wait: JobWait, job_ids: list[str]) -> None:
        for job_id in job_ids:
            try:
                # The deadline holds within a round too: many jobs, or a server that hangs, must not stretch it.
                patience = wait.patience(time.time())
                if patience is None:
                    return
                wait.observe(job_id, self.job_status(kind, job_id, patience), time.time())
            except ApiError as error:
                wait.observe_failure(job_id, error.failure)
                if not error.failure.retryable:
                    return

    def fetch_plan_page(
        self,
        plan_id: str,
        *,
        skip: int,
        take: int,
        sort_key: str,
        descending: bool = False,
        patience: float | None = None,
    ) -> Page:
        """Return one page of a plan's items as they are now.

        :param plan_id: the plan.
        :param skip: items to leave out at the start.
        :param take: items wanted, at most :data:`.contract.MAX_TAKE`.
        :param sort_key: one of :data:`.contract.SORT_KEYS`.
        :param descending: turn the order round (default: no).
        :param patience: seconds until an answer must be there as a whole (default: no limit but the timeouts).
        :raises ApiError: not reachable, not allowed, or no readable page, after the repeats the config allows.
        """
        what = f"export of plan {plan_id}"
        request = partial(
            contract.plan_page_request, plan_id, skip=skip, take=take, sort_key=sort_key, descending=descending
        )

        def get() -> Page:
            response = self._get(request(), what, patience)
            if response.status == 404:
                # Older tenants have the same answer under another address; an unknown plan is 404 at both.
                old = self._get(request(legacy=True), what, patience)
                response = old if old.status != 404 else response
            return contract.read_page(response, plan_id)

        page: Page = self._repeating(get)
        return page

    def ask(self, request: ApiRequest, what: str, *, signed: bool = True) -> ApiResponse:
        """Send a request once and return whatever answer comes: nothing is repeated, followed or judged.

        :param request: the request.
        :param what: what is asked, for the message.
        :param signed: send the key with it, default True; else no header goes out but the request's own.
        :raises ApiError: no answer came; unsure, if a body went out.
        """
        with self._new_session() as session:
            if not signed:
                session.auth = _unsigned
            if request.body is not None:
                return self._send_body(session, request, what)
            options: dict[str, Any] = {"params": dict(request.params), "headers": dict(request.headers)}
            try:
                return self._send(session, request.method, self.config.url(request.path), **options)
            except _NO_ANSWER as error:
                raise ApiError(unreachable(what, self.config.base_url, error)) from None

    def _repeating(self, call: Any) -> Any:
        attempts = self.config.max_retries + 1
        repeating = Retrying(
            retry=retry_if_exception(may_repeat),
            stop=stop_after_attempt(attempts),
            wait=wait_before_repeat,
            before_sleep=lambda state: log.warning(
                "Attempt %d failed, next in %.1f s: %s",
                state.attempt_number,
                state.next_action.sleep if state.next_action else 0,
                state.outcome.exception() if state.outcome else "",
            ),
            reraise=True,
        )
        try:
            return repeating(call)
        except ApiError as error:
            if not error.failure.retryable or attempts == 1:
                raise
            told = f"{error.failure.message} ({attempts} attempts)"
            raise ApiError(replace(error.failure, message=told)) from None

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        for scheme in ("https://", "http://"):
            session.mount(scheme, Adapter())
        # An auth object rather than a header: requests would put a .netrc entry for the host in a header's place.
        session.auth = self._authorize
        return session

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers[contract.AUTHORIZATION] = contract.authorization(self.config.api_key)
        return request

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = self._new_session()
            self._sessions.append(self._local.session)
        session: requests.Session = self._local.session
        return session

    def _get(
        self, request: ApiRequest, what: str, patience: float | None = None, enough: int | None = None
    ) -> ApiResponse:
        """GET, following redirects on the same host only; ``enough`` bytes of the body are wanted at most."""
        url, params = self.config.url(request.path), dict(request.params)
        for _ in range(MAX_REDIRECTS + 1):
            try:
                options = {"params": params, "headers": dict(request.headers)}
                response = self._send(self._session(), "GET", url, patience, enough, **options)
            except _NO_ANSWER as error:
                raise ApiError(unreachable(what, self.config.base_url, error)) from None
            target = safe_redirect(response.url, response.header("location"))
            if response.status not in (301, 302, 303, 307, 308) or target is None:
                return response
            url, params = target, {}
        return response

    def _send_body(self, session: requests.Session, request: ApiRequest, filename: str) -> ApiResponse:
        """POST a body and tell, if no answer comes, whether it can have arrived."""
        body = Body(request.body or b"")
        try:
            return self._send(session, "POST", self.config.url(request.path), data=body, headers=dict(request.headers))
        except _NO_ANSWER as error:
            what = f"POST of batch {filename}"
            if not body.touched:
                raise ApiError(unreachable(what, self.config.base_url, error)) from None
            raise ApiError(
                Failure(
                    FailureKind.UNSURE,
                    f"{what}: no usable answer after the batch went out ({innermost(error)}); AchieveIt may or may not "
                    "have queued it",
                )
            ) from None

    def _send(
        self,
        session: requests.Session,
        method: str,
        url: str,
        patience: float | None = None,
        enough: int | None = None,
        **options: Any,
    ) -> ApiResponse:
        turn = self._local.__dict__.pop("turn", None) or self._turn_come(patience)
        try:
            with cleared_frames():
                return self._exchange(session, method, url, turn.patience(), enough, **options)
        finally:
            turn.answered()

    def _turn_come(self, patience: float | None) -> Turn:
        turn = self._rate.turn(patience)
        for pause in turn.pauses():
            time.sleep(pause)
        return turn

    def _exchange(
        self,
        session: requests.Session,
        method: str,
        url: str,
        patience: float | None,
        enough: int | None,
        **options: Any,
    ) -> ApiResponse:
        # ``verify`` is given with each request: requests lets REQUESTS_CA_BUNDLE win over the one of a session.
        silence = min(self.config.timeout, patience or self.config.timeout)
        options |= {"timeout": (min(self.config.connect_timeout, silence), silence), "verify": self.config.verify}
        with Limit(patience or self.config.timeout * SLOWEST_ANSWER) as limit:
            try:
                with session.request(method, url, allow_redirects=False, stream=True, **options) as answer:
                    body = _body_of(answer, enough)
            except _NO_ANSWER:
                if not limit.reached:
                    raise
        if limit.reached:
            # Also where what came looks whole: the end of an answer without a length is that of its connection.
            raise requests.exceptions.ReadTimeout("the answer came too slowly")
        return self._response(method, answer, body)

    def _response(self, method: str, answer: requests.Response, body: bytes) -> ApiResponse:
        key = self.config.api_key
        headers = {name.lower(): without_key(value, key) for name, value in answer.headers.items()}
        if method != "GET" or answer.status_code != 200:
            # Such a body is quoted in messages; a page of plan items is data and stays as it is.
            body = without_key(body.decode("utf-8", "surrogateescape"), key).encode("utf-8", "surrogateescape")
        return ApiResponse(answer.status_code, headers, body, answer.url)


def _unsigned(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # Not None: requests would then look for a .netrc entry for the host.
    return request


def _body_of(answer: requests.Response, enough: int | None) -> bytes:
    body = bytearray()
    for chunk in answer.iter_content(64 * 1024):
        body += chunk
        if enough is not None and len(body) > enough:
            break
        if len(body) > MAX_RESPONSE_BYTES:
            raise requests.exceptions.ContentDecodingError(f"the answer is larger than {MAX_RESPONSE_BYTES} bytes")
    return bytes(body)
