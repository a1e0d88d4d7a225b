"""The access log: what a line holds, what it can never hold, and when it is written."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from seawall import Edge, Seawall, check
from seawall.policies import AccessLog, Health, Hosts, Policy, Proxy, RequestId
from seawall.policies.access_log import log
from seawall.settings import load
from tests.asgi import App, call, hello, http, websocket
from tests.serve.running import COMMAND, environment, free_port, until

Lines = pytest.CaptureFixture[str]


def lines(capsys: Lines) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def logged(app: App = hello, *more: Policy, **options: Any) -> Edge:
    return Edge(app, [AccessLog(enabled=True, **options), *more])


async def test_a_line_of_json(capsys: Lines) -> None:
    seen = await call(logged(hello, RequestId()), http("POST", "/a%2Fb?secret=1"))
    (line,) = lines(capsys)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert 0 <= line.pop("first") <= line.pop("seconds") < 60
    assert line == {
        "method": "POST",
        "route": "",
        "path": "/a%2Fb",
        "status": 200,
        "bytes": 5,
        "client": "203.0.113.7",
        "request_id": seen.get("x-request-id"),
        "trace_id": seen.get("x-request-id"),
    }


async def test_a_line_of_text(capsys: Lines) -> None:
    await call(logged(format="text"), http(path="/a"))
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\S+Z 203\.0\.113\.7 GET /a 200 5B [\d.]+ms first=[\d.]+ms", line)


async def test_a_query_is_logged_only_when_asked(capsys: Lines) -> None:
    await call(logged(query=True), http(path="/a?b=%20c"))
    assert [line["path"] for line in lines(capsys)] == ["/a?b=%20c"]
    tree = load({"access_log": {"query": True}}, directory="/", environ={})
    assert "access_log.query" in [finding.id for finding in check.run(tree)]
    tree = load({"access_log": True}, directory="/", environ={})
    assert "access_log.query" not in [finding.id for finding in check.run(tree)]


async def test_health_checks_are_left_out_while_all_is_well(capsys: Lines) -> None:
    for options, count in (({}, 1), ({"skip_health": False}, 2), ({"skip_paths": ["/a"]}, 0)):
        edge = logged(hello, Health(), **options)
        await call(edge, http(path="/livez"))
        await call(edge, http(path="/a"))
        assert len(lines(capsys)) == count
    await call(logged(hello, Health()), http("POST", path="/livez"))
    assert [line["status"] for line in lines(capsys)] == [405]
    with pytest.raises(ValidationError, match="is not a path"):
        AccessLog(skip_paths=("livez",))


async def test_refusals_have_a_line_and_so_have_refused_websockets(capsys: Lines) -> None:
    edge = logged(hello, Hosts(enabled=True, allowed_hosts=("other.example",)))
    await call(edge, http())
    await call(edge, websocket())
    assert [(line["method"], line["status"]) for line in lines(capsys)] == [
        ("GET", 400),
        ("WEBSOCKET", 403),
    ]
    await call(logged(), websocket())
    assert lines(capsys) == []


async def test_the_client_is_the_one_behind_the_proxy(capsys: Lines) -> None:
    headers = [("x-forwarded-for", "198.51.100.9")]
    await call(logged(hello, Proxy()), http(headers=headers, client=("127.0.0.1", 1)))
    await call(
        logged(hello, Proxy()), http(headers=headers, client=None, server=("/run/app.sock", None))
    )
    await call(logged(), http(client=None))
    assert [line["client"] for line in lines(capsys)] == ["198.51.100.9", "198.51.100.9", ""]


async def test_an_app_that_stops_short(capsys: Lines) -> None:
    async def short(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise LookupError

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError

    for app in (short, broken):
        await call(logged(app), http())
        await call(logged(app, format="text"), http())
    out = capsys.readouterr().out.splitlines()
    assert out[1].endswith(" error=LookupError incomplete")
    assert " GET / - 0B " in out[3]
    told = [
        (line["status"], line["incomplete"], line["error"]) for line in map(json.loads, out[::2])
    ]
    assert told == [(200, True, "LookupError"), (None, True, "LookupError")]


async def test_the_template_of_the_route(capsys: Lines) -> None:
    app, router, below, mounted = FastAPI(), APIRouter(prefix="/api"), APIRouter(), FastAPI()
    for where in (app, below, mounted):
        where.get("/items/{item:int}")(lambda item: item)
    router.include_router(below, prefix="/v1")
    app.include_router(router, prefix="/{tenant}")
    app.mount("/shop/{shop}", mounted)
    Seawall(app, access_log={"format": "json"}, tasks=False)
    for path, route in {
        "/items/1": "/items/{item}",
        "/acme/api/v1/items/1": "/{tenant}/api/v1/items/{item}",
        "/shop/7/items/1": "/shop/{shop}/items/{item}",
        "/nosuch": "",
    }.items():
        await call(app, http(path=path))
        assert [line["route"] for line in lines(capsys)] == [route]


async def test_the_template_of_a_starlette_route(capsys: Lines) -> None:
    async def page(request: Any) -> PlainTextResponse:
        return PlainTextResponse("page")

    inner = [Route("/b/{c}", page)]
    app = Starlette(routes=[Route("/a/{b}", page), Mount("/m/{rest:path}", routes=inner)])
    Seawall(app, access_log={"format": "json"}, tasks=False)
    await call(app, http(path="/a/1"))
    assert [line["route"] for line in lines(capsys)] == ["/a/{b}"]


anything = st.text(max_size=300) | st.binary(max_size=300).map(lambda raw: raw.decode("latin-1"))


@settings(max_examples=500, deadline=None)
@given(
    text=st.booleans(),
    method=anything,
    path=anything,
    raw=st.none() | st.binary(max_size=5000),
    query=st.binary(max_size=5000),
    client=anything,
    identifier=anything,
    error=anything,
)
async def test_a_line_is_one_line_of_printable_ascii(
    text: bool,
    method: str,
    path: str,
    raw: bytes | None,
    query: bytes,
    client: str,
    identifier: str,
    error: str,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise type(error.replace("\0", "").encode("utf-8", "replace").decode(), (Exception,), {})

    written: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: written.append(record.getMessage())  # type: ignore[method-assign]
    scope = http(method, client=(client, 1)) | {"path": path, "raw_path": raw}
    scope |= {"query_string": query, "seawall.request_id": identifier, "seawall.trace_id": client}
    with listening(handler):
        await call(logged(app, format="text" if text else "json", query=True), scope)
    (line,) = written
    assert re.fullmatch(r"[ -~]+", line)
    assert len(line) < 4096
    if not text:
        assert json.loads(line)["incomplete"] is True


@contextmanager
def listening(handler: logging.Handler) -> Iterator[None]:
    log.addHandler(handler)
    level, propagate = log.level, log.propagate
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


async def test_a_hostile_path_stays_readable_as_what_it_is(capsys: Lines) -> None:
    for raw in (b'/\x1b[31m"\\', "/a\u2028b\x85".encode(), b"/\r\n2026 GET /forged 200"):
        await call(logged(), http() | {"raw_path": raw})
        (line,) = lines(capsys)
        assert line["path"].encode("latin-1") == raw
        await call(logged(format="text"), http() | {"raw_path": raw})
        (text,) = capsys.readouterr().out.splitlines()
        assert text.isascii()
        assert text.isprintable()


async def test_a_handler_that_someone_configured_gets_the_lines(capsys: Lines) -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[assignment]
    with listening(handler):
        await call(logged(), http())
    assert [json.loads(record.getMessage())["status"] for record in records] == [200]
    assert capsys.readouterr().out == ""


async def test_a_closed_stdout_harms_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        for gone in (None, stream):
            monkeypatch.setattr("sys.stdout", gone)
            assert (await call(logged(format="json"), http())).error is None
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # so that closing it can flush


APP = """
import asyncio
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()
go_on = asyncio.Event()

