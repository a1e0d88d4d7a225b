"""Group commit: one thread a process, in which all that waits shares one transaction.

An fsync costs as much for one row as for a thousand. While one transaction is being
written, callers queue up for the next, so a busy process commits in large groups and an
idle one at once. Nobody is answered before the COMMIT that holds their work.
"""

import asyncio
import os
import queue
import random
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from seawall.errors import StoreError, StoreUnavailable
from seawall.tasks.engines.sqlite_file import connect, is_busy, store_error

GROUP = 2000
"""Callers in one transaction, at most: bounds the time a commit takes."""
PATIENCE = 30.0
"""Seconds to wait for other processes' transactions; each lasts milliseconds."""

Work = TypeVar("Work")


class _Ticket(NamedTuple, Generic[Work]):
    work: Work
    writes: bool
    future: "asyncio.Future[Any] | Future[Any]"
    loop: asyncio.AbstractEventLoop | None


class Writer(Generic[Work]):
    """Runs work on one connection, in its own thread, a group at a time.

    ``apply(connection, works)`` does the work of a group and returns one result each; it
    runs inside a transaction if any of them writes. Callers get :class:`StoreError` when
    the group cannot be committed, and then nothing of it has happened.
    """

    def __init__(
        self, path: Path, apply: Callable[[sqlite3.Connection, Sequence[Work]], list[Any]]
    ) -> None:
        self.path = path
        self._apply = apply
        self._queue: queue.SimpleQueue[_Ticket[Work] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        # A daemon: a store that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="seawall-store", daemon=True)
        self._thread.start()

    def submit(self, work: Work, *, writes: bool) -> "asyncio.Future[Any] | None":
        """A future of the running loop for the result, or ``None`` once closed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        return future if self._put(_Ticket(work, writes, future, loop)) else None

    def submit_blocking(self, work: Work, *, writes: bool) -> "Future[Any] | None":
        """The same for a caller without a loop."""
        future: Future[Any] = Future()
        return future if self._put(_Ticket(work, writes, future, None)) else None

    def close(self) -> None:
        """Finishes what was submitted, and ends the thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _put(self, ticket: _Ticket[Work]) -> bool:
        # The lock keeps a ticket from slipping in behind the end of the queue.
        with self._lock:
            if self._closed:
                return False
            self._queue.put(ticket)
        return True

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group, last = [first], False
            while len(group) < GROUP and not self._queue.empty():
                ticket = self._queue.get()
                if ticket is None:
                    last = True
                    break
                group.append(ticket)
            self._settle(group)
            if last:
                break
        self._disconnect()

    def _settle(self, group: list[_Ticket[Work]]) -> None:
        try:
            results = self._commit(group)
        except StoreError as error:
            # One each: raised in many places, a single one would collect all their tracebacks.
            kind, message, hint = type(error), error.message, error.hint
            _resolve(group, [kind(message, hint=hint) for _ in group])
        except Exception as error:
            # One caller's work is at fault (a value that SQLite cannot hold): find out whose.
            if len(group) == 1:
                _resolve(group, [error])
            else:
                for ticket in group:
                    self._settle([ticket])
        else:
            _resolve(group, results)

    def _commit(self, group: list[_Ticket[Work]]) -> list[Any]:
        works = [ticket.work for ticket in group]
        writes = any(ticket.writes for ticket in group)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                connection = self._connected()
                if not writes:
                    return self._apply(connection, works)
                connection.execute("BEGIN IMMEDIATE")
                results = self._apply(connection, works)
                connection.execute("COMMIT")
                return results
            except sqlite3.Error as error:
                self._roll_back()
                if is_busy(error) and time.monotonic() < deadline:
                    # SQLite's own waiting backs off to 100 ms and starves; transactions
                    # here last a few, so a short random pause gets its turn sooner.
                    time.sleep(random.uniform(0.0002, 0.003))  # noqa: S311 - not a secret
                    continue
                if isinstance(error, sqlite3.DataError | sqlite3.IntegrityError):
                    raise
                self._disconnect()
                raise store_error(self.path, error) from error
            except OSError as error:
                # No descriptor left, or the file went away while it was being opened.
                self._roll_back()
                self._disconnect()
                raise StoreUnavailable(
                    f"tasks.url: the task store {self.path} cannot be opened: {error.strerror}",
                    hint="let the process open more files, and leave the store in its place",
                ) from error
            except BaseException:
                self._roll_back()
                raise

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None:
            try:
                stat = os.stat(self.path)
                found = (stat.st_dev, stat.st_ino)
            except OSError:
                found = None
            if found == self._file:
                return self._connection
            # SQLite would go on writing to a file that nobody can open again.
            self._disconnect()
            raise StoreUnavailable(
                f"tasks.url: the task store {self.path} was removed or replaced while in use",
                hint="put the file back; new tasks go to a new store from now on",
            )
        self._connection = connect(self.path)
        stat = os.stat(self.path)
        self._file = (stat.st_dev, stat.st_ino)
        return self._connection

    def _roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                # A transaction that cannot be ended must not be carried on with.
                self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _resolve(group: Sequence[_Ticket[Any]], results: Sequence[Any]) -> None:
    """Answers everybody; one wake-up for each event loop, however large the group."""
    loops: defaultdict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]]
    loops = defaultdict(list)
    for ticket, result in zip(group, results, strict=True):
        if ticket.loop is not None and isinstance(ticket.future, asyncio.Future):
            loops[ticket.loop].append((ticket.future, result))
        else:
            _answer(ticket.future, result)
    for loop, answers in loops.items():
        try:
            loop.call_soon_threadsafe(_answer_all, answers)
        except RuntimeError:
            # The loop was closed meanwhile: nobody is left to hear the answer.
            continue


def _answer_all(answers: Sequence[tuple["asyncio.Future[Any]", Any]]) -> None:
    for future, result in answers:
        _answer(future, result)


def _answer(future: "asyncio.Future[Any] | Future[Any]", result: Any) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
