"""Ties settings, engine and worker together, and to the life of an ASGI app."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol

from seawall.errors import StoreError
from seawall.tasks import arguments, engines
from seawall.tasks.job import Call
from seawall.tasks.settings import TasksSettings
from seawall.tasks.worker import Worker

MEMORY = 5.0
"""Seconds for which a failed enqueue makes the app not ready."""

log = logging.getLogger("seawall.tasks")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class Task(Protocol):
    """What Starlette's ``BackgroundTask`` is: a function and its arguments."""

    @property
    def func(self) -> Callable[..., Any]: ...
    @property
    def args(self) -> Any: ...
    @property
    def kwargs(self) -> Any: ...


Enqueueable = Task | tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]


class Tasks:
    """The durable tasks of one app: where they are written, and who runs them.

    Raises :class:`seawall.errors.Hinted` for a store URL that no engine understands.
    """

    def __init__(self, settings: TasksSettings | None = None) -> None:
        self.settings = settings or TasksSettings()
        self.engine = engines.create(self.settings.url)
        self._worker: Worker | None = None
        self._trouble = ""
        self._refused = 0.0

    @property
    def trouble(self) -> str:
        """What is wrong with the store just now; empty while all is well."""
        # A failed enqueue is forgotten after a while: a balancer that sends nothing to an
        # instance that is not ready would else never learn that it works again.
        if self._trouble and time.monotonic() < self._refused + MEMORY:
            return self._trouble
        return self._worker.trouble if self._worker is not None else ""

    def open(self) -> None:
        """Validates the store, before anything is served.

        Raises :class:`StoreUnavailable` or :class:`StoreCorrupt`.
        """
        self.engine.open()

    async def start(self) -> None:
        """Starts the worker on the running loop, if this process shall have one.

        Raises :class:`StoreUnavailable` or :class:`StoreCorrupt`.
        """
        if self.settings.enabled:
            await asyncio.to_thread(self.engine.open)
            self._ensure_worker()

    async def stop(self) -> None:
        """Drains the worker (see the setting ``drain``) and lets go of the store."""
        worker, self._worker = self._worker, None
        if worker is not None and worker.alive and worker.loop is asyncio.get_running_loop():
            await worker.stop()
        await asyncio.to_thread(self.engine.close)

    async def enqueue(self, tasks: Iterable[Enqueueable]) -> list[int]:
        """Writes tasks that run in this order, one after the other; returns their job ids.

        When it returns they are fsynced. All or nothing: raises :class:`UndurableTask` if
        one of them cannot be written, :class:`StoreError` if the store fails.
        """
        calls = []
        for task in tasks:
            if not isinstance(task, tuple):
                task = task.func, task.args, task.kwargs
            calls.append(arguments.encode(*task))
        return await self.submit(calls)

    async def submit(self, calls: Sequence[Call]) -> list[int]:
        """The same for calls that are encoded already."""
        if not calls:
            return []
        try:
            ids = await self.engine.enqueue(calls, retries=self.settings.retries)
        except StoreError as error:
            self._trouble, self._refused = str(error), time.monotonic()
            raise
        self._trouble = ""
        self._ensure_worker()
        if self._worker is not None:
            self._worker.wake()
        return ids

    def lifespan(self, app: ASGIApp) -> ASGIApp:
        """The app, with the worker started after its start-up and drained before its shutdown.

        Tasks may use what the app's lifespan set up. Everything else passes untouched.
        """

        async def with_tasks(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                receive, send = _Lifespan(self, receive, send).channels
            await app(scope, receive, send)

        return with_tasks

    def _ensure_worker(self) -> None:
        """A worker for this loop. A server without lifespan, or a test client that makes a
        loop for every request, gets one with its first task."""
        if not self.settings.worker or (self._worker is not None and self._worker.alive):
            return
        settings = self.settings
        self._worker = Worker(
            self.engine,
            concurrency=settings.concurrency,
            lease=settings.lease,
            drain=settings.drain,
            retention=settings.retention,
        )
        self._worker.start()


class _Lifespan:
    """The two channels of a lifespan, with the worker's start and stop woven in."""

    def __init__(self, tasks: Tasks, receive: Receive, send: Send) -> None:
        self.channels: tuple[Receive, Send] = (self._receive, self._send)
        self._tasks = tasks
        self._outer_receive = receive
        self._outer_send = send
        self._failure: str | None = None

    async def _receive(self) -> Message:
        if self._failure is not None:
            # The app has started and the worker has not: let the app clean up, too.
            return {"type": "lifespan.shutdown"}
        message = await self._outer_receive()
        if message["type"] == "lifespan.shutdown":
            await self._tasks.stop()
        return message

    async def _send(self, message: Message) -> None:
        if self._failure is not None:
            await self._outer_send({"type": "lifespan.startup.failed", "message": self._failure})
            return
        if message["type"] == "lifespan.startup.complete":
            try:
                await self._tasks.start()
            except StoreError as error:
                log.error("%s", error)
                self._failure = str(error)
                return
        await self._outer_send(message)