@app.get("/stream/{name}")
async def stream(name: str):
    async def parts():
        yield b"first"
        await go_on.wait()
        yield b"second"
    return StreamingResponse(parts())

@app.get("/go-on")
async def release():
    go_on.set()

@app.get("/broken")
async def broken():
    raise LookupError("secret")
"""


@pytest.fixture(params=["seawall serve", "uvicorn"])
def log_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A real server with the app on it, and the file where its stdout goes."""
    port, out = free_port(), tmp_path / "stdout"
    if request.param == "uvicorn":
        wall = "from seawall import Seawall\nSeawall(app, access_log=True)\n"
        (tmp_path / "main.py").write_text(APP + wall)
        command = [str(COMMAND.with_name("uvicorn")), "main:app", "--no-access-log"]
    else:
        (tmp_path / "main.py").write_text(APP)
        command = [str(COMMAND), "serve", "main:app"]
    with out.open("wb") as stdout, (tmp_path / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=tmp_path,
            env=environment(),
            stdout=stdout,
            stderr=stderr,
        )
    try:
        until(lambda: answers(port), "the app answers")
        yield port, out
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        return b" 200 " in ask(port, "/livez").partition(b"\r\n")[0]
    except OSError:
        return False


def ask(port: int, path: str) -> bytes:
    with connected(port, path) as connection:
        data = b""
        while chunk := connection.recv(65536):
            data += chunk
        return data


def connected(port: int, path: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 30)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    return connection


def written(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_on_a_server(log_of: tuple[int, Path]) -> None:
    port, out = log_of
    # A client that leaves in the middle.
    with connected(port, "/stream/left") as connection:
        while b"first" not in connection.recv(65536):
            pass
        assert written(out) == []
    until(lambda: len(written(out)) == 1, "the request that was left is logged")
    # One that stays until the last byte.
    with connected(port, "/stream/stayed") as connection:
        while b"first" not in connection.recv(65536):
            pass
        assert len(written(out)) == 1
        ask(port, "/go-on?token=secret")
        while connection.recv(65536):
            pass
    body = ask(port, "/broken").partition(b"\r\n\r\n")[2]
    until(lambda: len(written(out)) == 4, "every request is logged")
    left, *rest = written(out)
    assert (left["path"], left["status"], left["bytes"]) == ("/stream/left", 200, 5)
    assert left["incomplete"] is True
    stayed, broken = (
        next(x for x in rest if x["path"] == p) for p in ("/stream/stayed", "/broken")
    )
    assert (stayed["bytes"], stayed["route"]) == (11, "/stream/{name}")
    assert "incomplete" not in stayed
    assert stayed["first"] < stayed["seconds"]
    assert (broken["status"], broken["bytes"]) == (500, len(body))
    assert broken["request_id"] == json.loads(body)["request_id"]
    assert "secret" not in out.read_text()
    assert "livez" not in out.read_text()
