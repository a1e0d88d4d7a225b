"""What every engine must do, whatever it is made of."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from seawall.tasks.engine import Engine
from seawall.tasks.engines import ENGINES, create
from seawall.tasks.job import Call, Job, Outcome, State
from tests.contract.engines_fixtures import CALL, URLS, claim, done, end, failed, returned, until


@pytest.fixture(params=sorted(ENGINES))
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return URLS[request.param](tmp_path)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create(url)
    engine.open()
    yield engine
    engine.close()


async def stored(engine: Engine, id: int) -> Job:
    job = await engine.job(id)
    assert job is not None
    return job


async def test_what_is_enqueued_can_be_read(engine: Engine) -> None:
    before = time.time()
    (id,) = await engine.enqueue([Call("m:f", '{"name":"Zoë"}')], retries=2)
    job = await stored(engine, id)
    assert (job.function, job.arguments) == ("m:f", '{"name":"Zoë"}')
    assert (job.state, job.retries, job.failures, job.attempt) == (State.READY, 2, 0, 0)
    assert before - 1 <= job.enqueued <= time.time() + 1
    assert await engine.attempts(id) == []
    assert await engine.job(id + 1) is None


async def test_ids_are_those_of_the_calls_however_many_share_a_commit(engine: Engine) -> None:
    calls = [[Call(f"m:f{n}", "{}"), Call(f"m:g{n}", "{}")] for n in range(300)]
    ids = await asyncio.gather(*(engine.enqueue(pair, retries=0) for pair in calls))
    assert len({id for pair in ids for id in pair}) == 600
    for n in (0, 57, 299):
        first, second = [await stored(engine, id) for id in ids[n]]
        assert (first.function, second.function) == (f"m:f{n}", f"m:g{n}")
        assert second.after == first.id


async def test_a_closed_store_opens_again_with_everything_in_it(engine: Engine, url: str) -> None:
    (id,) = await engine.enqueue([CALL], retries=0)
    engine.close()
    assert (await stored(engine, id)).state is State.READY
    again = create(url)
    again.open()
    assert (await stored(again, id)).state is State.READY
    again.close()


async def test_oldest_first(engine: Engine) -> None:
    ids = [(await engine.enqueue([CALL], retries=0))[0] for _ in range(20)]
    assert [job.id for job in await claim(engine, count=5)] == ids[:5]
    assert [job.id for job in await claim(engine, count=100)] == ids[5:]


async def test_a_job_has_one_holder(engine: Engine) -> None:
    await engine.enqueue([CALL], retries=0)
    (job,) = await claim(engine, "one")
    assert (job.state, job.attempt, job.worker) == (State.RUNNING, 1, "one")
    assert await claim(engine, "two") == []


async def test_done_stays_done_and_is_not_claimed_again(engine: Engine) -> None:
    await engine.enqueue([CALL], retries=0)
    (job,) = await claim(engine)
    assert await end(engine, done(job), claim=10) == []
    job = await stored(engine, job.id)
    assert job.state is State.DONE
    assert job.ended is not None
    (attempt,) = await engine.attempts(job.id)
    assert (attempt.number, attempt.worker, attempt.outcome) == (1, "one", Outcome.DONE)
    assert attempt.started <= attempt.ended


async def test_jobs_of_one_call_run_one_after_the_other(engine: Engine) -> None:
    ids = await engine.enqueue([CALL] * 3, retries=0)
    order = []
    jobs = await claim(engine)
    while jobs:
        (job,) = jobs
        order.append(job.id)
        assert await claim(engine, "two") == []
        jobs = await end(engine, done(job), claim=10)
    assert order == ids


async def test_a_waiting_job_is_claimed_with_the_end_of_the_one_before(engine: Engine) -> None:
    first, second = await engine.enqueue([CALL] * 2, retries=0)
    (job,) = await claim(engine)
    others = [(await engine.enqueue([CALL], retries=0))[0] for _ in range(5)]
    assert (await stored(engine, second)).state is State.SCHEDULED
    (next_job,) = await end(engine, done(job), claim=1)
    assert next_job.id == second, f"{others} came later and must not be first"
    assert first == next_job.after


@pytest.mark.parametrize("dead", [True, False])
async def test_a_failure_does_not_stop_the_next(engine: Engine, dead: bool) -> None:
    _, second = await engine.enqueue([CALL] * 2, retries=1)
    (job,) = await claim(engine)
    due = None if dead else time.time() + 3600
    (next_job,) = await end(engine, failed(job, due=due), claim=10)
    assert next_job.id == second


async def test_jobs_of_different_calls_run_together(engine: Engine) -> None:
    for _ in range(3):
        await engine.enqueue([CALL] * 2, retries=0)
    assert len(await claim(engine)) == 3


async def test_a_failed_job_comes_back_when_it_is_due(engine: Engine) -> None:
    (id,) = await engine.enqueue([CALL], retries=1)
    (job,) = await claim(engine)
    assert await end(engine, failed(job, due=time.time() + 3600), claim=10) == []
    waiting = await stored(engine, id)
    assert (waiting.state, waiting.failures) == (State.RETRYING, 1)
    ahead = await engine.ahead()
    assert ahead.due == waiting.due
    assert ahead.lease is None


async def test_a_due_retry_is_claimed_as_another_attempt(engine: Engine) -> None:
    await engine.enqueue([CALL], retries=1)
    (job,) = await claim(engine)
    (again,) = await end(engine, failed(job, due=time.time() - 1), claim=10)
    assert (again.id, again.attempt, again.failures) == (job.id, 2, 1)
    await end(engine, done(again))
    one, two = await engine.attempts(job.id)
    assert (one.outcome, one.error, one.message, one.traceback) == (
        Outcome.FAILED,
        "builtins.ValueError",
        "no “good”",
        "Traceback ...\nValueError: no",
    )
    assert (two.number, two.outcome, two.error) == (2, Outcome.DONE, None)


async def test_dead_jobs_are_kept_and_left_alone(engine: Engine) -> None:
    (id,) = await engine.enqueue([CALL], retries=0)
    (job,) = await claim(engine)
    assert await end(engine, failed(job), claim=10) == []
    dead = await stored(engine, id)
    assert (dead.state, dead.failures, dead.due) == (State.DEAD, 1, None)
    assert await engine.purge(time.time() + 3600, limit=10) == 0
    assert (await engine.ahead()).due is None


async def test_a_handed_back_job_is_free_at_once_and_blames_nobody(engine: Engine) -> None:
    await engine.enqueue([CALL] * 2, retries=0)
    (job,) = await claim(engine)
    later = [(await engine.enqueue([CALL], retries=0))[0]]
    await end(engine, returned(job))
    again, *rest = await claim(engine, "two")
    assert (again.id, again.failures, again.attempt) == (job.id, 0, 2)
    assert [job.id for job in rest] == later, "its follower still waits for it"
    (attempt,) = await engine.attempts(job.id)
    assert attempt.outcome is Outcome.RETURNED


async def test_a_lost_job_is_taken_back_after_its_lease(engine: Engine) -> None:
    await engine.enqueue([CALL], retries=1)
    (job,) = await claim(engine, "gone", lease=0.2)
    assert await claim(engine, "heir") == []

    async def taken_back() -> bool:
        return await engine.reclaim() == 1

    await until(taken_back)
    (again,) = await claim(engine, "heir")
    assert (again.id, again.attempt, again.failures) == (job.id, 2, 1)
    (lost,) = await engine.attempts(job.id)
    assert (lost.outcome, lost.worker) == (Outcome.LOST, "gone")


async def test_a_living_lease_is_not_touched(engine: Engine) -> None:
    await engine.enqueue([CALL], retries=0)
    (job,) = await claim(engine)
    assert await engine.reclaim() == 0
    assert (await stored(engine, job.id)).state is State.RUNNING


async def test_heartbeats_keep_a_job_longer_than_its_lease(engine: Engine) -> None:
    (id,) = await engine.enqueue([CALL], retries=3)
    (job,) = await claim(engine, lease=1.0)
    end_of_lease = (await stored(engine, id)).lease
    assert end_of_lease is not None

    async def outlived() -> bool:
        await asyncio.to_thread(engine.beat, "one", [job.id], lease=30.0)
        assert await engine.reclaim() == 0
        return time.time() > end_of_lease + 0.2

    await until(outlived)
    await end(engine, done(job))
    assert [attempt.outcome for attempt in await engine.attempts(id)] == [Outcome.DONE]


async def test_only_the_holder_may_beat(engine: Engine) -> None:
    await engine.enqueue([CALL], retries=3)
    (job,) = await claim(engine, lease=0.1)
    await asyncio.to_thread(engine.beat, "stranger", [job.id], lease=3600.0)

    async def lost() -> bool:
        return await engine.reclaim() == 1

    await until(lost)


async def test_a_late_end_changes_nothing(engine: Engine) -> None:
    first, second = await engine.enqueue([CALL] * 2, retries=5)
    (job,) = await claim(engine, "slow", lease=0.1)

    async def lost() -> bool:
        return await engine.reclaim() == 1

    await until(lost)
    (again,) = await claim(engine, "heir")
    await end(engine, done(job), worker="slow")
    now = await stored(engine, first)
    assert (now.state, now.worker) == (State.RUNNING, "heir")
    assert (await stored(engine, second)).state is State.SCHEDULED
    await end(engine, done(again), worker="heir")
    outcomes = [attempt.outcome for attempt in await engine.attempts(first)]
    assert outcomes == [Outcome.LOST, Outcome.DONE]


async def test_a_job_that_kills_its_worker_each_time_ends_dead(engine: Engine) -> None:
    poison, follower = await engine.enqueue([CALL] * 2, retries=2)
    for attempt in (1, 2, 3):
        (job,) = await claim(engine, f"victim {attempt}", lease=0.05)
        assert (job.id, job.attempt) == (poison, attempt)

        async def lost() -> bool:
            return await engine.reclaim() == 1

        await until(lost)
    (job,) = await claim(engine, "survivor")
    assert job.id == follower
    assert (await stored(engine, poison)).state is State.DEAD
    outcomes = [attempt.outcome for attempt in await engine.attempts(poison)]
    assert outcomes == [Outcome.LOST] * 3


async def test_ahead_names_the_next_due_and_the_next_lease(engine: Engine) -> None:
    assert (await engine.ahead()).due is None
    await engine.enqueue([CALL], retries=0)
    due = (await engine.ahead()).due
    assert due is not None
    assert due <= time.time()
    await claim(engine)
    ahead = await engine.ahead()
    assert ahead.due is None
    assert ahead.lease is not None
    assert ahead.lease > time.time()


async def test_purge_takes_old_done_jobs_and_nothing_else(engine: Engine) -> None:
    for _ in range(5):
        await engine.enqueue([CALL], retries=0)
    jobs = await claim(engine)
    await end(engine, *map(done, jobs[:3]))
    assert await engine.purge(time.time() - 3600, limit=10) == 0
    assert await engine.purge(time.time() + 3600, limit=2) == 2
    assert await engine.purge(time.time() + 3600, limit=2) == 1
    assert await engine.job(jobs[0].id) is None
    assert await engine.attempts(jobs[0].id) == []
    assert (await stored(engine, jobs[3].id)).state is State.RUNNING


async def test_a_purged_id_is_not_given_again(engine: Engine) -> None:
    (id,) = await engine.enqueue([CALL], retries=0)
    (job,) = await claim(engine)
    await end(engine, done(job))
    assert await engine.purge(time.time() + 3600, limit=10) == 1
    (later,) = await engine.enqueue([CALL], retries=0)
    assert later > id


async def test_a_cancelled_caller_hinders_nobody(engine: Engine) -> None:
    impatient = [asyncio.ensure_future(engine.enqueue([CALL], retries=0)) for _ in range(10)]
    await asyncio.sleep(0)
    for future in impatient[::2]:
        future.cancel()
    answers = await asyncio.gather(*impatient, return_exceptions=True)
    assert all(isinstance(answer, list) for answer in answers[1::2])
    await engine.enqueue([CALL], retries=0)


async def test_one_callers_unwritable_text_is_its_own_affair(engine: Engine) -> None:
    good = [engine.enqueue([CALL], retries=0) for _ in range(5)]
    bad = engine.enqueue([Call("m:f", '"\ud800"')], retries=0)
    *ids, error = await asyncio.gather(*good, bad, return_exceptions=True)
    assert isinstance(error, UnicodeEncodeError)
    assert [job.id for job in await claim(engine)] == sorted(
        id for answer in ids if isinstance(answer, list) for id in answer
    )
    assert len(ids) == 5


PROCESS = """
import asyncio, json, sys, time
from seawall.tasks.engines import create
from seawall.tasks.job import Call, Ended, Outcome, State

