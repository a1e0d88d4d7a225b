import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from seawall import Edge
from seawall.policies import Concurrency, Cors, Health, Problems
from seawall.policies.concurrency import Places
from seawall.policies.policy import Audit
from tests.asgi import Seen, call, hello, http, websocket
from tests.servers.uvicorn import head, reply, uvicorn

DEADLINE = 30.0


class Gate:
    """An app whose requests stay inside until they are let out."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.most = 0
        self.order: list[str] = []
        self.doors: dict[str, asyncio.Event] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        name = scope["path"]
        self.inside.append(name)
        self.order.append(name)
        self.most = max(self.most, len(self.inside))
        try:
            await self.doors.setdefault(name, asyncio.Event()).wait()
            if name.endswith("/error"):
                raise RuntimeError(name)
            await hello(scope, receive, send)
        finally:
            self.inside.remove(name)

    def let_out(self, name: str) -> None:
        self.doors.setdefault(name, asyncio.Event()).set()


def bounded(app: Any, *others: Any, **options: Any) -> Edge:
    policy = Concurrency.model_validate({"enabled": True, "wait": 3600, **options})
    return Edge(app, [policy, Problems(), *others])


def begin(app: Any, name: str, **more: Any) -> "asyncio.Task[Seen]":
    return asyncio.create_task(call(app, http(path=name, **more)))


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not true():
            await asyncio.sleep(0)


async def test_so_many_at_once_then_a_queue_then_503() -> None:
    gate = Gate()
    app = bounded(gate, limit=2, queue=1)
    first, second, third = (begin(app, name) for name in ("/1", "/2", "/3"))
    await until(lambda: gate.inside == ["/1", "/2"])
    refused = await begin(app, "/4")
    assert refused.status == 503
    assert refused.get("retry-after") == "3600"
    assert refused.get("content-type") == "application/problem+json"
    gate.let_out("/1")
    assert (await first).status == 200
    await until(lambda: gate.inside == ["/2", "/3"])
    for name in ("/2", "/3"):
        gate.let_out(name)
    assert [(await one).status for one in (second, third)] == [200, 200]
    assert gate.most == 2


async def test_first_come_first_served() -> None:
    gate = Gate()
    app = bounded(gate, limit=1, queue=50)
    names = [f"/{n}" for n in range(50)]
    tasks = []
    for name in names:
        tasks.append(begin(app, name))
        await asyncio.sleep(0)
    for name in names:
        gate.let_out(name)
    await asyncio.gather(*tasks)
    assert gate.order == names
    assert gate.most == 1


async def test_who_waits_too_long_is_told_to_come_back() -> None:
    gate = Gate()
    app = bounded(gate, limit=1, queue=5, wait=0.03)
    inside = begin(app, "/1")
    await until(lambda: gate.inside)
    waited = await begin(app, "/2")
    assert waited.status == 503
    assert waited.get("retry-after") == "1"
    assert gate.order == ["/1"]
    gate.let_out("/1")
    await inside
    gate.let_out("/3")
    assert (await begin(app, "/3")).status == 200


async def test_the_refusal_passes_the_other_policies() -> None:
    gate = Gate()
    cors = Cors(enabled=True, allow_origins=("https://a.example",))
    app = bounded(gate, cors, limit=1, queue=0)
    inside = begin(app, "/1")
    await until(lambda: gate.inside)
    refused = await begin(app, "/2", headers=[("origin", "https://a.example")])
    assert refused.get("access-control-allow-origin") == "https://a.example"
    gate.let_out("/1")
    await inside


async def test_health_websockets_and_exempt_paths_need_no_place() -> None:
    gate = Gate()
    app = bounded(gate, Health(), limit=1, queue=0, exempt=["/events"])
    inside = begin(app, "/1")
    await until(lambda: gate.inside)
    assert (await begin(app, "/livez")).status == 200
    gate.let_out("/events/a")
    assert (await begin(app, "/events/a")).status == 200
    gate.let_out("/ws")
    accepted = await call(app, websocket(path="/ws"))
    assert accepted.messages[-1]["type"] == "websocket.accept"
    gate.let_out("/1")
    await inside


@pytest.mark.parametrize("how", ["error", "cancel", "cancel waiting"])
async def test_a_place_is_given_back_however_it_ends(how: str) -> None:
    gate = Gate()
    app = bounded(gate, limit=1, queue=1)
    first = begin(app, "/error" if how == "error" else "/1")
    await until(lambda: gate.inside)
    second = begin(app, "/2")
    await asyncio.sleep(0)
    if how == "error":
        gate.let_out("/error")
        assert isinstance((await first).error, RuntimeError)
    else:
        gone = first if how == "cancel" else second
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
    for name in ("/1", "/2", "/3"):
        gate.let_out(name)
    assert (await begin(app, "/3")).status == 200


async def test_a_place_handed_to_one_who_is_gone_in_that_moment_is_handed_on() -> None:
    places = Places(1, 5, 3600)
    places.free -= 1
    first, second, third = (asyncio.create_task(places.turn()) for _ in range(3))
    await asyncio.sleep(0)
    places.give_back()
    first.cancel()  # it has the place, and has not run since
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second
    third.cancel()
    places.give_back()  # it waits still, but is being cancelled
    with pytest.raises(asyncio.CancelledError):
        await third
    assert (places.free, len(places.waiting)) == (1, 0)


STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "leave", "fail", "cancel", "run"]), st.integers(0, 30)),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(limit=st.integers(1, 3), queue=st.integers(0, 4), steps=STEPS)
async def test_no_place_is_ever_lost_or_given_twice(
    limit: int, queue: int, steps: list[tuple[str, int]]
) -> None:
    gate = Gate()
    app = bounded(gate, limit=limit, queue=queue)
    tasks: list[asyncio.Task[Seen]] = []
    for step, which in steps:
        if step == "come":
            tasks.append(begin(app, f"/{len(tasks)}/{'error' if which % 3 == 0 else 'fine'}"))
        elif step == "run":
            await asyncio.sleep(0)
        elif step == "cancel" and tasks:
            tasks[which % len(tasks)].cancel()
        elif gate.inside:
            gate.let_out(gate.inside[which % len(gate.inside)])
        assert len(gate.inside) <= limit
    for number in range(len(tasks)):
        for end in ("fine", "error"):
            gate.let_out(f"/{number}/{end}")
    for seen in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(seen, asyncio.CancelledError | Seen)
    assert gate.inside == []
    assert gate.most <= limit
    # All places are free again: so many enter at once, and not one more.
    last = [begin(app, f"/last/{n}") for n in range(limit)]
    await until(lambda: len(gate.inside) == limit)
    if not queue:
        assert (await begin(app, "/more")).status == 503
    for n in range(limit):
        gate.let_out(f"/last/{n}")
    assert [(await one).status for one in last] == [200] * limit


@pytest.mark.parametrize(
    "options",
    [{"limit": 0}, {"queue": -1}, {"wait": -1}, {"queue": 5, "wait": 0}, {"exempt": ["/"]}],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Concurrency.model_validate(options)


def test_audit() -> None:
    def found(**options: Any) -> list[str]:
        return [one.id for one in Concurrency(**options).audit(Audit())]

    assert found(enabled=True) == []
    assert found(enabled=True, wait=60) == ["concurrency.wait"]
    assert found(enabled=True, wait=60, queue=0) == []
    assert found(wait=60) == []


SOURCE = """
    import asyncio
    from fastapi import FastAPI
    from seawall import Seawall

    app = FastAPI()
    limits = {"limit": 3, "queue": 2, "wait": 60, "exempt": ["/open", "/inside"]}
    Seawall(app, concurrency=limits, tasks=False)
    inside = 0
    gate = asyncio.Event()

    @app.get("/work")
    async def work():
        global inside
        inside += 1
        try:
            await gate.wait()
            return "done"
        finally:
            inside -= 1

    @app.get("/open")
    async def open():
        gate.set()

    @app.get("/inside")
    async def count() -> int:
        return inside
"""


def test_a_real_server_under_many_requests(tmp_path: Path) -> None:
    with uvicorn(tmp_path, SOURCE) as served:
        many = [served.connect() for _ in range(20)]
        asking = served.connect()
        try:
            for connection in many:
                connection.sendall(head("GET", "/work"))
            # 3 work and 2 wait: the other 15 are told so at once.
            refused = 0
            for connection in many:
                connection.settimeout(0.05)
            pending = list(many)
            while refused < 15:
                for connection in list(pending):
                    try:
                        answer = reply(connection)
                    except TimeoutError:
                        continue
                    assert answer.status == 503
                    assert "retry-after: 60" in answer.head
                    refused += 1
                    pending.remove(connection)
            asking.sendall(head("GET", "/inside"))
            assert reply(asking).body == b"3"
            # One of those who wait or work leaves; nobody else is harmed by it.
            pending.pop().close()
            asking.sendall(head("GET", "/open"))
            assert reply(asking).status == 200
            for connection in pending:
                connection.settimeout(DEADLINE)
                assert reply(connection).body == b'"done"'
            asking.sendall(head("GET", "/work"))
            assert reply(asking).status == 200
        finally:
            for connection in (*many, asking):
                connection.close()
        assert "Traceback" not in served.log.read_text()
