"""Deadlines for very many tasks at little cost: one timer for all that have equally long.

A timer for each request, as :func:`asyncio.timeout` sets one, costs more than the rest of the
edge together. Tasks that all get the same time come due in the order in which they began; so
one timer, set for the first of them, does. Cancelling follows :func:`asyncio.timeout`.
"""

from asyncio import AbstractEventLoop, CancelledError, Task, current_task, get_running_loop
from typing import Any, Self


class Deadline:
    """When one task comes due, and whether it has; a context around what it may cancel."""

    __slots__ = ("_before", "_clock", "due", "expired", "task")

    def __init__(self, task: "Task[Any]", due: float, clock: "_Clock") -> None:
        self.task = task
        self.due = due
        self.expired = False
        self._before = task.cancelling()
        self._clock = clock

    def lift(self) -> None:
        """It does not come due any more."""
        self._clock.running.pop(self, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        """Takes its own cancellation back; one from elsewhere goes on."""
        self.lift()
        alone = self.expired and self.task.uncancel() <= self._before
        return alone and kind is CancelledError


class Deadlines:
    """Gives tasks the same number of seconds, after which they are cancelled."""

    __slots__ = ("_clock", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._clock: _Clock | None = None

    def begin(self) -> Deadline:
        """A deadline for the current task. Raises :class:`RuntimeError` outside of one."""
        loop = get_running_loop()
        clock = self._clock
        if clock is None or clock.loop is not loop:
            # Almost never: a process has one loop. Older deadlines keep their own clock.
            clock = self._clock = _Clock(loop)
        task = current_task(loop)
        if task is None:
            raise RuntimeError("a deadline needs a task")
        deadline = Deadline(task, loop.time() + self.seconds, clock)
        clock.add(deadline)
        return deadline


class _Clock:
    """The deadlines of one loop, the first to come due first."""

    __slots__ = ("_set", "loop", "running")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self.running: dict[Deadline, None] = {}
        self._set = False

    def add(self, deadline: Deadline) -> None:
        self.running[deadline] = None
        if not self._set:
            self._set = True
            self.loop.call_at(deadline.due, self._ring)

    def _ring(self) -> None:
        while self.running:
            first = next(iter(self.running))
            if first.due > self.loop.time():
                self.loop.call_at(first.due, self._ring)
                return
            del self.running[first]
            first.expired = True
            first.task.cancel()
        self._set = False
