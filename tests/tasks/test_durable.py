"""Unchanged handlers, real FastAPI and Starlette, a real store."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

import httpx2 as httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.background import BackgroundTasks as StarletteTasks
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router

from seawall.errors import UndurableTask
from seawall.tasks import State, Tasks, TasksSettings
from seawall.tasks.durable import install
from tests.tasks import functions as f


@pytest.fixture(autouse=True)
def _fresh() -> None:
    f.reset()


@pytest.fixture
async def tasks(tmp_path: Path) -> AsyncIterator[Tasks]:
    tasks = Tasks(TasksSettings(url=f"sqlite:///{tmp_path / 'it.db'}", worker=False))
    yield tasks
    await tasks.stop()


async def stored(tasks: Tasks) -> list[str]:
    """What the store holds, in order: the argument of each ``note``."""
    found, id = [], 1
    while job := await tasks.engine.job(id):
        assert job.function in ("tests.tasks.functions:note", "tests.tasks.functions:anote")
        found.append(job.arguments.removeprefix('{"value":"').removesuffix('"}'))
        id += 1
    return found


def client(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def post(app: Any, path: str = "/") -> httpx.Response:
    async with client(app) as http:
        return await http.post(path)


async def query(background: BackgroundTasks, q: str | None = None) -> str | None:
    if q:
        background.add_task(f.note, f"query {q}")
    return q


async def late(background: BackgroundTasks) -> AsyncIterator[None]:
    yield
    background.add_task(f.note, "after the yield")


Query = Annotated[str | None, Depends(query)]


def declare(router: FastAPI | APIRouter) -> None:
    """The same handlers, on an app or a router."""

    @router.post("/async")
    async def asynchronous(background: BackgroundTasks, q: Query) -> str:
        background.add_task(f.note, "one")
        background.add_task(f.anote, value="two")
        return "ok"

    @router.post("/sync")
    def synchronous(background: BackgroundTasks) -> str:
        background.add_task(f.note, "one")
        return "ok"

    @router.post("/own")
    async def own(background: BackgroundTasks) -> Response:
        background.add_task(f.note, "injected")
        return JSONResponse({}, background=BackgroundTask(f.note, "own"))

    @router.post("/own-only")
    async def own_only() -> Response:
        several = StarletteTasks()
        several.add_task(f.note, "one")
        several.tasks.append(StarletteTasks([BackgroundTask(f.note, "two")]))
        return JSONResponse({}, background=several)

    @router.post("/late", dependencies=[Depends(late, scope="function")])
    async def after_yield(background: BackgroundTasks) -> str:
        background.add_task(f.note, "handler")
        return "ok"

    @router.post("/stream")
    async def stream(background: BackgroundTasks) -> Response:
        async def body() -> AsyncIterator[str]:
            yield "a"
            background.add_task(f.note, "while streaming")
            yield "b"

        background.add_task(f.note, "before")
        return StreamingResponse(body())

    @router.post("/refused")
    async def refused(background: BackgroundTasks) -> None:
        background.add_task(f.note, "never")
        raise HTTPException(418)

    @router.post("/crash")
    def crash(background: BackgroundTasks) -> None:
        background.add_task(f.note, "never")
        raise RuntimeError("no")

    @router.post("/invalid", response_model=int)
    async def invalid(background: BackgroundTasks) -> Any:
        background.add_task(f.note, "never")
        return "not an int"

    @router.post("/lambda")
    async def undurable(background: BackgroundTasks) -> str:
        background.add_task(f.note, "durable")
        background.add_task(lambda: f.note("in process"))
        background.add_task(f.plain, object())
        return "ok"

    @router.post("/none")
    async def none() -> str:
        return "ok"


CASES: dict[str, tuple[int, list[str]]] = {
    "/async": (200, ["one", "two"]),
    "/async?q=x": (200, ["query x", "one", "two"]),
    "/sync": (200, ["one"]),
    "/own": (200, ["injected", "own"]),
    "/own-only": (200, ["one", "two"]),
    "/late": (200, ["handler", "after the yield"]),
    "/stream": (200, ["before", "while streaming"]),
    "/refused": (418, []),
    "/crash": (500, []),
    "/invalid": (500, []),
    "/lambda": (200, ["durable"]),
    "/none": (200, []),
}


def direct() -> tuple[FastAPI, str]:
    app = FastAPI()
    declare(app)
    return app, ""


def included() -> tuple[FastAPI, str]:
    app, outer, inner = FastAPI(), APIRouter(prefix="/outer"), APIRouter()
    declare(inner)
    outer.include_router(inner, prefix="/inner")
    app.include_router(outer)
    return app, "/outer/inner"


def included_and_served() -> tuple[FastAPI, str]:
    """FastAPI has built the handlers of included routes before the hook comes."""
    app, prefix = included()
    app.openapi()
    assert app.url_path_for("asynchronous") == f"{prefix}/async"
    return app, prefix


def mounted() -> tuple[FastAPI, str]:
    app, sub = FastAPI(), FastAPI()
    declare(sub)
    app.mount("/sub", CORSMiddleware(sub))
    return app, "/sub"


def limited() -> tuple[FastAPI, str]:
    app = FastAPI(max_body_size=1000)
    declare(app)
    return app, ""


def under_base_middleware() -> tuple[FastAPI, str]:
    app = FastAPI()
    declare(app)

    @app.middleware("http")
    async def passing(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    return app, ""


class LoudRoute(APIRoute):
    """The route class of FastAPI's own documentation, which looks into the response."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        original = super().get_route_handler()

        async def loud(request: Request) -> Response:
            response: Response = await original(request)
            response.headers["x-loud"] = "yes"
            return response

        return loud


