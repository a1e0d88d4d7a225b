"""Jobs and their states, as plain data that every engine and view shares.

::

    enqueue ──► ready ──claim──► running ──► done
                  ▲                │  │
    scheduled ────┘        retrying┘  └──► dead        (cancelled: from any waiting state)

A job's lease is how long its worker may be silent; a job whose lease ran out is *lost*
and ready again. Times are seconds since the epoch.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Where a job stands."""

    SCHEDULED = "scheduled"
    """Waits for its time, or for the job before it to end."""
    READY = "ready"
    """May be claimed by any worker."""
    RUNNING = "running"
    """Claimed; its worker keeps the lease alive."""
    DONE = "done"
    """Ran to its end; kept until its retention is over."""
    RETRYING = "retrying"
    """Failed, and will be tried again when it is due."""
    DEAD = "dead"
    """Failed as often as it may; kept until somebody decides."""
    CANCELLED = "cancelled"
    """Taken back before it ended."""


class Outcome(StrEnum):
    """How one attempt ended."""

    DONE = "done"
    FAILED = "failed"
    LOST = "lost"
    """The worker died or fell silent; counts as a failure."""
    RETURNED = "returned"
    """Handed back by a worker that had to stop; counts for nothing."""


class Call(NamedTuple):
    """What shall run: ``module:qualname`` and the arguments by name, as a JSON object."""

    function: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Job:
    """One job as the store knows it."""

    id: int
    function: str
    arguments: str
    state: State
    after: int | None
    """The job that has to end first."""
    retries: int
    """How many failures are forgiven."""
    failures: int
    attempt: int
    """How often it was claimed, this time included."""
    enqueued: float
    due: float | None
    """When it may be claimed; ``None`` while it may not."""
    worker: str | None
    started: float | None
    lease: float | None
    """Until when its worker may be silent."""
    ended: float | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a job that is over."""

    job: int
    number: int
    worker: str
    started: float
    ended: float
    outcome: Outcome
    error: str | None = None
    """The class of the exception, ``module.Name``."""
    message: str | None = None
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker's word to the store: this attempt is over, and the job goes to ``state``."""

    job: int
    attempt: int
    outcome: Outcome
    state: State
    ended: float
    due: float | None = None
    error: str | None = None
    message: str | None = None
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Ahead:
    """When the store next has something to do: the earliest due time and lease end."""

    due: float | None
    lease: float | None
