import asyncio
import io
import logging
import re
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI

from seawall import Edge, Seawall, request_id, trace_id
from seawall.logging import RequestIdFilter
from seawall.policies import Proxy, RequestId
from tests.asgi import call, hello, http, websocket

POLICIES = [Proxy(), RequestId()]
NGINX = ("127.0.0.1", 4000)


def scope(given: str, client: object = NGINX) -> dict:  # type: ignore[type-arg]
    return http(headers=[("host", "example.com"), ("x-request-id", given)], client=client)


async def test_each_request_gets_its_own_id() -> None:
    ids = [(await call(Edge(hello, POLICIES), http())).get("x-request-id") for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", one or "") for one in ids)


async def test_a_trusted_proxys_id_is_kept() -> None:
    seen = await call(Edge(hello, POLICIES), scope("abc-123"))
    assert seen.all("x-request-id") == ["abc-123"]


async def test_a_strangers_id_is_replaced() -> None:
    seen = await call(Edge(hello, POLICIES), scope("abc-123", ("203.0.113.7", 1)))
    assert seen.get("x-request-id") != "abc-123"
    seen = await call(Edge(hello, [RequestId()]), scope("abc-123"))
    assert seen.get("x-request-id") != "abc-123"


async def test_a_malformed_id_is_replaced_even_from_a_proxy() -> None:
    for given in ("", "a b", "a\nb", "a\x1b[31m", "x" * 129, "é"):
        seen = await call(Edge(hello, POLICIES), scope(given))
        assert re.fullmatch("[0-9a-f]{32}", seen.get("x-request-id") or "")


async def test_the_app_can_read_it_and_cannot_send_another() -> None:
    read: list[str] = []

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        read.extend((request_id(), scope["state"]["request_id"]))
        headers = [(b"x-request-id", b"other")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    seen = await call(Edge(app, POLICIES), http(state={"mine": 1}))
    assert seen.all("x-request-id") == [read[0]]
    assert read[0] == read[1]


async def test_websockets_have_one_too() -> None:
    read: list[str] = []

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        read.append(request_id())

    await call(Edge(app, POLICIES), websocket())
    assert read[0]


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def traced(*values: str, client: object = NGINX) -> Any:
    pairs = [("host", "example.com"), *(("traceparent", value) for value in values)]
    return http(headers=pairs, client=client)


async def ids(scope: Any, policies: Any = POLICIES) -> tuple[str, str]:
    """The request's id, and its trace's."""
    read: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (request_id(), trace_id()) == (
            scope["state"]["request_id"], scope["state"]["trace_id"],
        )  # fmt: skip
        read.extend((request_id(), trace_id()))

    await call(Edge(app, policies), scope)
    return read[0], read[1]


async def test_a_trusted_proxys_trace_goes_on() -> None:
    assert (await ids(traced(PARENT)))[1] == TRACE
    # A later version may say more (section 3.2.2).
    assert (await ids(traced(f"01{PARENT[2:]}-more")))[1] == TRACE
    assert (await ids(traced(f"cc{PARENT[2:]}")))[1] == TRACE


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"{PARENT}-more",
        f"{PARENT}-",
        f"ff{PARENT[2:]}",
        f"01{PARENT[2:]}more",
        PARENT.upper(),
        PARENT[:-1],
        PARENT[1:],
        f" {PARENT}",
        f"{PARENT}\n",
        PARENT.replace("-", "_"),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-00f067aa0ba902b7-01",
        f"00-{TRACE}-00f067aa0ba902b7-0",
    ],
)
async def test_a_malformed_trace_begins_anew(value: str) -> None:
    request, trace = await ids(traced(value))
    assert trace == request != TRACE


async def test_a_strangers_trace_and_a_repeated_one_begin_anew() -> None:
    assert (await ids(traced(PARENT, client=("203.0.113.7", 1))))[1] != TRACE
    assert (await ids(traced(PARENT), [RequestId()]))[1] != TRACE
    assert (await ids(traced(PARENT, PARENT)))[1] != TRACE


async def test_a_trace_that_begins_here_has_the_requests_id_where_it_can() -> None:
    assert await ids(scope(TRACE)) == (TRACE, TRACE)
    for given in ("abc-123", "0" * 32, TRACE.upper()):
        request, trace = await ids(scope(given))
        assert request == given
        assert re.fullmatch("[0-9a-f]{32}", trace)
        assert trace != given


async def test_sync_endpoints_and_background_tasks_see_them() -> None:
    app, read = FastAPI(), []

    def note() -> None:
        read.append((request_id(), trace_id()))

    @app.get("/")
    def page(background: BackgroundTasks) -> None:
        note()
        background.add_task(note)

    Seawall(app, tasks=False)
    one = (await call(app, http())).get("x-request-id")
    assert read == [(one, one)] * 2
    await call(app, http())
    assert read[2] == read[3] != read[0]


async def test_log_records_have_them() -> None:
    log, stream = logging.getLogger("tests.ids"), io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(request_id)s|%(trace_id)s|%(message)s"))
    handler.addFilter(RequestIdFilter())
    log.addHandler(handler)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        log.warning("inside")
        log.warning("told", extra={"request_id": "other"})

    try:
        # A context of its own, as every server gives each request.
        seen = traced(PARENT)
        await asyncio.create_task(call(Edge(app, POLICIES), seen))
        log.warning("outside")
    finally:
        log.removeHandler(handler)
    one = seen["state"]["request_id"]
    assert stream.getvalue().splitlines() == [
        f"{one}|{TRACE}|inside",
        f"other|{TRACE}|told",
        "||outside",
    ]


async def test_what_the_app_writes_to_its_state_stays_its_own() -> None:
    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        scope["state"]["request_id"] = object()
        await hello(scope, receive, send)

    seen = await call(Edge(app, POLICIES), http())
    assert seen.error is None
    assert re.fullmatch("[0-9a-f]{32}", seen.get("x-request-id") or "")