def own_route_class() -> tuple[FastAPI, str]:
    app, router = FastAPI(), APIRouter(route_class=LoudRoute)
    declare(router)
    app.include_router(router, prefix="/loud")
    return app, "/loud"


APPS = [
    direct,
    included,
    included_and_served,
    mounted,
    limited,
    under_base_middleware,
    own_route_class,
]


@pytest.mark.parametrize("path", CASES)
@pytest.mark.parametrize("make", APPS)
async def test_handlers_stay_as_they_are(
    tasks: Tasks, make: Callable[[], tuple[FastAPI, str]], path: str
) -> None:
    app, prefix = make()
    install(app, tasks)
    status, expected = CASES[path]
    response = await post(app, prefix + path)
    assert response.status_code == status
    assert await stored(tasks) == expected
    assert f.seen == (["in process"] if path == "/lambda" else [])
    if make is own_route_class and status == 200:
        assert response.headers["x-loud"] == "yes"


async def test_tasks_are_in_the_store_before_the_first_byte(tasks: Tasks) -> None:
    app, _ = direct()
    install(app, tasks)
    at_start: list[list[str]] = []

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            at_start.append(await stored(tasks))

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/async"}
    scope |= {"query_string": b"", "headers": []}
    await app(scope, receive, send)  # type: ignore[arg-type]
    assert at_start == [["one", "two"]]


async def test_the_tasks_of_one_request_are_a_chain(tasks: Tasks) -> None:
    app, _ = direct()
    install(app, tasks)
    await post(app, "/async?q=x")
    jobs = [await tasks.engine.job(id) for id in (1, 2, 3)]
    assert [(job.state, job.after) for job in jobs if job] == [
        (State.READY, None),
        (State.SCHEDULED, 1),
        (State.SCHEDULED, 2),
    ]


@pytest.mark.parametrize("make", [direct, included])
async def test_installed_twice_enqueues_once(
    tasks: Tasks, make: Callable[[], tuple[FastAPI, str]]
) -> None:
    app, prefix = make()
    install(app, tasks)
    install(app, tasks)
    await post(app, f"{prefix}/own")
    assert await stored(tasks) == ["injected", "own"]


async def test_routes_added_to_an_installed_app_join_at_the_next_install(tasks: Tasks) -> None:
    app = FastAPI()
    router = APIRouter()
    app.include_router(router)
    install(app, tasks)
    declare(router)
    install(app, tasks)
    await post(app, "/sync")
    assert await stored(tasks) == ["one"]


