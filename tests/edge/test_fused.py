"""Fused is the same as nested: one pass over all policies, or one middleware each.

Random policies, requests, response message sequences and failures; the messages sent,
the scope that the app saw and the exception raised must agree.
"""

import copy
import re
from time import perf_counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from seawall import Edge
from seawall.policies import POLICIES, Policy
from seawall.policies.exchange import Exchange, Refusal, text
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
    "timing": st.fixed_dictionaries({"server_timing": st.booleans()}),
    "health": st.just({}),
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
    "compression": st.just({"minimum_size": 10}),
    "static": st.just({}),
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
    path = draw(st.sampled_from(["/", "/livez", "/readyz", "/a%2Fb?c=%20"]))
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


def app_of(script: list[Any], saw: list[Any]) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        saw.append({k: copy.deepcopy(v) for k, v in scope.items() if k != "state"})
        if scope["type"] == "websocket":
            saw.append(await receive())
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


def nested(app: App, chosen: list[Policy]) -> App:
    """One middleware a policy, the first of POLICIES outermost; refusals look alike.

    Written as one would write it by hand, without anything of the edge's own.
    """
    acts = [
        policy.act(Surroundings()) for kind in POLICIES for policy in chosen if type(policy) is kind
    ]
    refuse = next((act.refuse for act in acts if act.refuse), lambda _, no: text(no))
    for act in reversed(acts):
        app = act.wrap(app) if act.wrap else layer(app, act, refuse)
    return app


def layer(app: App, act: Act, refuse: Refuse) -> App:
    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        prefix = "websocket.http" if scope["type"] == "websocket" else "http"
        exchange = Exchange(scope["headers"])
        exchange.scope = scope
        exchange.began = perf_counter()
        started = False

        async def edited(message: Any) -> None:
            nonlocal started
            if message["type"] == f"{prefix}.response.start":
                started = True
                headers = list(message.get("headers", ()))
                if act.response:
                    act.response(exchange, message["status"], headers, dict(headers))
                message = {**message, "headers": headers}
            await send(message)

        hook = act.http if scope["type"] == "http" else act.websocket
        answer = hook(exchange) if hook else None
        if answer is None:
            try:
                await app(scope, receive, edited)
            except Exception:
                if act.failed and not started and scope["type"] == "http":
                    await act.failed(exchange, edited)
                raise
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


def plain(seen: Seen) -> Any:
    """Messages without what differs between any two runs: times, and ids made up on the spot.

    Headers are sorted by name: the order of different names says nothing (RFC 9110, 5.3).
    """
    for message in seen.messages:
        if message["type"].endswith("response.start"):
            message["headers"] = sorted(message["headers"], key=lambda header: header[0])
    text = re.sub(r"\d+\.\d{6}", "TIME", repr(seen.messages))
    text = re.sub(r"dur=[\d.]+", "dur=TIME", re.sub(r"[0-9a-f]{32}", "ID", text))
    return text, repr(seen.error)


@settings(max_examples=1500, deadline=None)
@given(
    chosen=policies(),
    exchanges=st.lists(st.tuples(scopes(), scripts()), min_size=1, max_size=4),
)
async def test_fused_is_nested(
    chosen: list[Policy], exchanges: list[tuple[dict[str, Any], list[Any]]]
) -> None:
    saw: tuple[list[Any], list[Any]] = ([], [])
    script: list[Any] = []
    apps = (Edge(app_of(script, saw[0]), chosen), nested(app_of(script, saw[1]), chosen))
    # Each request twice: the second time from the edge's memory.
    for scope, steps in [*exchanges, *exchanges]:
        script[:] = steps
        results = [plain(await call(app, copy.deepcopy(scope))) for app in apps]
        assert results[0] == results[1]
        assert saw[0] == saw[1]


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
