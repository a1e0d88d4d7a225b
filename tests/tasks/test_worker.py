"""The worker on a real store. Nothing is decided by time: what must come is waited for."""

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from seawall.errors import StoreUnavailable
from seawall.tasks import arguments, worker
from seawall.tasks.engines.sqlite import SqliteEngine
from seawall.tasks.job import Ahead, Call, Ended, Job, Outcome, State
from seawall.tasks.retry import Retry
from seawall.tasks.worker import Worker
from tests.contract.engines_fixtures import DEADLINE, until
from tests.tasks import functions as f

SOON = Retry(base=0.01, cap=0.02)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    f.reset()
    yield
    f.gate.set()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SqliteEngine]:
    engine = SqliteEngine(f"sqlite:///{tmp_path / 'it.db'}")
    yield engine
    engine.close()


@pytest.fixture
async def running(engine: SqliteEngine) -> AsyncIterator[Worker]:
    worker = Worker(engine, retry=SOON, concurrency=4)
    worker.start()
    yield worker
    f.gate.set()
    await worker.stop()


async def put(engine: SqliteEngine, *calls: tuple[Any, ...], retries: int = 0) -> list[int]:
    ids: list[int] = []
    for function, *args in calls:
        ids += await engine.enqueue([arguments.encode(function, tuple(args))], retries=retries)
    return ids


async def ended(engine: SqliteEngine, *ids: int) -> list[Job]:
    async def all_ended() -> bool:
        jobs = [await engine.job(id) for id in ids]
        return all(job and job.state in (State.DONE, State.DEAD) for job in jobs)

    await until(all_ended)
    return [job for id in ids if (job := await engine.job(id))]


def seen(*values: Any) -> Callable[[], Any]:
    async def condition() -> bool:
        return set(values) <= set(f.seen)

    return condition


async def test_it_runs_sync_and_async_tasks(engine: SqliteEngine, running: Worker) -> None:
    ids = await put(engine, (f.note, 1), (f.anote, 2), (f.async_behind_a_plain_wrapper, 3))
    running.wake()
    assert {job.state for job in await ended(engine, *ids)} == {State.DONE}
    assert set(f.seen) == {1, 2, 3}


async def test_sync_tasks_have_threads_of_their_own(engine: SqliteEngine, running: Worker) -> None:
    await ended(engine, *await put(engine, (f.thread,), (f.loop,)))
    assert set(f.seen) >= {id(asyncio.get_running_loop())}
    assert any(str(name).startswith("seawall-task") for name in f.seen)


async def test_it_runs_what_others_enqueued(engine: SqliteEngine, running: Worker) -> None:
    await until(_idle(running))
    other = SqliteEngine(f"sqlite:///{engine.path}")
    ids = await put(other, (f.note, "theirs"))
    await ended(engine, *ids)
    other.close()


def _idle(worker: Worker) -> Callable[[], Any]:
    async def idle() -> bool:
        return not worker._hungry

    return idle


async def test_no_more_than_its_share_runs_at_once(engine: SqliteEngine, running: Worker) -> None:
    ids = await put(engine, *((f.wait, n) for n in range(10)))
    running.wake()
    await until(seen("begin 0", "begin 1", "begin 2", "begin 3"))
    jobs = [await engine.job(id) for id in ids]
    assert [job.state for job in jobs if job] == [State.RUNNING] * 4 + [State.READY] * 6
    assert len(f.seen) == 4
    f.gate.set()
    await ended(engine, *ids)
    assert len(f.seen) == 20


async def test_tasks_see_nothing_of_each_other_nor_of_the_request(engine: SqliteEngine) -> None:
    f.variable.set("the request's")
    worker = Worker(engine, concurrency=1)
    worker.start()
    ids = await put(engine, (f.context, "a"), (f.acontext, "b"), (f.context, "c"))
    await ended(engine, *ids)
    await worker.stop()
    assert f.seen == ["blank"] * 3
    assert contextvars.copy_context()[f.variable] == "the request's"