async def test_switched_off_it_touches_nothing(tmp_path: Path) -> None:
    app, _ = direct()
    url = f"sqlite:///{tmp_path / 'it.db'}"
    install(app, Tasks(TasksSettings(url=url, enabled=False)))
    await post(app, "/sync")
    assert f.seen == ["one"]
    assert list(tmp_path.iterdir()) == []


def starlette_app(*, middleware: list[Middleware] | None = None) -> Starlette:
    async def asynchronous(request: Request) -> Response:
        return PlainTextResponse("ok", background=BackgroundTask(f.note, "one"))

    def synchronous(request: Request) -> Response:
        return PlainTextResponse("ok", background=BackgroundTask(f.note, "one"))

    routes = [
        Route("/async", asynchronous, methods=["POST"], middleware=middleware),
        Route("/sync", synchronous, methods=["POST"], middleware=middleware, max_body_size=9),
    ]
    return Starlette(routes=[*routes, Mount("/sub", Router([Mount("/sub", routes=routes)]))])


class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response


@pytest.mark.parametrize("middleware", [None, [Middleware(Passing)]])
@pytest.mark.parametrize("path", ["/async", "/sync", "/sub/sub/async", "/sub/sub/sync"])
async def test_starlette_routes(
    tasks: Tasks, path: str, middleware: list[Middleware] | None
) -> None:
    app = starlette_app(middleware=middleware)
    install(app, tasks)
    response = await post(app, path)
    assert (response.status_code, response.text) == (200, "ok")
    assert await stored(tasks) == ["one"]
    assert f.seen == []


async def test_a_body_limit_stays_in_force(tasks: Tasks) -> None:
    app = starlette_app()
    install(app, tasks)

    async def reads(request: Request) -> Response:
        await request.body()
        return PlainTextResponse("ok", background=BackgroundTask(f.note, "one"))

    app.router.routes.append(Route("/limited", reads, methods=["POST"], max_body_size=3))
    install(app, tasks)
    async with client(app) as http:
        assert (await http.post("/limited", content=b"four")).status_code == 413
        assert (await http.post("/limited", content=b"abc")).status_code == 200
    assert await stored(tasks) == ["one"]


async def test_a_starlette_route_in_an_included_router(tasks: Tasks) -> None:
    app, router = FastAPI(), APIRouter()

    def plain(request: Request) -> Response:
        return PlainTextResponse("ok", background=BackgroundTask(f.note, "one"))

    router.add_route("/plain", plain, methods=["POST"])
    app.include_router(router, prefix="/api")
    install(app, tasks)
    assert (await post(app, "/api/plain")).text == "ok"
    assert await stored(tasks) == ["one"]


async def test_a_task_that_says_itself_how_to_run_is_left_to(
    tasks: Tasks, caplog: pytest.LogCaptureFixture
) -> None:
    class Own(BackgroundTask):
        async def __call__(self) -> None:
            f.note("its own way")

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("ok", background=Own(f.note, "not so"))

    app = Starlette(routes=[Route("/", endpoint, methods=["POST"])])
    install(app, tasks)
    await post(app)
    assert f.seen == ["its own way"]
    assert await stored(tasks) == []
    assert "it says itself how to run" in caplog.text


