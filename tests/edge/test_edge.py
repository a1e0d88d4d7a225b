import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from seawall import Edge
from seawall.policies import Cors, Health, Hosts, Https, Proxy, Timing
from tests.asgi import call, hello, http, websocket


async def test_without_policies_nothing_changes() -> None:
    direct, edged = await call(hello, http()), await call(Edge(hello), http())
    assert direct.messages == edged.messages


async def test_a_policy_that_is_off_is_left_out() -> None:
    edge = Edge(hello, [Timing(enabled=False), Hosts(allowed_hosts=("x.y",))])
    assert edge.policies == ()
    assert (await call(edge, http())).body == b"hello"


def test_a_policy_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="timing policy is given twice"):
        Edge(hello, [Timing(), Timing()])


async def test_the_order_given_does_not_matter() -> None:
    policies = [Hosts(enabled=True, allowed_hosts=("x.y",)), Health(), Timing()]
    for given in (policies, policies[::-1]):
        seen = await call(Edge(hello, given), http(path="/livez"))
        assert (seen.status, seen.get("x-process-time") is not None) == (200, True)


async def test_the_apps_own_messages_and_lists_are_never_changed() -> None:
    # A raw ASGI app may keep one start message for its whole life.
    start = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send({"type": "http.response.body"})

    edge = Edge(app, [Timing(), Cors(enabled=True, allow_origins=("https://a.example",))])
    for _ in range(3):
        seen = await call(edge, http())
        assert [name for name, _ in seen.headers] == ["a", "vary", "x-process-time"]
    assert start == {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}


@pytest.mark.parametrize("headers", [None, (), [[b"a", b"b"]], ((b"a", b"b"),)])
async def test_headers_may_be_missing_or_of_any_iterable(headers: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = {"type": "http.response.start", "status": 200}
        await send(message if headers is None else message | {"headers": headers})
        await send({"type": "http.response.body"})

    assert (await call(Edge(app, [Timing()]), http())).get("x-process-time")


async def test_unknown_messages_and_keys_pass_untouched() -> None:
    messages = [
        {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]},
        {"type": "http.response.push", "path": "/a.css", "headers": []},
        {"type": "http.response.start", "status": 200, "headers": [], "trailers": True},
        {"type": "http.response.body", "body": b"x", "more_body": False},
        {"type": "http.response.trailers", "headers": [(b"a", b"b")], "more_trailers": False},
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    seen = await call(Edge(app, [Timing()]), http())
    assert seen.messages[0] is messages[0]
    assert seen.messages[2]["trailers"] is True
    assert seen.messages[3:] == messages[3:]


async def test_receive_is_the_servers_own_so_disconnects_are_seen() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    got = []

    async def app(scope: Any, receiver: Any, send: Any) -> None:
        got.append(receiver)

    async def send(message: Any) -> None:
        pass

    await Edge(app, [Timing()])(http(), receive, send)
    assert got == [receive]


async def test_contextvars_flow_out_of_the_app() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        variable.set("from the app")
        await hello(scope, receive, send)

    await call(Edge(app, [Timing()]), http())
    assert variable.get() == "from the app"


async def test_send_may_be_called_from_a_task() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.create_task(send({"type": "http.response.start", "status": 204}))
        await send({"type": "http.response.body"})

    assert (await call(Edge(app, [Timing()]), http())).status == 204


async def test_cancellation_passes_through_without_an_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(3600)

    task = asyncio.create_task(call(Edge(app, [Timing()]), http()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_lifespan_and_websockets_pass() -> None:
    kinds = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        kinds.append(scope["type"])

    async def other(scope: Any, receive: Any, send: Any) -> None:
        kinds.append("lifespan, elsewhere")

    await call(Edge(app, [Timing()]), {"type": "lifespan"})
    await call(Edge(app, [Timing()]), websocket())
    await call(Edge(app, [Timing()], lifespan=other), {"type": "lifespan"})
    assert kinds == ["lifespan", "websocket", "lifespan, elsewhere"]


async def test_a_server_may_leave_the_scheme_out() -> None:
    https = Https(enabled=True, redirect=True)
    for exempt in ((), ("/x",)):
        scope = http(headers=[("host", "example.com"), ("x-forwarded-proto", "ftp")])
        del scope["scheme"]
        edge = Edge(hello, [https.model_copy(update={"exempt": exempt}), Proxy(trusted=("*",))])
        assert (await call(edge, scope)).status == 301
