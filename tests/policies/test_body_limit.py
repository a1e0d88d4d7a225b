from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Body, Depends, FastAPI, Form, Request, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from seawall import Edge, Seawall
from seawall.policies import BodyLimit, Cors, Problems, Timing
from seawall.policies.policy import Audit
from tests.asgi import Seen, call, hello, http
from tests.servers.uvicorn import head, reply, uvicorn


def limit(**options: Any) -> BodyLimit:
    return BodyLimit.model_validate({"max": 10, **options})


def parts(*chunks: bytes) -> list[dict[str, Any]]:
    return [
        {"type": "http.request", "body": chunk, "more_body": index + 1 < len(chunks)}
        for index, chunk in enumerate(chunks)
    ]


async def post(
    app: Any, *chunks: bytes, length: int | str | None = None, path: str = "/", **headers: str
) -> Seen:
    named = [(key.replace("_", "-"), value) for key, value in headers.items()]
    if length is None:
        named.append(("transfer-encoding", "chunked"))
    else:
        named.append(("content-length", str(length)))
    return await call(app, http("POST", path, headers=named), parts(*chunks))


async def reading(scope: Any, receive: Any, send: Any) -> None:
    """Reads the whole body, and answers with its length."""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RuntimeError("the client left")
        size += len(message["body"])
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % size})


async def test_a_length_over_the_limit_is_refused_before_a_byte_is_read() -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("reached")

    async def unread() -> Any:
        raise AssertionError("read")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = http("POST", headers=[("content-length", "11")])
    await Edge(never, [limit(), Problems()])(scope, unread, send)
    assert sent[0]["status"] == 413
    assert b"larger than 10 bytes" in sent[1]["body"]


@pytest.mark.parametrize(
    "length", ["99999999999999999999", "9" * 100_000, "000000000000000000000011"]
)
async def test_so_is_any_other_number_that_is_more(length: str) -> None:
    assert (await post(Edge(reading, [limit()]), b"", length=length)).status == 413


async def test_up_to_the_limit_everything_passes() -> None:
    app = Edge(reading, [limit()])
    assert (await post(app, b"x" * 10, length=10)).body == b"10"
    assert (await post(app, b"x" * 5, b"", b"x" * 5)).body == b"10"
    assert (await post(app, b"", length=0)).body == b"0"


async def test_a_streamed_body_is_counted() -> None:
    seen = await post(Edge(reading, [limit(), Problems()]), b"x" * 6, b"x" * 6, b"x" * 6)
    assert seen.status == 413
    assert seen.error is None
    assert seen.get("content-type") == "application/problem+json"
    assert [message["type"] for message in seen.messages] == [
        "http.response.start",
        "http.response.body",
    ]


async def test_a_length_that_lies_is_counted_too() -> None:
    assert (await post(Edge(reading, [limit()]), b"x" * 50, length=5)).status == 413
    assert (await post(Edge(reading, [limit()]), b"x" * 50, length="1, 1")).status == 413


async def test_http2_bodies_come_without_any_header() -> None:
    scope = http("POST", headers=[], http_version="2")
    assert (await call(Edge(reading, [limit()]), scope, parts(b"x" * 11))).status == 413


async def test_a_request_without_a_body_is_passed_on_untouched() -> None:
    saw: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        saw.append(receive)
        await hello(scope, receive, send)

    async def receive() -> Any: ...

    async def send(message: Any) -> None: ...

    await Edge(app, [limit()])(http(headers=[]), receive, send)
    assert saw == [receive]


async def test_the_app_gets_no_byte_over_the_limit() -> None:
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(4):
            got.append(await receive())
        await hello(scope, receive, send)

    seen = await post(Edge(app, [limit()]), b"x" * 10, b"y", b"z")
    assert got == [
        {"type": "http.request", "body": b"x" * 10, "more_body": True},
        *[{"type": "http.disconnect"}] * 3,
    ]
    assert seen.status == 413
    assert len(seen.messages) == 2, "what the app said after it is dropped"