url, name, mine, all = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

async def main():
    engine = create(url)
    engine.open()
    ran = []
    async def produce():
        for n in range(mine):
            await engine.enqueue([Call("m:" + name, "{}")], retries=0)
    async def consume():
        ended = []
        while True:
            jobs = await engine.exchange(name, ended, claim=10, lease=60)
            ran.extend(job.id for job in jobs)
            ended = [Ended(j.id, j.attempt, Outcome.DONE, State.DONE, time.time()) for j in jobs]
            if not jobs:
                ahead = await engine.ahead()
                if ahead.due is None and ahead.lease is None and produced.done():
                    return
                await asyncio.sleep(0.001)
    produced = asyncio.ensure_future(asyncio.gather(*(produce() for _ in range(4))))
    await asyncio.gather(produced, consume())
    engine.close()
    print(json.dumps(ran))

asyncio.run(main())
"""


def test_several_processes_share_a_store(engine: Engine, url: str) -> None:
    each, processes = 50, 4
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, url, f"p{n}", str(each), str(processes)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(processes)
    ]
    ran: list[int] = []
    try:
        for process in started:
            out, err = process.communicate(timeout=120)
            assert (process.returncode, err) == (0, "")
            ran += json.loads(out)
    finally:
        for process in started:
            process.kill()
            process.wait()
    # A process may leave while another still produces, so the last ones run here.
    rest = asyncio.run(_finish(engine))
    assert Counter(ran + rest) == Counter(range(1, processes * 4 * each + 1))


async def _finish(engine: Engine) -> list[int]:
    ran = []
    while jobs := await claim(engine, "last"):
        ran += [job.id for job in jobs]
        await end(engine, *map(done, jobs), worker="last")
    return ran


FORK = """
import asyncio, os, sys
from seawall.tasks.engines import create
from seawall.tasks.job import Call

