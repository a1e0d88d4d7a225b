import re

from seawall import Edge, request_id
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