async def test_an_answer_that_had_begun_is_cut_off() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (message := await receive())["type"] == "http.request":
            body = message["body"]
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body"})

    seen = await post(Edge(app, [limit()]), b"x" * 6, b"x" * 6)
    assert seen.status == 200
    assert seen.messages[-1]["more_body"], "so the server closes the connection"
    assert seen.body == b"x" * 6


async def test_the_refusal_passes_the_other_policies() -> None:
    policies = [
        limit(),
        Timing(),
        Problems(),
        Cors(enabled=True, allow_origins=("https://a.example",)),
    ]
    seen = await post(Edge(reading, policies), b"x" * 11, origin="https://a.example")
    assert seen.status == 413
    assert seen.get("access-control-allow-origin") == "https://a.example"
    assert seen.get("x-process-time")


async def test_an_exception_of_the_apps_own_is_not_swallowed() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise KeyError("mine")

    assert isinstance((await post(Edge(app, [limit()]), b"x")).error, KeyError)


async def depends(request: Request) -> bytes:
    return await request.body()


def framework(*, middleware: bool = False) -> FastAPI:
    """Every way in which FastAPI reads a body."""
    app = FastAPI()

    @app.post("/json")
    async def json(value: Annotated[list[str], Body()]) -> int:
        return len(value)

    @app.post("/sync")
    def sync(value: Annotated[list[str], Body()]) -> int:
        return len(value)

    @app.post("/form")
    async def form(name: Annotated[str, Form()]) -> str:
        return name

    @app.post("/file")
    async def file(file: UploadFile) -> int:
        return len(await file.read())

    @app.post("/stream")
    async def stream(request: Request) -> int:
        return sum([len(chunk) async for chunk in request.stream()])

    @app.post("/body")
    async def body(request: Request) -> int:
        return len(await request.body())

    @app.post("/depends")
    async def dependent(body: Annotated[bytes, Depends(depends)]) -> int:
        return len(body)

    @app.post("/caught")
    async def caught(request: Request) -> str:
        try:
            await request.body()
        except ClientDisconnect:
            return "the client left"
        return "read"

    @app.post("/echo")
    async def echo(request: Request) -> StreamingResponse:
        return StreamingResponse(request.stream())

    if middleware:

        @app.middleware("http")
        async def around(request: Request, call_next: Any) -> Any:
            return await call_next(request)

    Seawall(app, body_limit={"max": 50, "paths": {"/large": 1000}}, tasks=False, access_log=False)
    return app


def body_for(path: str) -> tuple[list[bytes], str]:
    if path == "/form":
        return [b"name=", b"x" * 40, b"x" * 40], "application/x-www-form-urlencoded"
    if path == "/file":
        part = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        return [part, b"x" * 40, b"\r\n--b--\r\n"], "multipart/form-data; boundary=b"
    return [b'["', b"x" * 40, b"x" * 40, b'"]'], "application/json"


PATHS = ["/json", "/sync", "/form", "/file", "/stream", "/body", "/depends", "/caught"]


@pytest.mark.parametrize("middleware", [False, True], ids=["plain", "under BaseHTTPMiddleware"])
@pytest.mark.parametrize("path", PATHS)
async def test_fastapi_reads_too_much(
    path: str, middleware: bool, caplog: pytest.LogCaptureFixture
) -> None:
    chunks, media_type = body_for(path)
    app = framework(middleware=middleware)
    for length in (None, sum(map(len, chunks))):
        seen = await post(app, *chunks, length=length, path=path, content_type=media_type)
        assert seen.status == 413
        assert seen.error is None
        assert seen.get("content-type") == "application/problem+json"
        assert b"larger than 50 bytes" in seen.body
        assert len([m for m in seen.messages if m["type"] == "http.response.start"]) == 1
    assert not caplog.records


@pytest.mark.parametrize("path", ["/json", "/sync", "/stream", "/body", "/depends", "/caught"])
async def test_fastapi_reads_enough(path: str) -> None:
    seen = await post(framework(), b'["', b"x", b'"]', path=path, content_type="application/json")
    assert seen.status == 200


