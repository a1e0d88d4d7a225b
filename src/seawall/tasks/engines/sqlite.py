"""The default engine: one SQLite file, for all processes of one machine.

Write-ahead log with ``synchronous=FULL``: when ``enqueue`` returns, the task is fsynced.
All writes of a process go through one thread with group commit (``sqlite_writer``).
"""

import json
import os
import re
import sqlite3
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from itertools import chain
from typing import Any, NamedTuple, TypeVar, cast

from seawall.tasks.engine import Capabilities
from seawall.tasks.engines import sqlite_file
from seawall.tasks.engines.sqlite_writer import Writer
from seawall.tasks.job import Ahead, Attempt, Call, Ended, Job, Outcome, State

RECLAIMED = 500
"""Lost jobs taken back in one transaction."""
STALL = 0.5
"""Seconds of waiting for the write lock after which other writers go first."""

_SQL = dict(
    re.findall(
        r"^-- name: (\w+)\n(.*?);$",
        files(__package__).joinpath("sql/queries.sql").read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)
_COLUMNS = 8
_INSERT, _VALUES = _SQL["enqueue"].rsplit("VALUES", 1)
_engines: "weakref.WeakSet[SqliteEngine]" = weakref.WeakSet()


class _Enqueue(NamedTuple):
    calls: Sequence[Call]
    retries: int


_Work = _Enqueue | Callable[[sqlite3.Connection], Any]
_R = TypeVar("_R", Job, Attempt)


class SqliteEngine:
    """Jobs in the file that ``url`` names; see :class:`seawall.tasks.engine.Engine`.

    Raises :class:`seawall.errors.Hinted` for a URL that names no file.
    """

    capabilities = Capabilities(durable="fsynced", hosts=False, attempts=True, chains=True)

    def __init__(self, url: str) -> None:
        self.path = sqlite_file.path_of(url)
        self._reset()
        _engines.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._writer: Writer[_Work] | None = None

    def open(self) -> None:
        # Closed at once: a server may fork before it serves, and SQLite connections
        # must not be carried into another process.
        sqlite_file.connect(self.path).close()

    def close(self) -> None:
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    async def enqueue(self, calls: Sequence[Call], *, retries: int) -> list[int]:
        return cast(list[int], await self._do(_Enqueue(calls, retries)))

    async def exchange(
        self, worker: str, ended: Sequence[Ended], *, claim: int, lease: float
    ) -> list[Job]:
        def work(db: sqlite3.Connection) -> list[Job]:
            if ended:
                _end(db, worker, ended)
            return _claim(db, worker, claim, lease) if claim else []

        return cast(list[Job], await self._do(work))

    def beat(self, worker: str, jobs: Sequence[int], *, lease: float) -> None:
        def work(db: sqlite3.Connection) -> None:
            until = time.time() + lease
            db.execute(_SQL["beat"], {"until": until, "ids": json.dumps(jobs), "worker": worker})

        while (future := self._current().submit_blocking(work, writes=True)) is None:
            continue
        future.result()

    async def reclaim(self) -> int:
        asked = time.monotonic()

        def work(db: sqlite3.Connection) -> int:
            # While the store was locked or its disk stood still no heartbeat got through
            # either: a lease that ended meanwhile says nothing. The next call will tell.
            return 0 if time.monotonic() - asked > STALL else _reclaim(db)

        return cast(int, await self._do(work))

    async def ahead(self) -> Ahead:
        def work(db: sqlite3.Connection) -> Ahead:
            return Ahead(*db.execute(_SQL["ahead"]).fetchone())

        return cast(Ahead, await self._do(work, writes=False))

    async def purge(self, before: float, *, limit: int) -> int:
        def work(db: sqlite3.Connection) -> int:
            ids = _one(db, "purgeable", before=before, limit=limit)
            db.execute(_SQL["purge_attempts"], {"ids": ids})
            return db.execute(_SQL["purge_jobs"], {"ids": ids}).rowcount

        return cast(int, await self._do(work))

    async def job(self, id: int) -> Job | None:
        def work(db: sqlite3.Connection) -> Job | None:
            row = db.execute(_SQL["job"], {"id": id}).fetchone()
            return None if row is None else _record(Job, row, state=State)

        return cast("Job | None", await self._do(work, writes=False))

    async def attempts(self, id: int) -> list[Attempt]:
        def work(db: sqlite3.Connection) -> list[Attempt]:
            rows = db.execute(_SQL["attempts"], {"id": id}).fetchall()
            return [_record(Attempt, row, outcome=Outcome) for row in rows]

        return cast(list[Attempt], await self._do(work, writes=False))

    def _do(self, work: _Work, *, writes: bool = True) -> Awaitable[Any]:
        while (future := self._current().submit(work, writes=writes)) is None:
            continue
        return future

    def _current(self) -> Writer[_Work]:
        writer = self._writer
        if writer is None:
            with self._lock:
                if self._writer is None:
                    self._writer = Writer(self.path, _apply)
                writer = self._writer
        return writer


def _after_fork() -> None:
    """A child has none of the parent's threads, and must not touch its connection."""
    for engine in _engines:
        if engine._writer is not None:
            _inherited.append(engine._writer)
        engine._reset()


_inherited: list[Writer[_Work]] = []
"""Kept from being collected: that would close the parent's connection in the child."""


os.register_at_fork(after_in_child=_after_fork)


def _apply(db: sqlite3.Connection, works: Sequence[_Work]) -> list[Any]:
    enqueues = [work for work in works if isinstance(work, _Enqueue)]
    ids = iter(_insert(db, enqueues) if enqueues else ())
    return [next(ids) if isinstance(work, _Enqueue) else work(db) for work in works]


def _insert(db: sqlite3.Connection, enqueues: Sequence[_Enqueue]) -> list[list[int]]:
    """Writes all jobs of all calls; returns the ids of each call."""
    (last,) = db.execute(_SQL["last_id"]).fetchone()
    now = time.time()
    rows: list[tuple[Any, ...]] = []
    given: list[list[int]] = []
    for enqueue in enqueues:
        first = last + 1
        for call in enqueue.calls:
            last += 1
            waits = last > first
            rows.append(
                (last, call.function, call.arguments)
                + (("scheduled", last - 1) if waits else ("ready", None))
                + (enqueue.retries, now, None if waits else now)
            )
        given.append(list(range(first, last + 1)))
    start = 0
    while start < len(rows):
        size = _chunk(len(rows) - start)
        values = ",".join([_VALUES] * size)
        db.execute(_INSERT + "VALUES" + values, [*chain(*rows[start : start + size])])
        start += size
    return given


def _chunk(left: int) -> int:
    """Rows for one INSERT: few statements, and few different ones to prepare."""
    return next((size for size in (512, 128, 32) if left >= size), left)


def _end(db: sqlite3.Connection, worker: str, ended: Sequence[Ended]) -> None:
    # The order is that of the indexes in queries.sql.
    rows = json.dumps(
        [
            (e.job, e.attempt, e.outcome, e.state, e.ended, e.due, e.error, e.message, e.traceback)
            for e in ended
        ]
    )
    db.execute(_SQL["note_attempts"], {"ended": rows, "worker": worker})
    db.execute(_SQL["end_jobs"], {"ended": rows, "worker": worker})
    db.execute(_SQL["release"], {"ids": json.dumps([e.job for e in ended])})


def _claim(db: sqlite3.Connection, worker: str, limit: int, lease: float) -> list[Job]:
    now = time.time()
    found = json.loads(_one(db, "claimable", now=now, limit=limit))
    if not found:
        return []
    ids = json.dumps([row[0] for row in found])
    values = {"worker": worker, "now": now, "until": now + lease, "ids": ids}
    db.execute(_SQL["claim"], values)
    return [
        Job(
            id=id,
            function=function,
            arguments=arguments,
            state=State.RUNNING,
            after=after,
            retries=retries,
            failures=failures,
            attempt=attempt + 1,
            enqueued=enqueued,
            due=None,
            worker=worker,
            started=now,
            lease=now + lease,
            ended=None,
        )
        for id, function, arguments, after, retries, failures, attempt, enqueued in found
    ]


def _reclaim(db: sqlite3.Connection) -> int:
    now = time.time()
    ids = _one(db, "expired", now=now, limit=RECLAIMED)
    count = len(json.loads(ids))
    if count:
        db.execute(_SQL["note_lost"], {"ids": ids, "now": now})
        db.execute(_SQL["reclaim"], {"ids": ids, "now": now})
        db.execute(_SQL["release"], {"ids": ids})
    return count


def _record(kind: type[_R], row: Sequence[Any], **types: Callable[[Any], Any]) -> _R:
    """A row whose columns are the fields of a dataclass, in order."""
    values = dict(zip(kind.__slots__, row, strict=True))
    return kind(**values | {name: make(values[name]) for name, make in types.items()})


def _one(db: sqlite3.Connection, name: str, **values: Any) -> Any:
    """The single value that a statement selects."""
    return db.execute(_SQL[name], values).fetchone()[0]
