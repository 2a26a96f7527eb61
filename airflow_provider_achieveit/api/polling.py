"""Looking at the jobs of all waits of an event loop, each when it is due.

Thousands of waits stand here at once (triggerer), most of them asleep or in the queue for a connection. Each is a few
plain objects then, and a look leaves none behind: Python's garbage collection stops the event loop while it goes
through all that lives long, and comes the sooner the more of it there is.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field

import aiohttp

from airflow_provider_achieveit.api import contract
from airflow_provider_achieveit.api.contract import JobStatus, UpdateKind
from airflow_provider_achieveit.api.failure import ApiError, unreachable
from airflow_provider_achieveit.api.http import MAX_STATUS_BYTES
from airflow_provider_achieveit.api.jobs import JobWait, WaitOutcome
from airflow_provider_achieveit.api.session import AsyncSession, patience_left

log = logging.getLogger(__name__)

_LINE_PAUSE = 0.05
"""Seconds from one line about a wait that goes on to the next: Airflow's triggerer takes in some hundred lines a second
from the process of its triggers, and one more would stop the event loop until there is room."""


async def ask_job_status(session: AsyncSession, kind: UpdateKind, job_id: str, patience: float | None) -> JobStatus:
    """Ask once for a job's state, on a connection that the caller has.

    :param session: where to ask.
    :param kind: progress or metric updates.
    :param job_id: the job.
    :param patience: seconds until the whole answer must be there; None: no limit but the timeout for silence.
    :raises ApiError: no answer, or one that says nothing about the job.
    """
    try:
        url = session.config.url(contract.job_status_request(kind, job_id).path)
        response = await session.get(url, patience, MAX_STATUS_BYTES)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise ApiError(unreachable(f"status of job {job_id}", session.config.base_url, error)) from None
    return contract.read_job_status(response, job_id)


@dataclass(slots=True, eq=False)
class _Waiting:
    """A wait, and who waits for its end."""

    kind: UpdateKind
    wait: JobWait
    end: asyncio.Future[WaitOutcome]
    context: Context
    """Of the task that waits: Airflow finds a trigger's log by it."""
    jobs: list[str] = field(default_factory=list)
    """What this round looks at."""
    begun: int = 0
    """How many of them have had a connection."""
    left: int = 0
    """How many have not been looked at."""
    last_round: bool = False
    """It has left the queue: who has no connection yet gets none."""


class JobPoller:
    """Looks at jobs when they are due, those that have been due longest first, as many at once as have a connection.

    :param session: where to ask.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        # When a round is due by the clock of the event loop, a number that keeps the order, and whose it is.
        self._rounds: list[tuple[float, int, _Waiting]] = []
        self._numbers = itertools.count()
        self._sooner = asyncio.Event()
        self._looking: dict[asyncio.Task[None], _Waiting] = {}
        self._dispatching: asyncio.Task[None] | None = None
        self._next_line = 0.0

    async def outcome(self, kind: UpdateKind, wait: JobWait) -> WaitOutcome:
        """Look at the jobs of a wait, round by round, until it is over; return what came out.

        :param kind: progress or metric updates.
        :param wait: the jobs, and how to ask about them.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(kind, wait, loop.create_future(), copy_context())
        self._begin_round(waiting, 0.0)
        # What has a connection ends in time by itself.
        longest = self._session.longest_queue(max(wait.deadline - time.time(), 0.0))
        leave = loop.call_later(longest, self._leave_queue, waiting, context=waiting.context)
        try:
            return await waiting.end
        finally:
            leave.cancel()
            for look, whose in self._looking.items():
                if whose is waiting:
                    look.cancel()

    async def close(self) -> None:
        """End what is still going on."""
        tasks = [*self._looking, *([self._dispatching] if self._dispatching else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin_round(self, waiting: _Waiting, delay: float) -> None:
        """Let all jobs that have not ended be looked at once; where there are none, the wait is over."""
        waiting.jobs = waiting.wait.pending
        waiting.begun, waiting.left = 0, len(waiting.jobs)
        if not waiting.jobs:
            waiting.end.set_result(waiting.wait.outcome())
            return
        this = (asyncio.get_running_loop().time() + delay, next(self._numbers), waiting)
        heapq.heappush(self._rounds, this)
        if self._rounds[0] is this:
            self._sooner.set()
        if self._dispatching is None or self._dispatching.done():
            # Not in the context of the wait that happens to be the first.
            self._dispatching = asyncio.create_task(self._dispatch(), context=Context())

    async def _dispatch(self) -> None:
        """Start each look when it is due and has a connection."""
        clock = asyncio.get_running_loop().time
        while self._rounds:
            while (pause := self._rounds[0][0] - clock()) > 0:
                self._sooner.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._sooner.wait()
            await self._session.sockets.acquire()
            due, _, waiting = self._rounds[0]
            if waiting.end.done() or waiting.last_round:
                heapq.heappop(self._rounds)
                self._session.sockets.release()
                continue
            job = waiting.jobs[waiting.begun]
            waiting.begun += 1
            if waiting.begun == len(waiting.jobs):
                heapq.heappop(self._rounds)
            look = asyncio.create_task(self._look(waiting, job, clock() - due), context=waiting.context)
            self._looking[look] = waiting
            look.add_done_callback(self._looked, context=waiting.context)

    async def _look(self, waiting: _Waiting, job: str, queued: float) -> None:
        """Look at a job.

        :param queued: seconds since it was due: what AchieveIt has no part in is not taken from its time.
        """
        wait = waiting.wait
        patience = wait.patience(time.time() - queued)
        if patience is None:
            return
        try:
            patience = patience_left(patience, queued)
            wait.observe(job, await ask_job_status(self._session, waiting.kind, job, patience), time.time())
        except ApiError as error:
            wait.observe_failure(job, error.failure)

    def _looked(self, look: asyncio.Task[None]) -> None:
        self._session.sockets.release()
        waiting = self._looking.pop(look)
        if look.cancelled() or waiting.end.done():
            return
        if error := look.exception():
            # None of AchieveIt's: a fault of the provider, of which the task that waits has to hear.
            waiting.end.set_exception(error)
            return
        waiting.left -= 1
        self._end_round(waiting)

    def _end_round(self, waiting: _Waiting) -> None:
        """Go on with a wait that has looked at all of its jobs, or need not look at the others any more."""
        wait = waiting.wait
        if waiting.left and wait.pending:
            return
        now = max(time.time(), wait.deadline) if waiting.last_round else time.time()
        if time.monotonic() >= self._next_line and (line := wait.report(now)):
            log.info(line)
            self._next_line = time.monotonic() + _LINE_PAUSE
        self._begin_round(waiting, wait.next_delay(now) if wait.pending else 0.0)

    def _leave_queue(self, waiting: _Waiting) -> None:
        """Look at no more jobs of a wait: it stands in the queue beyond its deadline."""
        if waiting.end.done():
            return
        queued = waiting.jobs[waiting.begun :]
        del waiting.jobs[waiting.begun :]
        waiting.left -= len(queued)
        waiting.last_round = True
        for job in queued:
            waiting.wait.observe_failure(job, self._session.no_connection().failure)
        self._end_round(waiting)
