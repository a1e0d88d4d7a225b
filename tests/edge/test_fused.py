"""Fused is the same as nested: one pass over all policies, or one middleware each.

Random policies, requests, response message sequences and failures; the messages sent,
the scope that the app saw and the exception raised must agree.
"""

import copy
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from seawall import Edge
from seawall.policies import POLICIES, Policy, Problems
from seawall.policies.exchange import Exchange, Outcome, Refusal, text
from seawall.policies.policy import Act, Refuse, Surroundings
from tests.asgi import App, Seen, call, http, websocket

HOSTS = [
    "example.com",
    "EXAMPLE.com.",
    "a.example.com:8000",
    "evil.example",
    "localhost",
    "",
    "[::1]",
]
ORIGINS = ["https://a.example", "https://b.example", "null", "https://a.example.evil.example"]
OPTIONS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "proxy": st.fixed_dictionaries(
        {"trusted": st.sampled_from(["127.0.0.1", "unix", "*"]), "host": st.booleans()}
    ),
    "request_id": st.just({}),
    "access_log": st.fixed_dictionaries({"format": st.sampled_from(["text", "json"])}),
    "metrics": st.just({}),
    "timing": st.fixed_dictionaries({"server_timing": st.booleans()}),
    "health": st.just({}),
    "security_headers": st.sampled_from(
        [
            {},
            {"content_security_policy": True},
            {"content_security_policy": {"script-src": ["nonce"]}, "paths": {"/a": {}}},
        ]
    ),
    "cors": st.fixed_dictionaries(
        {
            "allow_origins": st.sampled_from([["https://a.example"], ["https://*.example"], []]),
            "allow_credentials": st.booleans(),
            "allow_headers": st.sampled_from([["*"], ["X-Token"]]),
            "websockets": st.booleans(),
        }
    )
    | st.just({"allow_origins": ["*"]}),
    "hosts": st.sampled_from(
        [{"allowed_hosts": ["example.com", "*.example.com"]}, {"allowed_hosts": ["*"]}]
    ),
    "https": st.fixed_dictionaries(
        {"redirect": st.sampled_from([True, False, "auto"]), "hsts": st.sampled_from([0, 60])}
    ),
    "rate_limit": st.sampled_from(
        [
            {"limits": ["3/day"]},
            {"limits": ["9/day", "9/hour burst 1"], "by": "header:X-Request-ID"},
            {"limits": [], "routes": {"/tests": "1/day"}, "exempt": ["/tests/none"]},
        ]
    ),
    "concurrency": st.just({"limit": 1, "queue": 0}),
    "body_limit": st.sampled_from([{}, {"max": 3}, {"max": 3, "paths": {"/tests": 0}}]),
    "timeout": st.fixed_dictionaries({"seconds": st.just(3600), "total": st.booleans()}),
    "compression": st.just({"minimum_size": 10}),
    "static": st.sampled_from([{}, {"mounts": {"/tests": str(Path(__file__).parent)}}]),
    "problems": st.just({}),
}  # fmt: skip


@st.composite
def policies(draw: st.DrawFn) -> list[Policy]:
    chosen = draw(st.lists(st.sampled_from(POLICIES), unique=True))
    return [kind.model_validate({"enabled": True, **draw(OPTIONS[kind.name])}) for kind in chosen]


headers = st.lists(
    st.one_of(
        st.tuples(st.just("host"), st.sampled_from(HOSTS)),
        st.tuples(st.just("origin"), st.sampled_from(ORIGINS)),
        st.tuples(st.just("access-control-request-method"), st.sampled_from(["GET", "PUT"])),
        st.tuples(
            st.just("access-control-request-headers"), st.sampled_from(["", "X-Token", "X\0"])
        ),
        st.tuples(st.just("accept-encoding"), st.sampled_from(["gzip", "gzip;q=0", "*"])),
        st.tuples(st.just("x-forwarded-for"), st.sampled_from(["198.51.100.9", "x, 127.0.0.1"])),
        st.tuples(st.just("x-forwarded-proto"), st.sampled_from(["https", "http", "ftp"])),
        st.tuples(st.just("x-forwarded-host"), st.sampled_from(["example.com", "evil.example"])),
        st.tuples(st.just("x-request-id"), st.sampled_from(["abc", "a b"])),
        st.tuples(st.just("content-length"), st.sampled_from(["0", "2", "4", "x", "9" * 30])),
        st.tuples(st.just("transfer-encoding"), st.just("chunked")),
    ),
    max_size=8,
)  # fmt: skip