async def test_a_failure_is_tried_again_and_every_attempt_kept(
    engine: SqliteEngine, running: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    (id,) = await put(engine, (f.flaky, "at last", 2), retries=3)
    running.wake()
    (job,) = await ended(engine, id)
    assert (job.state, job.failures, job.attempt) == (State.DONE, 2, 3)
    assert f.seen == ["at last"]
    attempts = await engine.attempts(id)
    assert [a.outcome for a in attempts] == [Outcome.FAILED, Outcome.FAILED, Outcome.DONE]
    assert (attempts[0].error, attempts[0].message) == ("builtins.ValueError", "failure 1")
    assert "in flaky" in str(attempts[0].traceback)
    assert attempts[0].worker == running.name
    errors = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert [bool(r.exc_info) for r in errors] == [True, True]
    assert sum("tried again" in r.getMessage() for r in caplog.records) == 2


async def test_an_exhausted_task_is_kept_as_dead(
    engine: SqliteEngine, running: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    (id,) = await put(engine, (f.broken, "x"), retries=2)
    (job,) = await ended(engine, id)
    assert (job.state, job.failures) == (State.DEAD, 3)
    assert f.seen == ["tried x"] * 3
    assert sum("is dead after 3 failures" in r.getMessage() for r in caplog.records) == 1
    assert "\\ud800" in str((await engine.attempts(id))[0].message)


async def test_a_failure_does_not_stop_the_next_of_its_request(
    engine: SqliteEngine, running: Worker
) -> None:
    calls = [arguments.encode(f.broken, ("first",)), arguments.encode(f.note, ("second",))]
    ids = await engine.enqueue(calls, retries=0)
    running.wake()
    jobs = await ended(engine, *ids)
    assert [job.state for job in jobs] == [State.DEAD, State.DONE]
    assert f.seen == ["tried first", "second"]


async def test_tasks_of_a_request_keep_their_order(engine: SqliteEngine, running: Worker) -> None:
    functions = [f.note, f.anote] * 10
    calls = [arguments.encode(function, (n,)) for n, function in enumerate(functions)]
    ids = await engine.enqueue(calls, retries=0)
    running.wake()
    await ended(engine, *ids)
    assert f.seen == list(range(20))


@pytest.mark.parametrize(
    "name",
    [
        "stops",
        "exits",
        "aexits",
        "interrupts",
        "ainterrupts",
        "raises_what_nobody_catches",
        "araises_what_nobody_catches",
        "cancels_itself",
    ],
)
async def test_no_exception_takes_the_worker_down(
    engine: SqliteEngine, running: Worker, name: str
) -> None:
    ids = await put(engine, (getattr(f, name),), (f.note, "alive"))
    running.wake()
    bad, good = await ended(engine, *ids)
    assert (bad.state, good.state) == (State.DEAD, State.DONE)
    assert running.alive


async def test_what_cannot_be_found_or_does_not_fit_ends_dead(
    engine: SqliteEngine, running: Worker
) -> None:
    ids = await engine.enqueue([Call("nosuch:f", "{}")], retries=0)
    ids += await engine.enqueue([Call("tests.tasks.functions:note", '{"x":1}')], retries=0)
    await ended(engine, *ids)
    errors = [(await engine.attempts(id))[0].error for id in ids]
    assert errors[0] == "seawall.errors.UnknownTask"
    assert str(errors[1]).endswith("ValidationError")


@pytest.mark.parametrize("function", [f.wait, f.block_the_loop])
async def test_a_task_longer_than_its_lease_runs_once(
    engine: SqliteEngine, function: Callable[..., Any]
) -> None:
    """Even one that blocks the event loop: the heart beats in a thread."""
    short = Worker(engine, lease=0.3)
    rival = threading.Thread(target=_rival, args=(str(engine.path),))
    (id,) = await put(engine, (function, "long"))
    short.start()
    rival.start()
    opened = asyncio.get_running_loop().run_in_executor(None, _open_after, 1.5)
    (job,) = await ended(engine, id)
    await opened
    await short.stop()
    await asyncio.to_thread(rival.join)
    assert job.attempt == 1
    assert f.seen == ["begin long", "end long"]


def _open_after(seconds: float) -> None:
    """Several leases after the beginning. That long, so that a fault would show."""
    _begun()
    time.sleep(seconds)
    f.gate.set()


def _begun() -> None:
    deadline = time.monotonic() + DEADLINE
    while not f.seen and time.monotonic() < deadline:
        time.sleep(0.01)


def _rival(path: str) -> None:
    """Another worker, hungry for lost jobs, for as long as the task runs."""

    async def watch() -> None:
        await asyncio.to_thread(_begun)
        engine = SqliteEngine(f"sqlite:///{path}")
        while not f.gate.is_set():
            assert await engine.reclaim() == 0
            assert await engine.exchange("rival", [], claim=1, lease=60) == []
            await asyncio.sleep(0.02)
        engine.close()

    asyncio.run(watch())


async def test_a_dead_workers_job_runs_after_its_lease(
    engine: SqliteEngine, caplog: pytest.LogCaptureFixture
) -> None:
    (id,) = await put(engine, (f.note, "rescued"), retries=1)
    await engine.exchange("gone", [], claim=1, lease=0.2)
    worker = Worker(engine)
    worker.start()
    (job,) = await ended(engine, id)
    await worker.stop()
    assert (job.attempt, job.failures) == (2, 1)
    assert [a.outcome for a in await engine.attempts(id)] == [Outcome.LOST, Outcome.DONE]
    assert "took back" in caplog.text


async def test_a_busy_worker_takes_lost_jobs_back_too(engine: SqliteEngine) -> None:
    (lost,) = await put(engine, (f.note, "lost"), retries=1)
    await engine.exchange("gone", [], claim=1, lease=0.2)
    (busy,) = await put(engine, (f.wait, "busy"))
    worker = Worker(engine, concurrency=1)
    worker.start()
    await until(seen("begin busy"))

    async def taken_back() -> bool:
        job = await engine.job(lost)
        return job is not None and job.state is State.READY

    await until(taken_back)
    f.gate.set()
    await ended(engine, lost, busy)
    await worker.stop()


async def test_stop_waits_for_what_runs_and_claims_no_more(engine: SqliteEngine) -> None:
    worker = Worker(engine, concurrency=1, drain=60)
    running, waiting = await put(engine, (f.wait, "now"), (f.note, "later"))
    worker.start()
    await until(seen("begin now"))
    stopping = asyncio.ensure_future(worker.stop())
    await asyncio.sleep(0)
    f.gate.set()
    await stopping
    one, two = await engine.job(running), await engine.job(waiting)
    assert one is not None
    assert two is not None
    assert (one.state, two.state, two.attempt) == (State.DONE, State.READY, 0)
    assert f.seen == ["begin now", "end now"]


async def test_what_outlasts_the_drain_is_handed_back_at_once(engine: SqliteEngine) -> None:
    worker = Worker(engine, drain=0.05, lease=3600)
    ids = await put(engine, (f.wait, "sync"), (f.await_forever, "async"))
    worker.start()
    await until(seen("begin sync", "begin async"))
    await worker.stop()
    assert "cut async" in f.seen
    for id in ids:
        job = await engine.job(id)
        assert job is not None
        assert (job.state, job.failures) == (State.READY, 0)
        assert [a.outcome for a in await engine.attempts(id)] == [Outcome.RETURNED]


async def test_the_end_of_a_loop_hands_back_too(engine: SqliteEngine) -> None:
    """A test client, or a server without a lifespan, ends its loop with no word."""
    ids = await put(engine, (f.await_forever, "x"))

    def short_life() -> None:
        async def main() -> None:
            Worker(engine, lease=3600).start()
            while "begin x" not in f.seen:
                await asyncio.sleep(0.01)

        asyncio.run(main())

    await asyncio.to_thread(short_life)
    job = await engine.job(ids[0])
    assert job is not None
    assert job.state is State.READY


async def test_it_outlives_a_store_that_fails(
    engine: SqliteEngine, running: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    await until(_idle(running))
    for file in engine.path.parent.iterdir():
        file.unlink()
    engine.path.mkdir()

    async def troubled() -> bool:
        return bool(running.trouble)

    await until(troubled)
    engine.path.rmdir()

    async def recovered() -> bool:
        return not running.trouble

    await until(recovered)
    await ended(engine, *await put(engine, (f.note, "again")))
    assert caplog.text.count("works again") == 1


async def test_old_done_jobs_are_purged(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "TIDY", 0.05)
    tidy = Worker(engine, retention=0)
    tidy.start()
    ids = await put(engine, *((f.note, n) for n in range(5)), (f.broken, "kept"))

    async def gone() -> bool:
        return [await engine.job(id) is None for id in ids] == [True] * 5 + [False]

    await until(gone)
    await tidy.stop()


class Slow(SqliteEngine):
    """A disk under load: an answer is ready long before it arrives."""

    slow = ""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.inside = asyncio.Event()

    async def _late(self, name: str) -> None:
        if self.slow == name:
            self.inside.set()
            await asyncio.sleep(0.3)

    async def ahead(self) -> Ahead:
        ahead = await super().ahead()
        await self._late("ahead")
        return ahead

    async def exchange(
        self, worker: str, ended: Sequence[Ended], *, claim: int, lease: float
    ) -> list[Job]:
        if ended and self.slow == "exchange":
            await self._late("exchange")
            self.slow = ""
            raise StoreUnavailable("once")
        return await super().exchange(worker, ended, claim=claim, lease=lease)


@pytest.mark.parametrize("step", ["ahead", "exchange"])
async def test_stop_never_forgets_what_ended(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the worker waits for just then, and even if its report fails."""
    engine = Slow(f"sqlite:///{tmp_path / 'it.db'}")
    ending = Worker(engine, lease=3600)
    (id,) = await put(engine, (f.wait, "x"))
    ending.start()
    await until(seen("begin x"))
    engine.slow = step
    monkeypatch.setattr(worker, "POLL", 0.0)  # a look each time round
    if step == "ahead":
        await engine.inside.wait()
    f.gate.set()
    while ending._running:
        await asyncio.sleep(0.001)
    if step == "ahead":
        engine.inside.clear()
    await asyncio.wait_for(engine.inside.wait(), DEADLINE)
    await ending.stop()
    job = await engine.job(id)
    assert job is not None
    assert job.state is State.DONE
    engine.close()


async def test_a_clock_that_is_set_takes_no_task_from_the_living(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, offset = time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: real() + offset)
    worker = Worker(engine, lease=2.0)
    worker.start()
    (id,) = await put(engine, (f.wait, "x"), retries=3)
    worker.wake()
    await until(seen("begin x"))
    offset = 3600.0

    async def renewed() -> bool:
        job = await engine.job(id)
        return job is not None and (job.attempt > 1 or (job.lease or 0) > time.time())

    await until(renewed)
    await until(_looked_twice(worker))
    f.gate.set()
    (job,) = await ended(engine, id)
    await worker.stop()
    assert (job.attempt, f.seen) == (1, ["begin x", "end x"])


def _looked_twice(worker: Worker) -> Callable[[], Any]:
    start = time.monotonic()

    async def condition() -> bool:
        return time.monotonic() > start + 2 * 0.5 and not worker._hungry

    return condition


async def test_a_job_of_a_replaced_store_does_not_end_its_namesake(
    engine: SqliteEngine, running: Worker
) -> None:
    (old,) = await put(engine, (f.wait, "old"))
    running.wake()
    await until(seen("begin old"))
    for file in engine.path.parent.iterdir():
        file.unlink()

    async def replaced() -> bool:
        try:
            return await put(engine, (f.await_forever, "new")) == [old]
        except StoreUnavailable:
            return False

    await until(replaced)
    running.wake()
    await until(seen("begin new"))
    f.gate.set()
    await until(seen("end old"))
    ids = await put(engine, (f.note, "after"))
    running.wake()
    await ended(engine, *ids)
    job = await engine.job(old)
    assert job is not None
    assert (job.state, job.attempt) == (State.RUNNING, 1)
    assert running.alive
    assert len(running._running) == 1
    running.drain = 0.05
