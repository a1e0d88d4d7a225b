import json
from typing import Any

import openapi_schema_validator
import pytest
from fastapi import FastAPI, HTTPException, WebSocket
from openapi_spec_validator import validate
from pydantic import BaseModel, ValidationError
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from seawall import Edge, Seawall
from seawall.policies import Cors, Hosts, Problems, RequestId, Timing
from seawall.policies.problems import faults, problem
from tests.asgi import call, hello, http, websocket

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


def test_the_words_are_those_of_rfc_9110_on_every_python() -> None:
    assert json.loads(problem(422))["title"] == "Unprocessable Content"
    assert json.loads(problem(413))["title"] == "Content Too Large"


def test_a_base_makes_types() -> None:
    base = "https://example.com/problems/"
    assert json.loads(problem(404, base=base))["type"] == f"{base}not-found"
    for wrong in ("problems", "javascript:x", 'https://a/"', "https://a/ b"):
        with pytest.raises(ValidationError):
            Problems(base=wrong)


def test_faults_point_into_the_body_and_never_repeat_it() -> None:
    errors: list[dict[str, Any]] = [
        {"type": "missing", "loc": ("body", "a/b", 0, "c~d é"), "msg": "m", "input": "secret"},
        {"type": "int_parsing", "loc": ("query", "page"), "msg": "m", "ctx": {"error": "secret"}},
        {"type": "json_invalid", "loc": ("body", 17), "msg": "JSON decode error"},
        {"type": "missing", "loc": ("body",), "msg": "m"},
    ]
    assert faults(errors) == [
        {
            "detail": "m",
            "in": "body",
            "pointer": "#/a~1b/0/c~0d%20%C3%A9",
            "code": "missing",
        },
        {"detail": "m", "in": "query", "parameter": "page", "code": "int_parsing"},
        {"detail": "JSON decode error", "in": "body", "code": "json_invalid"},
        {"detail": "m", "in": "body", "pointer": "#", "code": "missing"},
    ]


@pytest.mark.parametrize(
    ("accept", "old"),
    [
        (None, True),
        ("*/*", True),
        ("application/json", True),
        ("application/problem+json", False),
        ("application/json, Application/Problem+JSON;q=0.5", False),
        ("application/problem+json;q=0", True),
        ("application/problem+json;q=0.000, */*", True),
    ],
)
async def test_fastapis_shape_for_those_who_do_not_ask(accept: str | None, old: bool) -> None:
    policies = [Problems(shape="fastapi"), Hosts(enabled=True, allowed_hosts=("other.example",))]
    headers = [("host", "example.com"), *([("accept", accept)] if accept else [])]
    for app in (Edge(hello, policies), Edge(broken, policies[:1])):
        seen = await call(app, http(headers=headers))
        document = json.loads(seen.body)
        assert seen.get("vary") == "Accept"
        if old:
            assert seen.get("content-type") == "application/json"
            assert document in (
                {"detail": "Invalid host header"},
                {"detail": "Internal Server Error"},
            )
        else:
            assert seen.get("content-type") == "application/problem+json"
            assert document["status"] == seen.status


class Item(BaseModel):
    name: str
    size: int


def shop(**options: Any) -> FastAPI:
    app = FastAPI()
    Seawall(app, tasks=False, problems=options or True)

    @app.post("/items", responses={404: {"description": "No such shop"}})
    async def add(item: Item, page: int = 1) -> Item:
        return item

    @app.get("/own", responses={409: {"model": Item}})
    async def own() -> Item:
        raise HTTPException(409, "taken")

    @app.get("/broken")
    async def fails() -> None:
        raise RuntimeError("secret")

    @app.websocket("/ws/{number}")
    async def ws(socket: WebSocket, number: int) -> None:
        if number == 1:
            raise HTTPException(403, "not you")
        await socket.accept()
        raise HTTPException(403, "not any more")

    return app


