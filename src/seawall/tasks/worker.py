"""Runs jobs: claims them under a lease, keeps it alive, reports how they ended.

Async tasks run on the event loop that started the worker, sync ones in threads of their own, at
most ``concurrency`` together. What ended and what to claim next travel to the store in one
transaction. A heartbeat thread extends the leases: code that blocks the loop keeps its jobs.
"""

import asyncio
import contextlib
import contextvars
import functools
import inspect
import logging
import os
import secrets
import socket
import threading
import time
import traceback

from seawall.errors import StoreError
from seawall.tasks import arguments
from seawall.tasks.engine import Engine
from seawall.tasks.job import Call, Ended, Job, Outcome, State
from seawall.tasks.pool import Pool
from seawall.tasks.retry import Retry

log = logging.getLogger("seawall.tasks")

POLL = 0.5
"""Seconds between looks for what other processes enqueued or lost."""
TIDY = 60.0
"""Seconds between purges of old jobs; at once again while there is more to purge."""
PURGED = 1000
"""Jobs deleted in one transaction, so that a purge never holds anybody up."""
CLEANUP = 1.0
"""Seconds in which a task that is cut short may tidy up after itself."""
LONGEST = 32_768
"""Characters of a traceback or message that are kept."""


class Worker:
    """One worker of one process, bound to the loop that starts it.

    ``lease``, ``drain`` and ``retention`` are in seconds, as in the settings.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        concurrency: int = 8,
        lease: float = 5.0,
        drain: float = 30.0,
        retention: float = 604800.0,
        retry: Retry | None = None,
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self.engine = engine
        self.concurrency = concurrency
        self.lease = lease
        self.drain = drain
        self.retention = retention
        self.retry = retry or Retry()
        self.trouble = ""
        """What is wrong with the store just now; empty while all is well."""
        self._pool = Pool(concurrency)
        self._running: dict[Job, asyncio.Task[None]] = {}
        self._jobs: dict[tuple[int, int], Job] = {}
        """What the store holds as claimed by this worker, by id and attempt."""
        self._ended: list[Ended] = []
        """What the store has not confirmed yet; what is said twice counts once."""
        self._hungry = True
        self._stopping = False
        self._silent = threading.Event()
        self._drift = time.time() - time.monotonic()
        self._calm = 0.0
        """Nobody's task is taken back before then (monotonic): heartbeats go first."""

    def start(self) -> None:
        """Begins to claim jobs; to be called on the loop that shall run them."""
        self._pid = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        # An empty context: the worker may be started by a request, and no task shall see
        # that request's variables.
        blank = contextvars.Context()
        self._pump = self._loop.create_task(self._work(), context=blank)
        self._broom = self._loop.create_task(self._tidy(), context=blank.copy())
        threading.Thread(target=self._beat, name="seawall-heartbeat", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it works, in this process (a fork may have left it behind)."""
        return (
            self._pid == os.getpid()
            and not self._pump.done()
            and not self._loop.is_closed()
            and not self._stopping
        )

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def wake(self) -> None:
        """Tells it that there is something new, so that it need not wait for its next look."""
        try:
            self._loop.call_soon_threadsafe(self._look_now)
        except RuntimeError:
            # Its loop was closed; the job waits for whichever worker comes next.
            return

    async def stop(self) -> None:
        """Claims no more, gives running tasks ``drain`` seconds, hands the rest back."""
        self._stopping = True
        self._broom.cancel()
        if self._running:
            log.info("waiting for %d running tasks", len(self._running))
            await asyncio.wait(self._running.values(), timeout=self.drain)
        self._pump.cancel()
        await asyncio.gather(self._pump, self._broom, return_exceptions=True)
        self._pool.close()

    def _look_now(self) -> None:
        self._hungry = True
        self._wake.set()

    async def _work(self) -> None:
        try:
            await self._claim_and_report()
        except Exception:
            log.exception("the worker stopped unexpectedly; the next task starts another")
        finally:
            # Cancelled: by stop(), or because the loop ends without a shutdown.
            try:
                await self._hand_back()
            finally:
                self._silent.set()

    async def _claim_and_report(self) -> None:
        look = 0.0
        while True:
            try:
                if not self._stopping and self._loop.time() >= look:
                    look = self._loop.time() + await self._ahead()
                free = 0 if self._stopping else self.concurrency - len(self._running)
                wanted = free if self._hungry or self._ended else 0
                if self._ended or wanted:
                    self._hungry = False
                    for job in await self._exchange(wanted):
                        self._begin(job)
                    self._hungry = self._hungry or len(self._running) >= self.concurrency
                else:
                    await self._sleep(POLL if self._stopping else look - self._loop.time())
            except StoreError as error:
                self._hungry = True
                self._wait_for_heartbeats()
                self._complain(error)
                await asyncio.sleep(POLL)
            else:
                self._recovered()

    async def _exchange(self, wanted: int) -> list[Job]:
        """Reports what ended and claims more.

        Shielded: a claim whose answer is thrown away would wait for its lease to end.
        """
        exchange = asyncio.ensure_future(self._report(wanted))
        try:
            return await asyncio.shield(exchange)
        except asyncio.CancelledError:
            with contextlib.suppress(StoreError):
                await exchange
            raise

    async def _report(self, wanted: int) -> list[Job]:
        ended = self._ended.copy()
        jobs = await self.engine.exchange(self.name, ended, claim=wanted, lease=self.lease)
        del self._ended[: len(ended)]
        for job in jobs:
            key = job.id, job.attempt
            # The store gives each attempt out once. What the books have under the same
            # key is of a store that was replaced meanwhile, and must not end this one.
            self._ended = [e for e in self._ended if (e.job, e.attempt) != key]
            self._jobs[key] = job
        return jobs

    async def _ahead(self) -> float:
        """Takes lost jobs back; returns the seconds until the next look."""
        ahead = await self.engine.ahead()
        now = time.time()
        drift = now - time.monotonic()
        if abs(drift - self._drift) > self.lease / 3:
            # The clock was set, or the machine slept: every lease looks over, and none is.
            self._wait_for_heartbeats()
        self._drift = drift
        lost = ahead.lease is not None and ahead.lease <= now
        if lost and time.monotonic() >= self._calm and await self.engine.reclaim():
            log.warning("took back tasks whose worker died or fell silent")
            self._hungry = True
        if ahead.due is not None and ahead.due > now:
            return min(POLL, ahead.due - now)
        self._hungry = self._hungry or ahead.due is not None
        return POLL

    def _wait_for_heartbeats(self) -> None:
        """Whoever lives renews its leases three times in that time."""
        self._calm = time.monotonic() + self.lease

    async def _sleep(self, seconds: float) -> None:
        alarm = self._loop.call_later(max(seconds, 0.0), self._wake.set)
        await self._wake.wait()
        alarm.cancel()
        self._wake.clear()

    def _begin(self, job: Job) -> None:
        self._running[job] = self._loop.create_task(
            self._run(job), name=job.function, context=contextvars.Context()
        )

    async def _run(self, job: Job) -> None:
        try:
            await self._call(job)
        except asyncio.CancelledError as error:
            task = self._running[job]
            # Cancelled by us, or by something the task itself did?
            ended = _returned(job) if task.cancelling() else self._failed(job, error)
        except BaseException as error:
            if not self._loop.is_running():
                raise  # thrown away together with its loop
            # A KeyboardInterrupt or SystemExit too: it is the task's, and must end neither
            # the server nor, when the task runs again, the next one.
            ended = self._failed(job, error)
        else:
            ended = Ended(job.id, job.attempt, Outcome.DONE, State.DONE, time.time())
        del self._running[job]
        key = job.id, job.attempt
        if self._jobs.get(key) is job:
            del self._jobs[key]
            self._ended.append(ended)
        self._wake.set()

    async def _call(self, job: Job) -> None:
        function, args, kwargs = arguments.decode(Call(job.function, job.arguments))
        if inspect.iscoroutinefunction(function):
            await function(*args, **kwargs)
            return
        call = functools.partial(function, *args, **kwargs)
        result = await self._pool.run(contextvars.copy_context(), call)
        if inspect.isawaitable(result):
            # A plain wrapper around an async function: not to await it would lose the task.
            await result

    def _failed(self, job: Job, error: BaseException) -> Ended:
        now = time.time()
        log.error(
            "task %s failed (job %d, attempt %d)",
            job.function,
            job.id,
            job.attempt,
            exc_info=error,
        )
        failures = job.failures + 1
        if failures > job.retries:
            state, due = State.DEAD, None
            log.error("task %s is dead after %d failures (job %d)", job.function, failures, job.id)
        else:
            delay = self.retry.delay(failures)
            state, due = State.RETRYING, now + delay
            log.warning(
                "task %s will be tried again in %.1f s (job %d)", job.function, delay, job.id
            )
        return Ended(
            job.id,
            job.attempt,
            Outcome.FAILED,
            state,
            now,
            due=due,
            error=f"{type(error).__module__}.{type(error).__qualname__}",
            message=_text(_said(error)),
            traceback=_text("".join(traceback.format_exception(error))),
        )

    async def _hand_back(self) -> None:
        """Reports what ended, and returns what did not, so that others need not wait."""
        if self._running:
            for task in self._running.values():
                task.cancel("the worker stops")
            await asyncio.wait(self._running.values(), timeout=CLEANUP)
        ended = [*self._ended, *map(_returned, self._jobs.values())]
        if not ended:
            return
        try:
            await self.engine.exchange(self.name, ended, claim=0, lease=self.lease)
        except StoreError as error:
            # Their leases run out; somebody takes them then.
            self._complain(error)

    def _beat(self) -> None:
        pause = self.lease / 3
        while not self._silent.wait(pause):
            pause = self.lease / 3
            jobs = [id for id, _ in list(self._jobs)]
            if not jobs:
                continue
            try:
                self.engine.beat(self.name, jobs, lease=self.lease)
            except StoreError as error:
                pause = min(pause, POLL)
                log.warning("the leases of %d tasks could not be extended: %s", len(jobs), error)

    async def _tidy(self) -> None:
        while True:
            try:
                purged = await self.engine.purge(time.time() - self.retention, limit=PURGED)
            except StoreError as error:
                log.warning("old tasks could not be purged: %s", error)
                purged = 0
            await asyncio.sleep(TIDY if purged < PURGED else 0.1)

    def _complain(self, error: StoreError) -> None:
        if not self.trouble:
            log.error("%s", error)
        self.trouble = str(error)

    def _recovered(self) -> None:
        if self.trouble:
            log.warning("the task store works again")
            self.trouble = ""


def _returned(job: Job) -> Ended:
    log.warning("task %s is handed back unfinished (job %d)", job.function, job.id)
    return Ended(job.id, job.attempt, Outcome.RETURNED, State.READY, time.time(), due=job.enqueued)


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        # A faulty __str__ must not keep the failure from being reported.
        return "(its message cannot be shown)"


def _text(text: str) -> str:
    """Bounded, and free of what UTF-8 cannot hold."""
    kept = text if len(text) <= LONGEST else f"...{text[-LONGEST:]}"
    return kept.encode("utf-8", "backslashreplace").decode("utf-8")
