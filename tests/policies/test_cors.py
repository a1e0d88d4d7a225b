"""The CORS protocol, server side: Fetch standard, section 3.2."""

import pytest
from pydantic import ValidationError
from starlette.middleware.cors import CORSMiddleware

from seawall import Edge
from seawall.policies import Cors, Hosts, Https
from seawall.policies.policy import Audit
from tests.asgi import Seen, call, hello, http, websocket

A, B = "https://a.example", "http://localhost:3000"


def cors(**options: object) -> Cors:
    return Cors.model_validate({"enabled": True, "allow_origins": [A, B], **options})


def edge(**options: object) -> Edge:
    return Edge(hello, [cors(**options)])


async def get(app: object, origin: str | None = None) -> Seen:
    headers = [("host", "example.com")] + ([("origin", origin)] if origin is not None else [])
    return await call(app, http(headers=headers))  # type: ignore[arg-type]


async def preflight(app: object, origin: str = A, method: str = "GET", *requested: str) -> Seen:
    headers = [
        ("host", "example.com"),
        ("origin", origin),
        ("access-control-request-method", method),
        *(("access-control-request-headers", line) for line in requested),
    ]
    return await call(app, http("OPTIONS", headers=headers))  # type: ignore[arg-type]


def told(seen: Seen) -> dict[str, str]:
    return {k: v for k, v in seen.headers if k.startswith("access-control-")}


async def test_an_allowed_origin_is_named_with_credentials_and_vary() -> None:
    seen = await get(edge(allow_credentials=True, expose_headers=["X-Total"]), A)
    assert told(seen) == {
        "access-control-allow-origin": A,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "X-Total",
    }
    assert seen.all("vary") == ["Origin"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "https://a.example.evil.example",
        "https://a.example:8443",
        "http://a.example",
        "https://a.example/",
        "https://A.example",
        "http://localhost",
        f"{A}, {B}",
    ],
)
async def test_a_denied_origin_gets_no_cors_header_where_starlette_sends_some(origin: str) -> None:
    seen = await get(edge(allow_credentials=True, expose_headers=["X-Total"]), origin)
    assert told(seen) == {}
    assert seen.all("vary") == ["Origin"]
    stock = CORSMiddleware(
        hello, allow_origins=[A, B], allow_credentials=True, expose_headers=["X-Total"]
    )
    assert told(await get(stock, origin)) != {}


async def test_without_an_origin_the_answer_still_varies() -> None:
    seen = await get(edge())
    assert told(seen) == {}
    assert seen.all("vary") == ["Origin"]


async def test_everyone_is_a_star_without_vary() -> None:
    seen = await get(edge(allow_origins=["*"]), "https://anyone.example")
    assert told(seen) == {"access-control-allow-origin": "*"}
    assert seen.all("vary") == []


async def test_two_origin_headers_are_nobody() -> None:
    scope = http(headers=[("host", "example.com"), ("origin", A), ("origin", A)])
    assert told(await call(edge(), scope)) == {}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (["Accept-Encoding"], "Accept-Encoding, Origin"),
        (["origin"], "origin"),
        (["Accept", "Cookie, Origin"], "Accept, Cookie, Origin"),
        (["*"], "*"),
        (["Accept, *"], "*"),
    ],
)
async def test_vary_is_merged_into_one_header(sent: list[str], expected: str) -> None:
    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        headers = [(b"vary", value.encode()) for value in sent]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    assert (await get(Edge(app, [cors()]), A)).all("vary") == [expected]


