"""Deadlines are tens of milliseconds where they must pass, and hours where they must not."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from seawall import Edge, Seawall
from seawall.policies import Cors, Problems, Timeout
from seawall.policies.policy import Audit
from tests.asgi import Seen, call, hello, http, websocket
from tests.servers.process import poll
from tests.servers.uvicorn import head, reply, uvicorn

SOON = 0.03
DEADLINE = 30.0


def timed(app: Any, *others: Any, **options: Any) -> Edge:
    policy = Timeout.model_validate({"enabled": True, "seconds": SOON, **options})
    return Edge(app, [policy, Problems(), *others])


async def get(app: Any, path: str = "/", **more: Any) -> Seen:
    async with asyncio.timeout(DEADLINE):
        return await call(app, http(path=path, **more))


async def forever(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.Event().wait()


async def test_no_answer_in_time_is_504() -> None:
    seen = await get(timed(forever))
    assert seen.status == 504
    assert seen.error is None
    assert seen.get("content-type") == "application/problem+json"
    assert b"0.03 s" in seen.body


async def test_the_answer_passes_the_other_policies() -> None:
    app = timed(forever, Cors(enabled=True, allow_origins=("https://a.example",)))
    seen = await get(app, headers=[("origin", "https://a.example")])
    assert seen.status == 504
    assert seen.get("access-control-allow-origin") == "https://a.example"


async def test_who_answers_in_time_notices_nothing() -> None:
    seen = await get(timed(hello, seconds=3600))
    assert (seen.status, seen.body) == (200, b"hello")


async def test_the_app_is_cancelled_and_cleans_up() -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # clean-up may wait itself
            ended.append("cancelled")
            raise

    assert (await get(timed(app))).status == 504
    assert ended == ["cancelled"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_app_that_hides_the_cancellation_still_gives_504() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    assert (await get(timed(app))).status == 504


async def test_an_app_that_answers_for_itself_when_cancelled_is_heard() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await hello(scope, receive, send)

    seen = await get(timed(app))
    assert (seen.status, seen.body, seen.error) == (200, b"hello", None)


async def test_a_timeout_of_the_apps_own_is_an_error_like_any_other() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise TimeoutError("the database")

    seen = await get(timed(app, seconds=3600))
    assert seen.status == 500
    assert isinstance(seen.error, TimeoutError)


async def test_a_cancellation_from_outside_stays_one() -> None:
    begun = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(get(timed(app, seconds=3600)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def streaming(pause: float) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(pause)
        await send({"type": "http.response.body", "body": b"end"})

    return app


async def test_once_begun_a_response_may_last() -> None:
    seen = await get(timed(streaming(SOON)))
    assert (seen.status, seen.body) == (200, b"xxxend")


async def test_unless_the_whole_is_limited_then_it_is_cut_off() -> None:
    seen = await get(timed(streaming(DEADLINE), total=True))
    assert seen.status == 200
    assert seen.error is None
    assert seen.body == b"x"
    assert seen.messages[-1]["more_body"], "so the server closes the connection"
    whole = await get(timed(streaming(0), total=True, seconds=3600))
    assert whole.body == b"xxxend"


@pytest.mark.parametrize("total", [False, True])
async def test_what_comes_after_the_response_is_not_timed(total: bool) -> None:
    done = False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal done
        await hello(scope, receive, send)
        await asyncio.sleep(SOON * 3)
        done = True

    assert (await get(timed(app, total=total))).status == 200
    assert done


async def test_an_early_hint_is_no_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.push", "path": "/a.css", "headers": []})
        await asyncio.Event().wait()

    assert (await get(timed(app))).status == 504


async def test_websockets_are_left_alone() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.sleep(SOON * 2)
        await send({"type": "websocket.accept"})

    assert (await call(timed(app), websocket())).messages == [{"type": "websocket.accept"}]


async def test_paths_have_their_own_time_and_0_is_none() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(SOON * 2)
        await hello(scope, receive, send)

    edge = timed(app, seconds=3600, paths={"/quick": SOON, "/quick/but/endless": 0})
    assert (await get(edge)).status == 200
    assert (await get(edge, "/quick")).status == 504
    assert (await get(edge, "/quick/but/endless/x")).status == 200


cleaned: list[str] = []
ran: list[str] = []


async def session() -> AsyncIterator[str]:
    try:
        yield "session"
    finally:
        cleaned.append("session")


def framework(middleware: bool) -> FastAPI:
    app = FastAPI()
    thread_ends = threading.Event()
    app.state.thread_ends = thread_ends

    @app.get("/async")
    async def slow(tasks: BackgroundTasks, session: Annotated[str, Depends(session)]) -> str:
        tasks.add_task(ran.append, "async")
        await asyncio.Event().wait()
        return session

    @app.get("/sync")
    def blocking() -> str:
        thread_ends.wait(DEADLINE)
        ran.append("thread")
        return "late"

    @app.get("/quick")
    async def quick(tasks: BackgroundTasks) -> str:
        tasks.add_task(ran.append, "quick")
        return "quick"

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            yield "one "
            await asyncio.sleep(SOON * 3)
            yield "two"

        return StreamingResponse(parts())

    if middleware:

        @app.middleware("http")
        async def around(request: Request, call_next: Any) -> Any:
            return await call_next(request)

    options = {"seconds": SOON, "paths": {"/quick": 3600, "/stream": 3600}}
    Seawall(app, timeout=options, tasks=False, access_log=False)
    return app


@pytest.mark.parametrize("middleware", [False, True], ids=["plain", "under BaseHTTPMiddleware"])
async def test_fastapi(middleware: bool, caplog: pytest.LogCaptureFixture) -> None:
    cleaned.clear()
    ran.clear()
    app = framework(middleware)
    slow = await get(app, "/async")
    assert (slow.status, slow.error) == (504, None)
    assert slow.get("content-type") == "application/problem+json"
    assert cleaned == ["session"], "dependencies end as ever"
    assert (await get(app, "/quick")).status == 200
    assert ran == ["quick"], "what a cancelled request would have done after is not done"
    assert (await get(app, "/stream")).body == b"one two"
    assert not caplog.records


async def test_a_thread_cannot_be_cancelled_but_the_client_is_answered() -> None:
    ran.clear()
    app = framework(middleware=False)
    assert (await get(app, "/sync")).status == 504
    assert ran == []
    app.state.thread_ends.set()
    async with asyncio.timeout(DEADLINE):
        while ran != ["thread"]:
            await asyncio.sleep(0.01)


def enqueued(text: str) -> None:
    raise AssertionError("a cancelled request's task must not run")


async def test_a_durable_task_of_a_cancelled_request_is_not_enqueued(tmp_path: Path) -> None:
    app = FastAPI()

    @app.get("/")
    async def slow(tasks: BackgroundTasks) -> None:
        tasks.add_task(enqueued, "x")
        await asyncio.Event().wait()

    @app.get("/quick")
    async def quick(tasks: BackgroundTasks) -> None:
        tasks.add_task(enqueued, "x")

    store = tmp_path / "tasks.db"
    options = {"seconds": SOON, "paths": {"/quick": 3600}}
    wall = Seawall(app, timeout=options, tasks={"url": f"sqlite:///{store}", "worker": False})
    assert wall.tasks is not None
    assert (await get(app)).status == 504
    assert (await get(app, "/quick")).status == 200
    await wall.tasks.stop()
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (1,)


@pytest.mark.parametrize("seconds", [0, -1, 100_000, "soon"])
def test_what_is_no_time_is_refused(seconds: Any) -> None:
    with pytest.raises(ValidationError):
        Timeout(seconds=seconds)
    if seconds != 0:
        with pytest.raises(ValidationError):
            Timeout(paths={"/a": seconds})


def test_audit() -> None:
    def found(**options: Any) -> list[str]:
        return [one.id for one in Timeout(**options).audit(Audit())]

    assert found(enabled=True) == []
    assert found(enabled=True, seconds=3600) == ["timeout.long"]
    assert found(seconds=3600) == []


SOURCE = """
    import asyncio, time
    from fastapi import FastAPI, Request
    from fastapi.responses import StreamingResponse
    from seawall import Seawall

    app = FastAPI()
    paths = {"/echo": 60, "/stream": 1.5}
    Seawall(app, timeout={"seconds": 0.2, "paths": paths}, tasks=False)

    @app.get("/slow")
    async def slow():
        try:
            await asyncio.sleep(60)
        finally:
            print("cancelled", flush=True)

    @app.get("/sync")
    def sync():
        time.sleep(2)

    @app.post("/echo")
    @app.post("/impatient")
    async def echo(request: Request) -> int:
        return len(await request.body())

    @app.get("/stream")
    async def stream():
        async def parts():
            for part in "abc":
                yield part
                await asyncio.sleep(0.8)
        return StreamingResponse(parts(), headers={"content-length": "3"})
"""


def test_a_real_server(tmp_path: Path) -> None:
    with uvicorn(tmp_path, SOURCE) as served:
        with served.connect() as connection:
            # One connection, after each 504 the next request.
            for path in ("/slow", "/sync", "/slow"):
                connection.sendall(head("GET", path))
                assert reply(connection).status == 504
            connection.sendall(head("GET", "/stream"))
            assert reply(connection).body == b"abc"
        poll(lambda: served.log.read_text().count("cancelled") == 2, "both were cancelled")
        with served.connect() as connection:
            # A body that never comes is no reason to wait either.
            connection.sendall(head("POST", "/impatient", Content_Length="10") + b"abc")
            assert reply(connection).status == 504
        with served.connect() as connection:
            connection.sendall(head("POST", "/echo", Content_Length="3") + b"abc")
            assert reply(connection).body == b"3"
        assert "Traceback" not in served.log.read_text()
