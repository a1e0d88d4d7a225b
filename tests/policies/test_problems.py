import json
from typing import Any

from seawall import Edge
from seawall.policies import Cors, Hosts, Problems, RequestId, Timing
from seawall.policies.problems import problem
from tests.asgi import call, hello, http

A = "https://a.example"


async def broken(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("secret")


async def half(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError("secret")


EVERYTHING = [
    Problems(),
    RequestId(),
    Timing(),
    Cors(enabled=True, allow_origins=(A,)),
    Hosts(enabled=True, allowed_hosts=("example.com",)),
]


async def test_an_unhandled_error_is_a_problem_with_every_header_and_is_raised_on() -> None:
    scope = http(headers=[("host", "example.com"), ("origin", A)])
    seen = await call(Edge(broken, EVERYTHING), scope)
    assert isinstance(seen.error, RuntimeError)
    assert seen.status == 500
    assert seen.get("content-type") == "application/problem+json"
    assert seen.get("access-control-allow-origin") == A
    assert seen.get("x-process-time")
    document = json.loads(seen.body)
    assert document == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "request_id": seen.get("x-request-id"),
    }


async def test_an_error_after_the_start_only_passes_on() -> None:
    seen = await call(Edge(half, EVERYTHING), http())
    assert isinstance(seen.error, RuntimeError)
    assert [m["type"] for m in seen.messages] == ["http.response.start"]


async def test_without_the_policy_the_error_only_passes_on() -> None:
    seen = await call(Edge(broken, [Timing()]), http())
    assert isinstance(seen.error, RuntimeError)
    assert seen.messages == []


async def test_a_refusal_is_a_problem_with_the_id() -> None:
    seen = await call(Edge(hello, EVERYTHING), http(headers=[("host", "evil.example")]))
    document = json.loads(seen.body)
    assert document["status"] == seen.status == 400
    assert document["title"] == "Bad Request"
    assert document["detail"] == "Invalid host header"
    assert document["request_id"] == seen.get("x-request-id")


async def test_head_gets_no_body() -> None:
    for app in (broken, hello):
        scope = http("HEAD", headers=[("host", "evil.example" if app is hello else "example.com")])
        seen = await call(Edge(app, EVERYTHING), scope)
        assert seen.body == b""
        assert int(seen.get("content-length") or 0) > 0


def test_the_document() -> None:
    assert json.loads(problem(404, "no")) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "no",
    }
    assert json.loads(problem(799))["title"] == "Error"
    assert json.loads(problem(400, errors=[{"input": object}]))["errors"]
    assert b"\\udc80" in problem(400, "\udc80")
