"""What a place to keep jobs has to offer. One contract suite tests every engine.

Guarantees asked of an engine:

- what ``enqueue`` returned for survives the death of process and machine;
- a job is held by one worker at a time, for as long as its lease is alive;
- the jobs of one ``enqueue`` run one after the other, each when the one before has
  ended, failed attempts included; jobs of different calls know nothing of each other;
- an end reported by a worker that no longer holds the job changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from seawall.tasks.job import Ahead, Attempt, Call, Ended, Job


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine truly has, for the docs, ``check`` and start-up messages to tell."""

    durable: str
    """What has happened to a task when ``enqueue`` returns."""
    hosts: bool
    """Whether workers on several machines may share it."""
    attempts: bool
    """Whether every attempt is kept, with its traceback."""
    chains: bool
    """Whether the jobs of one ``enqueue`` keep their order."""


class Engine(Protocol):
    """Where jobs live. All methods but ``open`` raise ``StoreError`` when the store fails."""

    @property
    def capabilities(self) -> Capabilities: ...

    def open(self) -> None:
        """Validates the store, creating it when there is none; cheap and synchronous.

        Raises ``StoreUnavailable`` or ``StoreCorrupt``, leaving a file that is not ours
        byte for byte as it was.
        """

    def close(self) -> None:
        """Writes what waits and lets go; the engine opens itself again when used."""

    async def enqueue(self, calls: Sequence[Call], *, retries: int) -> list[int]:
        """Writes jobs that run in this order; returns their ids once they are durable."""

    async def exchange(
        self, worker: str, ended: Sequence[Ended], *, claim: int, lease: float
    ) -> list[Job]:
        """In one transaction: notes what ended, and claims up to ``claim`` jobs due now.

        Oldest first. ``lease`` is in seconds from now.
        """

    def beat(self, worker: str, jobs: Sequence[int], *, lease: float) -> None:
        """Extends the leases that ``worker`` holds; blocks. Called from a thread of its own,
        so that a blocked event loop does not lose its jobs."""

    async def reclaim(self) -> int:
        """Takes jobs back whose lease is over; returns how many.

        The attempt is kept as *lost* and counts as a failure.
        """

    async def ahead(self) -> Ahead:
        """When there will be something to claim or to take back; reads only, and cheap."""

    async def purge(self, before: float, *, limit: int) -> int:
        """Deletes up to ``limit`` jobs that were done before then; returns how many."""

    async def job(self, id: int) -> Job | None:
        """One job, if the store has it."""

    async def attempts(self, id: int) -> list[Attempt]:
        """The attempts of a job that are over, first to last."""
