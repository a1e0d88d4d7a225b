"""Threads for synchronous tasks, apart from those that serve requests.

Not ``concurrent.futures``: at exit that waits for its threads, so one task that hangs
would keep the process from ending after its work was handed back.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any

_Work = tuple[Context, Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Pool:
    """At most ``size`` daemon threads, started as they are needed."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0

    async def run(self, context: Context, function: Callable[[], Any]) -> Any:
        """Calls the function in a thread, inside ``context``; returns or raises what it did."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._busy += 1
        if self._busy > len(self._threads) < self._size:
            thread = threading.Thread(
                target=self._serve, name=f"seawall-task-{len(self._threads)}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        self._queue.put((context, function, loop, future))
        try:
            result, error = await future
        finally:
            self._busy -= 1
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """Lets idle threads end, and busy ones when they are through."""
        for _ in self._threads:
            self._queue.put(None)

    def _serve(self) -> None:
        while (work := self._queue.get()) is not None:
            context, function, loop, future = work
            try:
                answer: tuple[Any, BaseException | None] = context.run(function), None
            except BaseException as error:
                # As a value: a future refuses StopIteration, and SystemExit is the task's
                # affair, not the server's.
                answer = None, error
            try:
                loop.call_soon_threadsafe(_set, future, answer)
            except RuntimeError:
                # The loop is gone; whoever asked has handed the task back.
                continue
            del work, context, function, future, answer


def _set(future: "asyncio.Future[Any]", answer: tuple[Any, BaseException | None]) -> None:
    if not future.done():
        future.set_result(answer)
