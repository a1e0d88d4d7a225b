import asyncio
import contextvars
import threading

import pytest

from seawall.tasks.pool import Pool


async def test_results_and_errors_come_back() -> None:
    pool = Pool(2)
    assert await pool.run(contextvars.Context(), lambda: 7) == 7
    for error in (KeyError("no"), StopIteration(), SystemExit(2)):

        def fail(error: BaseException = error) -> None:
            raise error

        with pytest.raises(BaseException) as raised:  # noqa: PT011
            await pool.run(contextvars.Context(), fail)
        # A StopIteration cannot leave a coroutine; Python wraps it.
        assert error in (raised.value, raised.value.__cause__)
    pool.close()


async def test_it_has_no_more_threads_than_it_was_given() -> None:
    pool = Pool(3)
    gate = threading.Event()
    names: set[str] = set()

    def work() -> None:
        names.add(threading.current_thread().name)
        gate.wait(60)

    running = [asyncio.ensure_future(pool.run(contextvars.Context(), work)) for _ in range(10)]
    while len(names) < 3:
        await asyncio.sleep(0.01)
    gate.set()
    await asyncio.gather(*running)
    assert names == {"seawall-task-0", "seawall-task-1", "seawall-task-2"}
    pool.close()


async def test_close_ends_the_threads() -> None:
    pool = Pool(2)
    thread = await pool.run(contextvars.Context(), threading.current_thread)
    pool.close()
    await asyncio.to_thread(thread.join, 30)
    assert not thread.is_alive()
