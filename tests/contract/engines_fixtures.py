"""How the contract suite gets at a fresh store of each engine, and waits without guessing."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from seawall.tasks.engine import Engine
from seawall.tasks.job import Call, Ended, Job, Outcome, State

URLS: Mapping[str, Callable[[Path], str]] = {
    "sqlite": lambda folder: f"sqlite:///{folder}/store.db",
}
"""A URL of an empty store, for each engine in ``ENGINES``."""

DEADLINE = 60.0
LEASE = 30.0
CALL = Call("operator:neg", '{"a":1}')


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Polls until the condition holds; fails after a deadline no healthy run comes near."""
    deadline = time.monotonic() + DEADLINE
    while not await condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come about in time")
        await asyncio.sleep(0.02)


async def claim(
    engine: Engine, worker: str = "one", count: int = 100, lease: float = LEASE
) -> list[Job]:
    return await engine.exchange(worker, [], claim=count, lease=lease)


async def end(engine: Engine, *ended: Ended, worker: str = "one", claim: int = 0) -> list[Job]:
    return await engine.exchange(worker, ended, claim=claim, lease=LEASE)


def done(job: Job) -> Ended:
    return Ended(job.id, job.attempt, Outcome.DONE, State.DONE, time.time())


def failed(job: Job, *, due: float | None = None) -> Ended:
    state = State.DEAD if due is None else State.RETRYING
    return Ended(
        job.id,
        job.attempt,
        Outcome.FAILED,
        state,
        time.time(),
        due=due,
        error="builtins.ValueError",
        message="no “good”",
        traceback="Traceback ...\nValueError: no",
    )


def returned(job: Job) -> Ended:
    return Ended(job.id, job.attempt, Outcome.RETURNED, State.READY, time.time(), due=job.enqueued)
