import asyncio
import gc
import weakref

import pytest

from seawall.policies.deadline import Deadlines

SOON = 0.02


async def test_each_task_comes_due_in_its_own_time() -> None:
    deadlines = Deadlines(SOON)
    expired: list[int] = []

    async def work(number: int) -> None:
        with deadlines.begin() as deadline:
            await asyncio.Event().wait()
        assert deadline.expired
        expired.append(number)

    async def late() -> None:
        await asyncio.sleep(SOON / 2)
        await work(99)

    async with asyncio.timeout(30):
        await asyncio.gather(late(), *(work(number) for number in range(50)))
    assert expired == [*range(50), 99]


async def test_one_that_was_lifted_never_comes_due() -> None:
    deadlines = Deadlines(SOON)
    with deadlines.begin() as deadline:
        deadline.lift()
        deadline.lift()
        await asyncio.sleep(SOON * 3)
    assert not deadline.expired


async def test_the_timer_goes_on_after_a_pause() -> None:
    deadlines = Deadlines(SOON)
    for _ in range(3):
        with deadlines.begin() as quick:
            pass
        assert not quick.expired
        await asyncio.sleep(SOON * 2)
        with deadlines.begin() as slow:
            await asyncio.sleep(30)
        assert slow.expired


async def test_a_cancellation_from_elsewhere_is_not_taken_back() -> None:
    deadlines = Deadlines(SOON)

    async def work() -> None:
        with deadlines.begin():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cleaning.set()
                await asyncio.Event().wait()

    cleaning = asyncio.Event()
    task = asyncio.create_task(work())
    async with asyncio.timeout(30):
        await cleaning.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_an_error_of_the_work_is_an_error() -> None:
    deadlines = Deadlines(SOON)

    async def failing() -> None:
        with deadlines.begin():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise KeyError from None

    with pytest.raises(KeyError):
        await failing()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


def test_every_loop_has_its_own_timer_and_is_let_go() -> None:
    deadlines = Deadlines(SOON)

    async def work() -> "weakref.ref[asyncio.AbstractEventLoop]":
        with deadlines.begin() as deadline:
            await asyncio.sleep(30)
        assert deadline.expired
        return weakref.ref(asyncio.get_running_loop())

    loops = [asyncio.run(work()) for _ in range(4)]
    gc.collect()
    assert [loop() is not None for loop in loops] == [False, False, False, True]