engine = create(sys.argv[1])
engine.open()

async def enqueue(name, times):
    for _ in range(times):
        await engine.enqueue([Call("m:" + name, "{}")], retries=0)

asyncio.run(enqueue("before", 10))
children = []
for child in range(3):
    pid = os.fork()
    if pid == 0:
        asyncio.run(enqueue(f"child{child}", 50))
        engine.close()
        os._exit(0)
    children.append(pid)
asyncio.run(enqueue("parent", 50))
codes = [os.waitpid(pid, 0)[1] for pid in children]
asyncio.run(enqueue("after", 10))
engine.close()
print(codes)
"""


def test_a_forked_process_opens_the_store_for_itself(engine: Engine, url: str) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, url],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "[0, 0, 0]\n", "")

    async def count() -> Counter[str]:
        return Counter(job.function for job in await claim(engine, count=1000))

    assert asyncio.run(count()) == {
        "m:before": 10,
        "m:child0": 50,
        "m:child1": 50,
        "m:child2": 50,
        "m:parent": 50,
        "m:after": 10,
    }


def test_every_engine_is_under_contract_and_says_what_it_has() -> None:
    assert set(URLS) == set(ENGINES)
    for scheme, make in URLS.items():
        capabilities = create(make(Path("/nowhere"))).capabilities
        assert capabilities.durable, scheme