async def test_an_undurable_task_warns_once_a_function(
    tasks: Tasks, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = direct()
    install(app, tasks)
    for _ in range(3):
        await post(app, "/lambda")
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert "<lambda> is not durable: it is a lambda" in warnings[0]
    assert "argument 'a' (object)" in warnings[1]


async def test_one_failing_in_process_task_does_not_stop_the_next(
    tasks: Tasks, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastAPI()

    @app.post("/")
    async def handler(background: BackgroundTasks) -> None:
        background.add_task(lambda: 1 / 0)
        background.add_task(lambda: f.note("next"))

    install(app, tasks)
    assert (await post(app)).status_code == 200
    assert f.seen == ["next"]
    assert "ZeroDivisionError" in caplog.text


async def test_undurable_tasks_can_be_refused(tmp_path: Path) -> None:
    app, _ = direct()
    url = f"sqlite:///{tmp_path / 'it.db'}"
    tasks = Tasks(TasksSettings(url=url, worker=False, undurable="refuse"))
    install(app, tasks)
    response = await post(app, "/lambda")
    assert response.status_code == 500
    assert await stored(tasks) == []
    assert f.seen == []
    with pytest.raises(UndurableTask, match="<lambda> is not durable: it is a lambda"):
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test"
        ) as http:
            await http.post("/lambda")
    assert (await post(app, "/sync")).status_code == 200
    await tasks.stop()


@pytest.mark.parametrize("path", ["/async", "/own", "/stream"])
async def test_a_store_that_fails_is_503_before_any_byte(
    tasks: Tasks, tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = direct()
    install(app, tasks)
    (tmp_path / "it.db").mkdir()
    response = await post(app, path)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert response.json() == {"detail": "The task store is unavailable."}
    assert f.seen == []
    assert str(tmp_path) in caplog.text
    assert str(tmp_path) in tasks.trouble
    assert str(tmp_path) not in response.text
    (tmp_path / "it.db").rmdir()
    assert (await post(app, path)).status_code == 200
    assert tasks.trouble == ""


async def test_a_dependency_sees_that_the_store_failed(tasks: Tasks, tmp_path: Path) -> None:
    """So that a transaction of the request is rolled back, not committed."""
    app = FastAPI()
    told: list[str] = []

    async def transaction() -> AsyncIterator[None]:
        try:
            yield
            told.append("commit")
        except HTTPException as error:
            told.append(f"rollback {error.status_code}")
            raise

    @app.post("/", dependencies=[Depends(transaction)])
    async def handler(background: BackgroundTasks) -> None:
        background.add_task(f.note, "x")

    install(app, tasks)
    (tmp_path / "it.db").mkdir()
    assert (await post(app)).status_code == 503
    assert told == ["rollback 503"]


async def test_what_comes_too_late_for_a_failing_store_runs_here(
    tasks: Tasks, tmp_path: Path
) -> None:
    app = FastAPI()

    @app.post("/")
    async def handler(background: BackgroundTasks) -> Response:
        async def body() -> AsyncIterator[str]:
            yield "a"
            (tmp_path / "it.db").mkdir()
            background.add_task(f.note, "late")

        return StreamingResponse(body())

    install(app, tasks)
    assert (await post(app)).text == "a"
    assert f.seen == ["late"]


def test_the_api_description_is_the_same(tasks: Tasks) -> None:
    before, after = included()[0], included()[0]
    install(after, tasks)
    assert after.openapi() == before.openapi()


async def test_an_iterator_runs_in_the_process_with_all_its_items(tasks: Tasks) -> None:
    app = FastAPI()

    @app.post("/")
    async def handler(background: BackgroundTasks) -> None:
        background.add_task(f.many, (str(n) for n in range(3)))

    install(app, tasks)
    assert (await post(app)).status_code == 200
    assert f.seen == ["0", "1", "2"]
    assert await stored(tasks) == []


async def test_a_shared_response_keeps_its_task(tasks: Tasks) -> None:
    app = FastAPI()
    one = PlainTextResponse("one", background=BackgroundTask(f.note, "one"))
    many = PlainTextResponse("many", background=StarletteTasks([BackgroundTask(f.note, "many")]))
    bare = PlainTextResponse("bare")

    @app.post("/one")
    async def first() -> Response:
        return one

    @app.post("/many")
    async def second(background: BackgroundTasks) -> Response:
        background.add_task(f.note, "injected")
        return many

    @app.post("/bare")
    async def third(background: BackgroundTasks, q: str) -> Response:
        background.add_task(f.note, q)
        return bare

    install(app, tasks)
    for path in ("/one", "/one", "/many", "/many", "/bare?q=a", "/bare?q=b"):
        assert (await post(app, path)).status_code == 200
    assert await stored(tasks) == ["one", "one", "injected", "many", "injected", "many", "a", "b"]


@pytest.mark.parametrize("served", [False, True])
async def test_tasks_of_the_including_routers_dependencies(tasks: Tasks, served: bool) -> None:
    async def adds(background: BackgroundTasks) -> None:
        background.add_task(f.note, "dependency")

    async def outer_adds(adding: Annotated[None, Depends(adds)]) -> None: ...

    app, middle, router = FastAPI(), APIRouter(), APIRouter()

    @router.post("/own")
    async def own() -> Response:
        return JSONResponse({}, background=BackgroundTask(f.note, "own"))

    middle.include_router(router)
    app.include_router(router, prefix="/plain")
    if served:
        install(app, tasks)
    app.include_router(router, prefix="/direct", dependencies=[Depends(adds)])
    app.include_router(middle, prefix="/nested", dependencies=[Depends(outer_adds)])
    install(app, tasks)
    for path in ("/plain/own", "/direct/own", "/nested/own"):
        assert (await post(app, path)).status_code == 200
    assert await stored(tasks) == ["own", "dependency", "own", "dependency", "own"]


@pytest.mark.parametrize("asgi", ["2.0", "2.4"])
async def test_a_response_that_cannot_begin_stores_nothing(tasks: Tasks, asgi: str) -> None:
    app = FastAPI()

    @app.post("/file")
    async def file(background: BackgroundTasks) -> Response:
        background.add_task(f.note, "never")
        return FileResponse("/nosuch/file")

    install(app, tasks)
    assert [m["status"] for m in await messages(app, "/file", asgi)] == [500]
    assert await stored(tasks) == []
    assert f.seen == []


async def messages(app: Any, path: str, asgi: str) -> list[dict[str, Any]]:
    """The beginnings of responses that a server of that ASGI version is given."""
    sent: list[dict[str, Any]] = []
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:
            await asyncio.Event().wait()
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
    try:
        await app({**scope, "asgi": {"spec_version": asgi}}, receive, send)
    except RuntimeError as error:
        assert "/nosuch/file" in str(error)  # noqa: PT017 - only this one passes
    return sent


@pytest.mark.parametrize("asgi", ["2.0", "2.4"])
@pytest.mark.parametrize("path", ["/plain", "/stream", "/file"])
async def test_every_response_gives_way_to_503(
    tasks: Tasks, tmp_path: Path, path: str, asgi: str
) -> None:
    """Whether or not the response sends from within a task group."""
    app = FastAPI()

    async def body() -> AsyncIterator[str]:
        yield "a"

    makes: dict[str, Callable[[], Response]] = {
        "/plain": lambda: PlainTextResponse("a"),
        "/stream": lambda: StreamingResponse(body()),
        "/file": lambda: FileResponse(__file__),
    }

    @app.post(path)
    async def handler(background: BackgroundTasks) -> Response:
        background.add_task(f.note, "x")
        return makes[path]()

    install(app, tasks)
    (tmp_path / "it.db").mkdir()
    assert [m["status"] for m in await messages(app, path, asgi)] == [503]
    assert f.seen == []
    (tmp_path / "it.db").rmdir()
    assert [m["status"] for m in await messages(app, path, asgi)] == [200]
    assert await stored(tasks) == ["x"]


async def test_a_client_that_leaves_during_the_commit_loses_no_task(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _ = direct()
    install(app, tasks)
    committing, left = asyncio.Event(), asyncio.Event()
    submit = tasks.submit

    async def slow(calls: Any) -> Any:
        committing.set()
        await left.wait()
        await asyncio.sleep(0)  # where the response is cancelled
        return await submit(calls)

    async def receive() -> dict[str, Any]:
        await committing.wait()
        left.set()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None: ...

    monkeypatch.setattr(tasks, "submit", slow)
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/stream"}
    scope |= {"query_string": b"", "headers": []}
    await app(scope, receive, send)
    assert (await stored(tasks)).count("before") == 1
