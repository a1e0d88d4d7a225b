import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask

from seawall.errors import StoreCorrupt, StoreUnavailable, UndurableTask
from seawall.tasks import State, Tasks, TasksSettings
from tests.contract.engines_fixtures import until
from tests.tasks import functions as f


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    f.reset()
    yield
    f.gate.set()


@pytest.fixture
def settings(tmp_path: Path) -> TasksSettings:
    return TasksSettings(url=f"sqlite:///{tmp_path / 'it.db'}")


async def ran(*values: Any) -> None:
    async def condition() -> bool:
        return set(values) <= set(f.seen)

    await until(condition)


async def test_enqueue_takes_tuples_and_background_tasks(settings: TasksSettings) -> None:
    tasks = Tasks(settings)
    tasks.open()
    ids = await tasks.enqueue([(f.note, (1,), {}), BackgroundTask(f.note, value=2)])
    assert ids == [1, 2]
    await ran(1, 2)
    assert f.seen == [1, 2]
    await tasks.stop()


async def test_enqueue_is_all_or_nothing(settings: TasksSettings) -> None:
    tasks = Tasks(settings)
    with pytest.raises(UndurableTask):
        await tasks.enqueue([(f.note, (1,), {}), (f.note, (object(),), {})])
    assert await tasks.engine.job(1) is None
    assert await tasks.enqueue([]) == []
    await tasks.stop()


async def test_retries_are_those_of_the_settings(settings: TasksSettings) -> None:
    tasks = Tasks(settings.model_copy(update={"retries": 7, "worker": False}))
    (id,) = await tasks.enqueue([(f.note, (1,), {})])
    job = await tasks.engine.job(id)
    assert job is not None
    assert job.retries == 7
    await tasks.stop()


async def test_without_a_worker_it_only_writes(settings: TasksSettings) -> None:
    tasks = Tasks(settings.model_copy(update={"worker": False}))
    await tasks.start()
    (id,) = await tasks.enqueue([(f.note, (1,), {})])
    await tasks.stop()
    job = await tasks.engine.job(id)
    assert job is not None
    assert job.state is State.READY
    tasks.engine.close()


def test_a_bad_store_is_told_by_open(tmp_path: Path) -> None:
    (tmp_path / "it.db").write_text("not a store")
    with pytest.raises(StoreCorrupt):
        Tasks(TasksSettings(url=f"sqlite:///{tmp_path / 'it.db'}")).open()
    with pytest.raises(StoreUnavailable):
        Tasks(TasksSettings(url=f"sqlite:///{tmp_path / 'no' / 'it.db'}")).open()


def test_each_loop_gets_a_worker_of_its_own(settings: TasksSettings) -> None:
    """As a test client does that makes a loop for every request."""
    tasks = Tasks(settings)

    async def request(n: int) -> None:
        await tasks.enqueue([(f.note, (n,), {})])
        await ran(n)

    for n in range(3):
        asyncio.run(request(n))
    tasks.engine.close()


async def test_other_loops_may_enqueue_for_the_worker(settings: TasksSettings) -> None:
    tasks = Tasks(settings)
    await tasks.start()

    async def submit() -> None:
        await tasks.enqueue([(f.loop, (), {})])

    thread = threading.Thread(target=lambda: asyncio.run(submit()))
    thread.start()
    await ran(id(asyncio.get_running_loop()))
    await asyncio.to_thread(thread.join)
    await tasks.stop()


class Lifespan:
    """Plays a server's part of the lifespan protocol."""

    def __init__(self, app: Any) -> None:
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self.task = asyncio.ensure_future(app(scope, self.inbox.get, self.outbox.put))

    async def say(self, word: str) -> dict[str, Any]:
        await self.inbox.put({"type": f"lifespan.{word}"})
        return await asyncio.wait_for(self.outbox.get(), 60)


def app_with(events: list[str]) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        events.append("up")
        yield
        events.append("down")

    return Starlette(lifespan=lifespan)


async def test_the_worker_lives_inside_the_apps_lifespan(settings: TasksSettings) -> None:
    tasks = Tasks(settings.model_copy(update={"worker": False}))
    await tasks.enqueue([(f.wait, ("x",), {})])
    await tasks.stop()

    tasks = Tasks(settings)
    server = Lifespan(tasks.lifespan(app_with(f.seen)))
    assert await server.say("startup") == {"type": "lifespan.startup.complete"}
    await ran("begin x")
    await server.inbox.put({"type": "lifespan.shutdown"})
    f.gate.set()
    assert await server.outbox.get() == {"type": "lifespan.shutdown.complete"}
    await server.task
    assert f.seen == ["up", "begin x", "end x", "down"], "tasks end before the app's resources"


async def test_a_store_that_fails_at_start_stops_the_server_and_the_app(
    settings: TasksSettings, tmp_path: Path
) -> None:
    (tmp_path / "it.db").write_text("not a store")
    events: list[str] = []
    server = Lifespan(Tasks(settings).lifespan(app_with(events)))
    answer = await server.say("startup")
    assert answer["type"] == "lifespan.startup.failed"
    assert "not a task store" in answer["message"]
    await server.task
    assert events == ["up", "down"]
    assert (tmp_path / "it.db").read_text() == "not a store"


async def test_an_app_that_fails_at_start_says_so_itself(settings: TasksSettings) -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if app.routes == []:
            raise RuntimeError("no database")
        yield

    tasks = Tasks(settings)
    server = Lifespan(tasks.lifespan(Starlette(lifespan=lifespan)))
    answer = await server.say("startup")
    assert answer["type"] == "lifespan.startup.failed"
    assert "no database" in answer["message"]
    with pytest.raises(RuntimeError, match="no database"):
        await server.task
    await tasks.stop()


async def test_everything_but_lifespan_passes_untouched(settings: TasksSettings) -> None:
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.extend((scope, receive, send))

    async def receive() -> Any: ...

    async def send(message: Any) -> None: ...

    for kind in ("http", "websocket"):
        got.clear()
        scope = {"type": kind}
        await Tasks(settings).lifespan(app)(scope, receive, send)
        assert got[0] is scope
        assert got[1:] == [receive, send]
