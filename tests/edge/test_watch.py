"""When, and with what, ``finish`` hooks are called."""

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from seawall import Edge
from seawall.policies import Health, Policy, Problems, Proxy, Timing
from seawall.policies.exchange import Exchange, Outcome
from seawall.policies.policy import Act
from tests.asgi import App, call, hello, http, websocket

START = {"type": "http.response.start", "status": 200, "headers": []}


def heard(app: App, *policies: Policy, by: type[Policy] = Timing) -> tuple[Edge, list[Outcome]]:
    """The app behind policies; what ``by`` is told."""
    told: list[Outcome] = []
    with patch.object(by, "act", lambda *_: Act(finish=lambda _, outcome: told.append(outcome))):
        return Edge(app, policies), told


async def test_after_the_last_byte_and_before_what_the_app_does_then() -> None:
    order: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await send({"type": "http.response.body", "body": b"de"})
        order.append("background")
        raise RuntimeError("after the answer")

    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        order.append(message.get("body", "start"))

    edge, told = heard(app, Timing())
    with pytest.raises(RuntimeError):
        await edge(http(), None, send)  # type: ignore[arg-type]
    assert order == ["start", b"abc", b"de", "background"]
    (outcome,) = told
    assert (outcome.status, outcome.size, outcome.complete, outcome.error) == (200, 5, True, "")
    assert outcome.first is not None
    assert 0 <= outcome.first <= outcome.seconds


async def test_a_time_that_is_measured_after_a_slow_client_took_the_last_byte() -> None:
    edge, told = heard(hello, Timing())
    gate = asyncio.Event()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await gate.wait()

    task = asyncio.create_task(edge(http(), None, send))  # type: ignore[arg-type]
    for _ in range(10):
        await asyncio.sleep(0)
    assert told == []
    gate.set()
    await task
    assert told[0].complete


async def test_an_app_that_stops_short() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})

    edge, told = heard(app, Timing())
    await call(edge, http())
    assert [(one.size, one.complete, one.error) for one in told] == [(3, False, "")]


async def test_an_app_that_says_nothing_or_raises() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        return

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("nothing there")

    for app, error in ((silent, ""), (broken, "LookupError")):
        edge, told = heard(app, Timing())
        await call(edge, http())
        (one,) = told
        assert (one.status, one.size, one.first, one.complete, one.error) == (
            0, 0, None, False, error,
        )  # fmt: skip
    edge, told = heard(broken, Timing(), Problems())
    seen = await call(edge, http())
    assert [(one.status, one.size, one.complete, one.error) for one in told] == [
        (500, len(seen.body), True, "LookupError")
    ]


async def test_a_cancelled_request() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    edge, told = heard(app, Timing(), Problems())
    task = asyncio.create_task(edge(http(), None, None))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(one.status, one.error) for one in told] == [(0, "CancelledError")]


async def test_a_server_that_cannot_send() -> None:
    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise OSError("the client left")

    edge, told = heard(hello, Timing())
    with pytest.raises(OSError, match="left"):
        await edge(http(), None, send)  # type: ignore[arg-type]
    assert [(one.complete, one.error) for one in told] == [(False, "OSError")]


async def test_only_what_reached_the_policy() -> None:
    for by, count in ((Timing, 1), (Problems, 0), (Health, 0)):
        edge, told = heard(hello, Timing(), Health(), Problems(), by=by)
        if by is not Health:
            await call(edge, http(path="/livez"))
        assert len(told) == count


async def test_the_inner_policy_hears_it_first() -> None:
    order: list[str] = []

    def act(name: str) -> Callable[..., Act]:
        def finish(exchange: Exchange, outcome: Outcome) -> None:
            order.append(name)

        return lambda *_: Act(finish=finish)

    with patch.object(Proxy, "act", act("proxy")), patch.object(Timing, "act", act("timing")):
        edge = Edge(hello, [Proxy(), Timing()])
    await call(edge, http())
    assert order == ["timing", "proxy"]


async def test_a_body_that_the_server_reads_has_no_known_size() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.pathsend", "path": "/a"})

    edge, told = heard(app, Timing())
    await call(edge, http())
    await call(edge, http("HEAD"))
    assert [(one.size, one.complete) for one in told] == [(None, True), (0, True)]


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
async def test_websockets_only_when_refused(extensions: dict[str, Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})

    for refusing, statuses in ((hello, []), (app, [403])):
        edge, told = heard(refusing, Timing())
        await call(edge, websocket(extensions=extensions))
        assert [one.status for one in told] == statuses
