import pytest
from pydantic import ValidationError
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware

from seawall import Edge
from seawall.policies import Https
from tests.asgi import Seen, call, hello, http, websocket

STOCK = HTTPSRedirectMiddleware(hello)


def edge(**options: object) -> Edge:
    return Edge(hello, [Https.model_validate({"enabled": True, "redirect": True, **options})])


async def location(app: Edge, *arguments: object, **more: object) -> str | None:
    return (await call(app, http(*arguments, **more))).get("location")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 301), ("HEAD", 301), ("POST", 308), ("DELETE", 308)]
)
async def test_the_method_survives(method: str, status: int) -> None:
    assert (await call(edge(), http(method))).status == status


async def test_the_raw_path_and_query_survive_where_starlette_decodes_them() -> None:
    path = "/a%2Fb%3Fc/%E2%82%AC?q=%2F&r=a+b"
    scope = http(path=path)
    scope["path"] = "/a/b?c/€"
    assert (await call(edge(), dict(scope))).get("location") == f"https://example.com{path}"
    assert (await call(STOCK, dict(scope))).get("location") != f"https://example.com{path}"


async def test_an_ipv6_literal_keeps_its_brackets() -> None:
    assert (
        await location(edge(), headers=[("host", "[2001:db8::1]:80")]) == "https://[2001:db8::1]/"
    )
    stock = await call(STOCK, http(headers=[("host", "[2001:db8::1]:80")]))
    assert stock.get("location") != "https://[2001:db8::1]/"


async def test_without_a_host_the_bind_address_is_not_told_where_starlette_tells_it() -> None:
    seen = await call(edge(), http(headers=[]))
    assert seen.status == 400
    assert "192.0.2.1" not in str(seen.messages)
    assert "192.0.2.1" in str((await call(STOCK, http(headers=[]))).messages)


async def test_the_port_can_be_chosen_and_the_requests_own_is_dropped() -> None:
    headers = [("host", "example.com:8080")]
    assert await location(edge(), headers=headers) == "https://example.com/"
    assert await location(edge(port=8443), headers=headers) == "https://example.com:8443/"
    assert await location(edge(host="www.example.com"), headers=headers) == (
        "https://www.example.com/"
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"http://evil.example/x", "https://example.com/x"),
        (b"*", "https://example.com/"),
        (b"//evil.example", "https://example.com//evil.example"),
        (b"/a\r\nSet-Cookie: b", "https://example.com/a%0D%0ASet-Cookie:%20b"),
        (b"/\xff<>", "https://example.com/%FF%3C%3E"),
    ],
)
async def test_hostile_targets_cannot_move_the_redirect(raw: bytes, expected: str) -> None:
    assert await location(edge(), raw_path=raw) == expected


async def test_a_server_without_raw_path_still_redirects_right() -> None:
    scope = http(path="/")
    scope["path"] = "/€ 50%?#"
    del scope["raw_path"]
    seen = await call(edge(), scope)
    assert seen.get("location") == "https://example.com/%E2%82%AC%2050%25%3F%23"


async def test_a_redirect_for_the_time_being_is_307() -> None:
    for method in ("GET", "POST"):
        assert (await call(edge(permanent=False), http(method))).status == 307


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/.well-known", 200),
        ("/.well-known/acme-challenge/x", 200),
        ("/.well-knownX", 301),
        ("/", 301),
        ("/a/.well-known/x", 301),
    ],
)
async def test_exempt_paths_stay_reachable(path: str, status: int) -> None:
    app = edge(exempt=["/.well-known/"])
    for _ in range(2):
        assert (await call(app, http(path=path))).status == status
    secure = await call(app, http(path=path, scheme="https"))
    assert secure.get("strict-transport-security")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000"])
async def test_auto_spares_the_loopback_names_alone(host: str) -> None:
    auto = edge(redirect="auto")
    assert (await call(auto, http(headers=[("host", host)]))).status == 200
    assert (await call(auto, http(headers=[("host", "localhost.example")]))).status == 301
    assert (await call(edge(), http(headers=[("host", host)]))).status == 301


async def test_hsts_goes_out_over_https_alone() -> None:
    app = edge(include_subdomains=True, preload=True, redirect=False)
    secure = await call(app, http(scheme="https"))
    assert secure.get("strict-transport-security") == (
        "max-age=31536000; includeSubDomains; preload"
    )
    assert (await call(app, http())).get("strict-transport-security") is None
    silent = await call(edge(hsts=0), http(scheme="https"))
    assert silent.get("strict-transport-security") is None


async def test_a_plain_websocket_is_refused_and_a_secure_one_passes() -> None:
    def kinds(seen: Seen) -> list[str]:
        return [message["type"] for message in seen.messages]

    assert kinds(await call(edge(), websocket())) == ["websocket.close"]
    assert kinds(await call(edge(), websocket(scheme="wss"))) == ["websocket.accept"]


@pytest.mark.parametrize(
    "options",
    [{"port": 0}, {"host": "https://example.com"}, {"hsts": -1}, {"preload": True, "hsts": 0}],
)
def test_bad_settings_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Https.model_validate(options)