def test_validation_errors_of_a_real_app() -> None:
    reply = TestClient(shop()).post("/items?page=x", json={"size": "secret"})
    assert reply.status_code == 422
    assert "secret" not in reply.text
    document = reply.json()
    assert document["title"] == "Unprocessable Content"
    places = {fault.get("pointer") or fault["parameter"] for fault in document["errors"]}
    assert places == {"page", "#/name", "#/size"}


def test_old_clients_of_a_real_app() -> None:
    client = TestClient(shop(shape="fastapi"), raise_server_exceptions=False)
    reply = client.post("/items", json={})
    assert reply.headers["content-type"] == "application/json"
    assert [fault["loc"] for fault in reply.json()["detail"]] == [
        ["body", "name"],
        ["body", "size"],
    ]
    assert client.get("/own").json() == {"detail": "taken"}
    assert client.get("/broken").json() == {"detail": "Internal Server Error"}
    assert client.get("/nowhere").json() == {"detail": "Not Found"}
    asked = client.get("/own", headers={"accept": "application/problem+json"})
    assert asked.json()["title"] == "Conflict"
    assert asked.headers["vary"] == "Accept"


def test_the_openapi_document_tells_of_problems() -> None:
    app = shop()
    client = TestClient(app)
    document = client.get("/openapi.json").json()
    validate(document)
    assert client.get("/openapi.json").json() == document
    assert set(document["components"]["schemas"]) == {"Item", "Problem"}
    problems = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses = document["paths"]["/items"]["post"]["responses"]
    assert {status: one["content"] for status, one in responses.items() if status != "200"} == {
        "404": problems,
        "422": problems,
        "default": problems,
    }
    own = document["paths"]["/own"]["get"]["responses"]
    assert list(own["409"]["content"]) == ["application/json"]
    assert own["default"]["content"] == problems


def test_what_is_answered_is_what_the_document_promises() -> None:
    client = TestClient(shop(), raise_server_exceptions=False)
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Problem"]
    for reply in (
        client.post("/items", json={}),
        client.get("/own"),
        client.get("/broken"),
        client.get("/nowhere"),
        client.delete("/own"),
    ):
        openapi_schema_validator.validate(reply.json(), schema)


def test_the_openapi_document_keeps_both_shapes() -> None:
    document = TestClient(shop(shape="fastapi")).get("/openapi.json").json()
    validate(document)
    assert {"HTTPValidationError", "Problem"} <= set(document["components"]["schemas"])
    responses = document["paths"]["/items"]["post"]["responses"]
    for status in ("404", "422", "default"):
        assert set(responses[status]["content"]) == {
            "application/json",
            "application/problem+json",
        }


def test_an_openapi_override_of_the_apps_own_stands() -> None:
    app = shop()
    stock = app.openapi

    def openapi() -> dict[str, Any]:
        document = stock()
        document["info"]["title"] = "mine"
        document["components"]["schemas"]["Problem"] = {"type": "string"}
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    document = TestClient(app).get("/openapi.json").json()
    validate(document)
    assert document["info"]["title"] == "mine"
    schemas = document["components"]["schemas"]
    assert schemas["Problem"] == {"type": "string"}
    assert schemas["HTTPProblem"]["title"] == "Problem"
    off = TestClient(shop(openapi=False)).get("/openapi.json").json()
    assert "HTTPValidationError" in off["components"]["schemas"]


def test_a_websocket_is_denied_with_a_problem() -> None:
    client = TestClient(shop())
    for path, status in (("/ws/1", 403), ("/ws/x", 422)):
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect(path):
            pass
        assert denied.value.status_code == status
        assert denied.value.headers["content-type"] == "application/problem+json"
        assert denied.value.json()["status"] == status
    with client.websocket_connect("/ws/2") as socket, pytest.raises(WebSocketDisconnect) as closed:
        socket.receive_text()
    assert closed.value.code == 1008


async def test_a_websocket_that_can_have_no_body_is_closed() -> None:
    for path in ("/ws/1", "/ws/x"):
        seen = await call(shop(), websocket(path=path, raw_path=path.encode()))
        assert [message["type"] for message in seen.messages] == ["websocket.close"]
        assert seen.error is None
