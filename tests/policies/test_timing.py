import pytest
from pydantic import ValidationError

from seawall import Edge
from seawall.policies import Health, Hosts, Https, Timing
from seawall.policies.cors import Cors
from tests.asgi import call, hello, http


async def test_every_answer_carries_seconds() -> None:
    edge = Edge(
        hello,
        [
            Timing(),
            Health(),
            Cors(enabled=True, allow_origins=("https://a.example",)),
            Hosts(enabled=True, allowed_hosts=("example.com",)),
            Https(enabled=True),
        ],
    )
    preflight = [
        ("host", "example.com"),
        ("origin", "https://a.example"),
        ("access-control-request-method", "GET"),
    ]
    for scope, status in (
        (http(scheme="https"), 200),
        (http(), 301),
        (http(headers=[("host", "other.example")]), 400),
        (http("OPTIONS", headers=preflight), 200),
        (http(path="/livez"), 200),
    ):
        seen = await call(edge, scope)
        assert seen.status == status
        assert len(seen.all("x-process-time")) == 1
        assert 0 <= float(seen.all("x-process-time")[0]) < 60


async def test_the_apps_own_header_is_replaced() -> None:
    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        headers = [(b"x-process-time", b"lies"), (b"x-other", b"kept")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    seen = await call(Edge(app, [Timing()]), http())
    assert len(seen.all("x-process-time")) == 1
    assert float(seen.all("x-process-time")[0]) >= 0
    assert seen.get("x-other") == "kept"


async def test_server_timing_is_added_beside_the_apps_own() -> None:
    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        headers = [(b"server-timing", b"db;dur=1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    seen = await call(Edge(app, [Timing(server_timing=True)]), http())
    assert seen.all("server-timing")[0] == "db;dur=1"
    assert seen.all("server-timing")[1].startswith("app;dur=")


async def test_the_header_can_be_named() -> None:
    seen = await call(Edge(hello, [Timing(header="X-Elapsed")]), http())
    assert seen.get("x-elapsed")
    assert seen.get("x-process-time") is None


@pytest.mark.parametrize("name", ["", "X Time", "X-Time:", "X\r\nSet-Cookie", "Content-Length"])
def test_a_bad_header_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=r"is not a header name|a meaning of its own"):
        Timing(header=name)
