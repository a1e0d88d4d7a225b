import subprocess
import time
from pathlib import Path
from time import sleep as nap
from typing import Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from seawall.check import code


def named(message: str) -> None:
    Path("log.txt").write_text(message)


async def blocking_dependency() -> None:
    nap(0.1)


async def blocks() -> None:
    time.sleep(0.1)
    subprocess.run(["true"], check=True)


def blocks_where_it_may() -> None:
    time.sleep(0.1)


async def hands_it_to_a_thread() -> None:
    def work() -> None:
        time.sleep(0.1)

    _ = work, lambda: time.sleep(0.1)


async def shadows(time: Any = None) -> None:
    time.sleep(0.1)


async def adds_good_tasks(tasks: BackgroundTasks, given: Any = None) -> None:
    tasks.add_task(named, "x")
    tasks.add_task(given)


async def adds_bad_tasks(tasks: BackgroundTasks) -> None:
    def local() -> None:
        pass

    tasks.add_task(lambda: None)
    tasks.add_task(local)
    tasks.add_task(alias)


alias = [lambda: None][0]


def found(app: Any) -> list[tuple[str, str]]:
    return [(one.id, one.message) for one in code.audit(app)]


def app_of(*endpoints: Any) -> FastAPI:
    app = FastAPI()
    for number, endpoint in enumerate(endpoints):
        app.get(f"/{number}")(endpoint)
    return app


def test_blocking_calls_in_coroutines_are_seen_with_their_line() -> None:
    app = app_of(blocks)
    assert found(app) == [
        ("app.blocking", "blocks calls time.sleep()"),
        ("app.blocking", "blocks calls subprocess.run()"),
    ]
    [first, _] = code.audit(app)
    path, line = first.source.rsplit(":", 1)
    assert path == __file__
    assert Path(path).read_text().splitlines()[int(line) - 1].strip() == "time.sleep(0.1)"


@pytest.mark.parametrize("endpoint", [blocks_where_it_may, hands_it_to_a_thread])
def test_what_does_not_block_the_loop_is_left_alone(endpoint: Any) -> None:
    assert found(app_of(endpoint)) == []


def test_a_local_name_is_not_taken_for_the_module() -> None:
    app = Starlette(routes=[Route("/", shadows)])
    assert found(app) == []


def test_aliases_dependencies_included_and_mounted_routes_are_seen() -> None:
    router = APIRouter(dependencies=[Depends(blocking_dependency)])
    router.get("/")(blocks_where_it_may)
    included = FastAPI()
    included.include_router(router, prefix="/api")
    nap_found = [("app.blocking", "blocking_dependency calls time.sleep()")]
    outer = Starlette(routes=[Mount("/inner", included)])
    dependent = app_of()
    dependent.get("/", dependencies=[Depends(blocking_dependency)])(blocks_where_it_may)
    assert found(dependent) == nap_found
    assert found(included) == nap_found
    assert found(outer) == nap_found


def test_tasks_that_cannot_be_durable_are_seen() -> None:
    assert found(app_of(adds_good_tasks)) == []
    messages = [message for id_, message in found(app_of(adds_bad_tasks))]
    assert "it is a lambda" in messages[0]
    assert "local is defined inside another function" in messages[1]
    assert "it is a lambda" in messages[2]


def test_apps_without_source_or_routes_are_fine() -> None:
    space: dict[str, Any] = {}
    exec("async def made(request): time.sleep(1)", space)
    assert found(Starlette(routes=[Route("/", space["made"])])) == []
    assert found(None) == []

    async def plain(request: Any) -> PlainTextResponse:
        return PlainTextResponse("x", background=BackgroundTask(named, "x"))

    assert found(Starlette(routes=[Route("/", plain)])) == []