async def test_the_apps_own_cors_headers_cannot_open_the_site() -> None:
    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        headers = [
            (b"access-control-allow-origin", b"*"),
            (b"access-control-allow-credentials", b"true"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    assert told(await get(Edge(app, [cors()]), "https://evil.example")) == {}
    assert told(await get(Edge(app, [cors()]), A)) == {"access-control-allow-origin": A}


async def test_a_preflight_is_answered() -> None:
    app = edge(
        allow_methods=["GET", "PUT"],
        allow_headers=["X-Token"],
        allow_credentials=True,
        max_age=60,
    )
    seen = await preflight(app, A, "PUT", "x-token, Content-Type")
    assert seen.status == 200
    assert told(seen) == {
        "access-control-allow-origin": A,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET, PUT",
        "access-control-allow-headers": (
            "Accept, Accept-Language, Content-Language, Content-Type, X-Token"
        ),
        "access-control-max-age": "60",
    }
    assert "Origin" in (seen.get("vary") or "")


@pytest.mark.parametrize(
    ("origin", "method", "headers", "fault"),
    [
        ("https://evil.example", "GET", [], "origin"),
        ("null", "GET", [], "origin"),
        (A, "DELETE", [], "method"),
        (A, "get", [], "method"),
        (A, "GET", ["X-Other"], "headers"),
        (A, "GET", ["X-Token", "X-Other"], "headers"),
        (A, "GET", ["X-Token, X-Other"], "headers"),
        ("https://evil.example", "DELETE", ["X-Other"], "origin, method, headers"),
    ],
)
async def test_a_bad_preflight_is_refused(
    origin: str, method: str, headers: list[str], fault: str
) -> None:
    seen = await preflight(edge(allow_headers=["X-Token"]), origin, method, *headers)
    assert seen.status == 400
    assert seen.body.decode() == f"Disallowed CORS {fault}"
    if "origin" in fault:
        assert told(seen) == {}


async def test_every_line_of_requested_headers_counts_where_starlette_reads_one() -> None:
    lines = ("X-Token", "X-Other")
    assert (await preflight(edge(allow_headers=["X-Token"]), A, "GET", *lines)).status == 400
    stock = CORSMiddleware(hello, allow_origins=[A], allow_headers=["X-Token"])
    assert (await preflight(stock, A, "GET", *lines)).status == 200


async def test_empty_requested_headers_are_fine_where_starlette_refuses_them() -> None:
    assert (await preflight(edge(), A, "GET", "")).status == 200
    stock = CORSMiddleware(hello, allow_origins=[A])
    assert (await preflight(stock, A, "GET", "")).status == 400


async def test_any_header_is_mirrored_but_never_a_control_byte() -> None:
    app = edge(allow_headers=["*"])
    seen = await preflight(app, A, "GET", "X-One,X-Two", "X-Three")
    assert told(seen)["access-control-allow-headers"] == "X-One, X-Two, X-Three"
    for hostile in ("X\x00", "X\r\nSet-Cookie: a=b", "X One", "X;a"):
        seen = await preflight(app, A, "GET", hostile)
        assert seen.status == 400
        assert "access-control-allow-headers" not in told(seen)


async def test_a_star_preflight() -> None:
    seen = await preflight(edge(allow_origins=["*"]), "https://anyone.example")
    assert told(seen)["access-control-allow-origin"] == "*"


async def test_an_options_that_is_no_preflight_reaches_the_app() -> None:
    scope = http("OPTIONS", headers=[("host", "example.com"), ("origin", A)])
    seen = await call(edge(), scope)
    assert seen.body == b"hello"
    assert told(seen) == {"access-control-allow-origin": A}


async def test_a_preflight_is_answered_before_a_redirect_or_a_refused_host() -> None:
    app = Edge(hello, [cors(), Https(enabled=True), Hosts(enabled=True, allowed_hosts=("x.y",))])
    assert (await preflight(app)).status == 200
    refused = await get(app, A)
    assert refused.status == 400
    assert told(refused) == {"access-control-allow-origin": A}


@pytest.mark.parametrize(
    ("pattern", "origin", "allowed"),
    [
        ("https://*.example.com", "https://a.example.com", True),
        ("https://*.example.com", "https://a.b.example.com", True),
        ("https://*.example.com", "https://example.com", False),
        ("https://*.example.com", "https://.example.com", False),
        ("https://*.example.com", "https://a.example.com.evil.example", False),
        ("https://*.example.com", "https://evil.example/.example.com", False),
        ("https://*.example.com", "https://aXexample.com", False),
        ("https://*.example.com", "http://a.example.com", False),
        ("https://*.example.com", "https://a.example.com:8443", False),
        ("https://*.example.com", "https://a.example.com\n", False),
        ("http://localhost:*", "http://localhost:5173", True),
        ("http://localhost:*", "http://localhost", True),
        ("http://localhost:*", "http://localhost:5173.evil.example", False),
    ],
)
async def test_patterns_are_anchored(pattern: str, origin: str, allowed: bool) -> None:
    for _ in range(2):
        seen = await get(edge(allow_origins=[pattern]), origin)
        assert (told(seen) != {}) is allowed


async def test_a_regular_expression_must_match_the_whole_origin() -> None:
    app = edge(allow_origins=[], allow_origin_regex=r"https://(a|b)\.example")
    assert told(await get(app, "https://b.example"))
    assert told(await get(app, "https://b.example.evil.example")) == {}


@pytest.mark.parametrize(
    ("origin", "right"),
    [
        ("https://a.example/", "https://a.example"),
        ("https://a.example/path?q", "https://a.example"),
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("HTTPS://A.example", "https://a.example"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("a.example", "https://a.example"),
        ("localhost:3000", "https://localhost"),
    ],
)
def test_a_bad_origin_is_refused_with_the_right_spelling(origin: str, right: str) -> None:
    with pytest.raises(ValidationError) as caught:
        cors(allow_origins=[origin])
    assert caught.value.errors()[0]["ctx"]["error"].hint == f"write '{right}'"


@pytest.mark.parametrize(
    "options",
    [
        {"allow_origins": ["*"], "allow_credentials": True},
        {"allow_origin_regex": "("},
        {"allow_methods": ["GET, POST"]},
        {"allow_headers": ["X Token"]},
        {"max_age": -1},
    ],
)
def test_dangerous_or_malformed_settings_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        cors(**options)


async def test_a_websocket_is_refused_to_other_origins_pages() -> None:
    async def accepted(*origins: str) -> bool:
        headers = [("host", "example.com"), *(("origin", origin) for origin in origins)]
        seen = await call(edge(), websocket(headers=headers))
        return bool(seen.messages[0]["type"] == "websocket.accept")

    assert await accepted(A)
    assert await accepted("https://example.com")
    assert await accepted()
    assert not await accepted("https://evil.example")
    assert not await accepted("null")
    assert not await accepted(A, A)
    scope = websocket(headers=[("host", "example.com"), ("origin", "https://evil.example")])
    seen = await call(edge(websockets=False), scope)
    assert seen.messages[0]["type"] == "websocket.accept"


def test_the_audit_names_what_is_dangerous() -> None:
    def ids(**options: object) -> set[str]:
        return {finding.id for finding in cors(**options).audit(Audit())}

    assert ids() == set()
    assert ids(allow_origins=[]) == {"cors.idle"}
    assert ids(allow_origins=["null"]) == {"cors.null"}
    assert ids(allow_credentials=True) == set()
    assert ids(allow_credentials=True, allow_origins=["http://a.example"]) == {"cors.plain"}
    assert ids(allow_origin_regex=r"https://a.example") == {"cors.regex"}
    assert ids(allow_origin_regex=r"https://[a-z.]+\.example") == set()
    assert list(Cors().audit(Audit())) == []


PATHS = {"/public": {"allow_origins": ["*"]}, "/public/not": {"allow_origins": [B]}}


@pytest.mark.parametrize(
    ("path", "told_to_b", "told_to_stranger"),
    [
        ("/", B, None),
        ("/public", "*", "*"),
        ("/public/x", "*", "*"),
        ("/publicity", B, None),
        ("/public/not/x", B, None),
    ],
)
async def test_a_path_may_have_its_own_rules(
    path: str, told_to_b: str | None, told_to_stranger: str | None
) -> None:
    app = edge(paths=PATHS, allow_credentials=True)
    for origin, expected in ((B, told_to_b), ("https://evil.example", told_to_stranger)):
        headers = [("host", "example.com"), ("origin", origin)]
        # The second time from memory, if there were one.
        for _ in range(2):
            seen = await call(app, http(path=path, headers=headers))
            assert seen.get("access-control-allow-origin") == expected
        asked = [*headers, ("access-control-request-method", "GET")]
        seen = await call(app, http("OPTIONS", path, asked))
        assert seen.get("access-control-allow-origin") == expected


def test_a_bad_path_rule_is_refused_like_any_other() -> None:
    with pytest.raises(ValidationError, match="is not how a browser spells"):
        cors(paths={"/public": {"allow_origins": ["https://a.example/"]}})
    with pytest.raises(ValidationError):
        cors(paths={"public": {"allow_origins": ["*"]}})


async def test_preflights_can_be_left_to_the_app() -> None:
    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        headers = [(b"access-control-allow-origin", b"https://own.example")]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body"})

    passing = Edge(app, [cors(preflight="pass")])
    seen = await preflight(passing, A)
    assert (seen.status, told(seen)["access-control-allow-origin"]) == (204, "https://own.example")
    assert told(await get(passing, A)) == {"access-control-allow-origin": A}


async def test_every_header_of_the_protocol_is_the_policys_own() -> None:
    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        headers = [(b"access-control-allow-credentials", b"true")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    assert told(await get(Edge(app, [cors()]), "https://evil.example")) == {}
    assert told(await get(Edge(app, [cors()]), A)) == {"access-control-allow-origin": A}


@pytest.mark.parametrize(
    ("origin", "right"),
    [
        ("https://*", "write 'https://*.example.com'"),
        ("https://a.*.example", "write 'https://*.example.com'"),
        ("*.example.com", "write 'https://*.example.com'"),
        ("ftp://", "write it like 'https://example.com'"),
        ("https://", "write it like 'https://example.com'"),
        ("example.com", "write 'https://example.com'"),
        ("example.com:8000/x", "write 'https://example.com'"),
    ],
)
def test_what_is_no_origin_is_refused_with_the_right_spelling(origin: str, right: str) -> None:
    with pytest.raises(ValidationError) as caught:
        cors(allow_origins=[origin])
    assert caught.value.errors()[0]["ctx"]["error"].hint.startswith(right)