@st.composite
def scopes(draw: st.DrawFn) -> dict[str, Any]:
    client = draw(st.sampled_from([None, ("127.0.0.1", 1), ("203.0.113.7", 2)]))
    if draw(st.integers(0, 4)) == 0:
        extensions: Any = draw(st.sampled_from([{}, {"websocket.http.response": {}}]))
        scheme = draw(st.sampled_from(["ws", "wss"]))
        return websocket(draw(headers), client=client, extensions=extensions, scheme=scheme)
    method = draw(st.sampled_from(["GET", "HEAD", "POST", "OPTIONS"]))
    path = draw(
        st.sampled_from(
            ["/", "/livez", "/readyz", "/a%2Fb?c=%20", "/tests/__init__.py", "/tests/none"]
        )
    )
    scheme = draw(st.sampled_from(["http", "https"]))
    return http(method, path, draw(headers), client=client, scheme=scheme)


response_headers = st.lists(
    st.sampled_from(
        [
            (b"content-type", b"text/plain"),
            (b"vary", b"Accept"),
            (b"vary", b"*"),
            (b"etag", b'"x"'),
            (b"x-process-time", b"1"),
            (b"x-request-id", b"mine"),
            (b"access-control-allow-origin", b"*"),
            (b"strict-transport-security", b"max-age=1"),
            (b"content-encoding", b"br"),
            (b"server", b"app"),
            (b"content-security-policy", b"default-src 'none'"),
        ]
    ),
    max_size=4,
)


@st.composite
def scripts(draw: st.DrawFn) -> list[Any]:
    """What the app does: messages to send, ``"receive"``, or an exception to raise."""
    status = draw(st.sampled_from([200, 204, 304, 404, 500]))
    start = {"type": "http.response.start", "status": status, "headers": draw(response_headers)}
    steps: list[Any] = [{"type": "http.response.push", "path": "/a"}] * draw(st.integers(0, 1))
    steps += ["receive"] * draw(st.integers(0, 2))
    steps.append(start)
    chunks = draw(
        st.lists(st.sampled_from([b"", b"abc", b"sea wall " * 10]), min_size=1, max_size=3)
    )
    for index, chunk in enumerate(chunks):
        more = index + 1 < len(chunks)
        steps.append({"type": "http.response.body", "body": chunk, "more_body": more})
    steps += [{"type": "http.response.trailers", "headers": []}] * draw(st.integers(0, 1))
    if draw(st.integers(0, 2)) == 0:
        steps.insert(draw(st.integers(0, len(steps))), RuntimeError("secret"))
    return steps