async def test_starlette_reads_too_much() -> None:
    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    routes = [Route("/", endpoint, methods=["POST"])]
    inside = [limit(), Problems()]
    for app in (Starlette(routes=routes), Starlette(routes=routes, debug=True)):
        app.add_middleware(BaseHTTPMiddleware, dispatch=_dispatch)
        seen = await post(Edge(app, inside), b"x" * 6, b"x" * 6)
        assert (seen.status, seen.error) == (413, None)
        assert (await post(Edge(app, inside), b"x" * 6)).body == b"6"


async def _dispatch(request: Request, call_next: Any) -> Any:
    return await call_next(request)


async def test_paths_have_their_own_limit() -> None:
    app = Edge(reading, [limit(paths={"/upload": "1kB", "/any": 0})])
    assert (await post(app, b"x" * 1000, path="/upload/a")).body == b"1000"
    assert (await post(app, b"x" * 1001, path="/upload/a")).status == 413
    assert (await post(app, b"x" * 1001, length=1001, path="/upload")).status == 413
    assert (await post(app, b"x" * 5000, path="/any")).body == b"5000"
    assert (await post(app, b"x" * 11, path="/uploads")).status == 413


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (5, 5), ("5", 5), ("5B", 5), ("5 kB", 5000), ("5KB", 5000), ("10MB", 10_000_000),
        ("10M", 10_000_000), ("2GiB", 2**31), ("1KiB", 1024), ("0", 0),
    ],
)  # fmt: skip
def test_sizes(text: Any, size: int) -> None:
    assert limit(max=text).max == size


@pytest.mark.parametrize("text", ["", "MB", "1.5MB", "-1", "10mb", "10 TB", "1e6", -1])
def test_what_is_no_size_is_refused(text: Any) -> None:
    with pytest.raises(ValidationError):
        limit(max=text)


def test_it_is_on_by_default() -> None:
    assert BodyLimit().enabled
    assert BodyLimit().max == 10 * 1024 * 1024


def test_audit() -> None:
    def found(policy: BodyLimit) -> Iterable[str]:
        return [one.id for one in policy.audit(Audit())]

    assert found(BodyLimit()) == []
    assert found(BodyLimit(enabled=False)) == ["body_limit.off"]
    assert found(BodyLimit(max=0)) == ["body_limit.off"]


SOURCE = """
    from fastapi import FastAPI, Request
    from seawall import Seawall

    app = FastAPI()
    Seawall(app, body_limit={"max": 100_000}, tasks=False)

    @app.post("/")
    async def read(request: Request) -> int:
        return len(await request.body())
"""


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_a_real_server_answers_and_the_connection_goes_on(http: str, tmp_path: Path) -> None:
    pytest.importorskip(http)
    large = 3_000_000
    with uvicorn(tmp_path, SOURCE, "--http", http) as served:
        with served.connect() as connection:
            # With a length: refused, the body thrown away, and the next request served.
            connection.sendall(head("POST", "/", Content_Length=str(large)) + b"x" * large)
            assert reply(connection).status == 413
            connection.sendall(head("POST", "/", Content_Length="3") + b"abc")
            assert reply(connection).body == b"3"
        with served.connect() as connection:
            # Chunked, piece by piece; the answer comes while the body is still being sent.
            connection.sendall(head("POST", "/", Transfer_Encoding="chunked"))
            piece = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
            for _ in range(20):
                connection.sendall(piece)
            refused = reply(connection)
            assert refused.status == 413
            assert b"larger than 100000 bytes" in refused.body
            connection.sendall(b"0\r\n\r\n" + head("POST", "/", Content_Length="3") + b"abc")
            assert reply(connection).body == b"3"
        with served.connect() as connection:
            # Who asks first is told before a byte is sent.
            asked = head("POST", "/", Content_Length=str(large), Expect="100-continue")
            connection.sendall(asked)
            answer = reply(connection)
            assert answer.status == 413
        assert "Traceback" not in served.log.read_text()
        with served.connect() as connection:
            # One who leaves in the middle disturbs nobody.
            connection.sendall(head("POST", "/", Content_Length="50000") + b"x" * 10)
        with served.connect() as connection:
            connection.sendall(head("POST", "/", Content_Length="3") + b"abc")
            assert reply(connection).body == b"3"