@st.composite
def _bodies(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What a server hands the app: a body in parts, and then perhaps that the client left."""
    chunks = draw(st.lists(st.sampled_from([b"", b"ab", b"abcd"]), min_size=1, max_size=3))
    cut = draw(st.integers(0, len(chunks)))
    return [
        {"type": "http.request", "body": chunk, "more_body": index + 1 < len(chunks)}
        for index, chunk in enumerate(chunks[:cut])
    ]


bodies = _bodies()


def app_of(script: list[Any], saw: list[Any]) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        made_up = ("state", "seawall.request_id", "seawall.trace_id")
        saw.append({k: copy.deepcopy(v) for k, v in scope.items() if k not in made_up})
        if scope["type"] == "websocket":
            saw.append(await receive())
            # It accepts, hangs up, or answers with the script's own response.
            if script[0] == "receive":
                await send({"type": "websocket.close", "code": 1000, "reason": ""})
            elif scope["extensions"] and isinstance(script[0], dict):
                for step in filter(wordy, script):
                    await send({**step, "type": f"websocket.{step['type']}"})
            else:
                await send({"type": "websocket.accept", "headers": []})
            return
        for step in script:
            if isinstance(step, Exception):
                raise step
            if step == "receive":
                saw.append(await receive())
            else:
                await send(step)

    return app


def wordy(step: Any) -> bool:
    return isinstance(step, dict) and step["type"] in ("http.response.start", "http.response.body")


def nested(app: App, chosen: list[Policy]) -> App:
    """One middleware a policy, the first of POLICIES outermost; those that stand in the body
    stream are inside all of the others; refusals look alike.

    Written as one would write it by hand, without anything of the edge's own.
    """
    around = Surroundings(refuse=lambda exchange, no: refuse(exchange, no))
    acts = [policy.act(around) for kind in POLICIES for policy in chosen if type(policy) is kind]
    refuse = next((act.refuse for act in acts if act.refuse), lambda _, no: text(no))
    for act in reversed(acts):
        app = act.wrap(app) if act.wrap else app
    for act in reversed(acts):
        app = layer(app, act, refuse)
    return app


def layer(app: App, act: Act, refuse: Refuse) -> App:
    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        prefix = "websocket.http" if scope["type"] == "websocket" else "http"
        exchange = Exchange(scope["headers"])
        exchange.scope = scope
        exchange.began = perf_counter()
        started = done = False  # done: it has finished, or never will (an open websocket)
        # What the finish hook is told: status, size, began to answer, complete, error.
        record: list[Any] = [0, 0, False, False, ""]

        def finish() -> None:
            if act.finish and not done:
                told = Outcome(record[0], record[1], 0.0 if record[2] else None, 0.0, *record[3:])
                act.finish(exchange, told)

        async def edited(message: Any) -> None:
            nonlocal started, done
            if message["type"] == f"{prefix}.response.start":
                started = True
                record[0], record[2] = message["status"], True
                headers = list(message.get("headers", ()))
                if act.response:
                    act.response(exchange, message["status"], headers, dict(headers))
                message = {**message, "headers": headers}
            await send(message)
            if message["type"] == "websocket.accept":
                done = True
            if message["type"] == f"{prefix}.response.body" and scope.get("method") != "HEAD":
                record[1] += len(message.get("body", b""))
            if message["type"] == "websocket.close":
                record[0], record[2] = 403, True
            last = message["type"] == f"{prefix}.response.body" and not message.get("more_body")
            if last or message["type"] == "websocket.close":
                record[3] = True
                finish()
                done = True

        hook = act.http if scope["type"] == "http" else act.websocket
        answer = hook(exchange) if hook else None
        if answer is None:
            try:
                await app(scope, receive, edited)
            except Exception as error:
                record[4] = type(error).__qualname__
                if act.failed and not started and scope["type"] == "http":
                    await act.failed(exchange, edited)
                raise
            finally:
                finish()
            return
        if isinstance(answer, Refusal):
            answer = refuse(exchange, answer)
        if prefix != "http":
            await receive()
            if not scope["extensions"]:
                await send({"type": "websocket.close", "code": 1008, "reason": ""})
                return
        length = (b"content-length", str(len(answer.body)).encode())
        headers = [*answer.headers, *([length] if answer.status not in (204, 304) else [])]
        start = {"type": f"{prefix}.response.start", "status": answer.status, "headers": headers}
        await send(start)
        body = b"" if scope.get("method") == "HEAD" else answer.body
        await send({"type": f"{prefix}.response.body", "body": body})

    return middleware


@contextmanager
def listening(heard: list[Any]) -> Iterator[None]:
    """Policies that are compiled meanwhile note what their ``finish`` hooks are told.

    Only those outside the problems policy: what stands inside it hears, when nested, of the
    exception that problems answers. And a layer cannot know why the inside failed when it
    answered in full: the edge does, so that alone is not compared.
    """
    with ExitStack() as stack:
        for kind in POLICIES[: POLICIES.index(Problems)]:
            stack.enter_context(patch.object(kind, "act", heard_by(kind, heard)))
        yield


def heard_by(kind: type[Policy], heard: list[Any]) -> Any:
    compile, name = kind.act, kind.name

    def act(policy: Policy, around: Surroundings) -> Act:
        compiled = compile(policy, around)
        if compiled.wrap:
            return compiled  # no layer of its own when nested

        def finish(exchange: Exchange, told: Outcome) -> None:
            if compiled.finish:
                compiled.finish(exchange, told)
            began = told.first is not None
            error = "" if told.complete else told.error
            heard.append((name, told.status, told.size, began, told.complete, error))

        return replace(compiled, finish=finish)

    return act


def plain(seen: Seen) -> Any:
    """Messages without what differs between any two runs: times, and ids made up on the spot.

    Headers are sorted by name: the order of different names says nothing (RFC 9110, 5.3).
    """
    for message in seen.messages:
        if message["type"].endswith("response.start"):
            message["headers"] = sorted(message["headers"], key=lambda header: header[0])
    text = re.sub(r"\d+\.\d{6}", "TIME", repr(seen.messages))
    text = re.sub(r"dur=[\d.]+", "dur=TIME", re.sub(r"[0-9a-f]{32}", "ID", text))
    text = re.sub(r"(;t=|come back in |retry-after', b')\d+", r"\1TIME", text)
    return text, repr(seen.error)


@settings(max_examples=1500, deadline=None)
@given(
    chosen=policies(),
    exchanges=st.lists(st.tuples(scopes(), scripts(), bodies), min_size=1, max_size=4),
)
async def test_fused_is_nested(
    chosen: list[Policy], exchanges: list[tuple[dict[str, Any], list[Any], list[Any]]]
) -> None:
    saw: tuple[list[Any], list[Any]] = ([], [])
    heard: tuple[list[Any], list[Any]] = ([], [])
    script: list[Any] = []
    with listening(heard[0]):
        edge = Edge(app_of(script, saw[0]), chosen)
    with listening(heard[1]):
        layers = nested(app_of(script, saw[1]), chosen)
    apps = (edge, layers)
    # Each request twice: the second time from the edge's memory.
    for scope, steps, body in [*exchanges, *exchanges]:
        script[:] = steps
        sent = body if scope["type"] == "http" else []
        results = [plain(await call(app, copy.deepcopy(scope), sent)) for app in apps]
        assert results[0] == results[1]
        assert saw[0] == saw[1]
        assert sorted(heard[0]) == sorted(heard[1])


hostile = st.lists(
    st.tuples(
        st.sampled_from([b"host", b"origin", b"accept-encoding", b"x-forwarded-for",
                         b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id",
                         b"access-control-request-method", b"access-control-request-headers"]),
        st.binary(max_size=40),
    ),
    max_size=10,
)  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(chosen=policies(), raw=hostile, path=st.binary(max_size=30), query=st.binary(max_size=30))
async def test_hostile_requests_never_raise_and_are_never_echoed_raw(
    chosen: list[Policy], raw: list[tuple[bytes, bytes]], path: bytes, query: bytes
) -> None:
    scope = http("OPTIONS", path="/", client=("127.0.0.1", 1))
    scope |= {
        "headers": raw,
        "raw_path": path,
        "path": path.decode("latin-1"),
        "query_string": query,
    }
    seen = await call(
        Edge(app_of([{"type": "http.response.start", "status": 200, "headers": []}], []), chosen),
        scope,
    )
    assert seen.error is None
    for name, value in seen.start["headers"]:
        assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", name + value), (name, value)
