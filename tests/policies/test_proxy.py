from typing import Any

import pytest
from pydantic import ValidationError

from seawall import Edge
from seawall.policies import Proxy
from seawall.policies.policy import Audit
from tests.asgi import call, http, websocket

NGINX = ("127.0.0.1", 4000)


async def seen(
    proxy: Proxy, client: object, *headers: tuple[str, str], **more: Any
) -> dict[str, Any]:
    scopes: list[dict[str, Any]] = []

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        scopes.append(scope)

    everything = [("host", "example.com"), *headers]
    await call(Edge(app, [proxy]), http(headers=everything, client=client, **more))
    return scopes[0]


async def test_a_trusted_proxy_names_client_and_scheme() -> None:
    scope = await seen(
        Proxy(), NGINX, ("x-forwarded-for", "198.51.100.9"), ("x-forwarded-proto", "https")
    )
    assert scope["client"] == ("198.51.100.9", 0)
    assert scope["scheme"] == "https"


@pytest.mark.parametrize("client", [None, ("", 0), ("/run/app.sock", 0), ("unix", 0)])
async def test_a_unix_socket_counts_as_the_proxy(client: object) -> None:
    header = ("x-forwarded-for", "198.51.100.9")
    scope = await seen(Proxy(), client, header, server=("/run/app.sock", None))
    assert scope["client"] == ("198.51.100.9", 0)
    proxy = Proxy(trusted=("10.0.0.0/8",))
    scope = await seen(proxy, client, header, server=("/run/app.sock", None))
    assert scope["client"] == client


@pytest.mark.parametrize("server", [("192.0.2.1", 8000), None])
async def test_a_tcp_client_that_reset_its_connection_is_no_unix_socket(server: object) -> None:
    # A server cannot tell the address of a peer that is gone; it says None.
    header = ("x-forwarded-proto", "https")
    assert (await seen(Proxy(), None, header, server=server))["scheme"] == "http"


async def test_a_stranger_is_not_believed() -> None:
    client = ("203.0.113.7", 50000)
    scope = await seen(
        Proxy(),
        client,
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
    )
    assert (scope["client"], scope["scheme"]) == (client, "http")
    assert dict(scope["headers"])[b"host"] == b"example.com"


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["198.51.100.9"], "198.51.100.9"),
        (["6.6.6.6, 198.51.100.9"], "198.51.100.9"),
        (["6.6.6.6, 198.51.100.9, 10.0.0.2"], "198.51.100.9"),
        (["6.6.6.6", "198.51.100.9, 10.0.0.2"], "198.51.100.9"),
        (["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        (["6.6.6.6, garbage, 10.0.0.2"], "10.0.0.2"),
        (["2001:DB8::1"], "2001:db8::1"),
        (["[2001:db8::1]:443"], "2001:db8::1"),
        (["198.51.100.9:1234"], "198.51.100.9"),
        (["198.51.100.9:99999"], "127.0.0.1"),
        (["fe80::1%\x9b31m evil"], "127.0.0.1"),
        (["unknown"], "127.0.0.1"),
        ([""], "127.0.0.1"),
    ],
)
async def test_the_client_is_the_rightmost_stranger(lines: list[str], client: str) -> None:
    proxy = Proxy(trusted=("127.0.0.1", "10.0.0.0/8"))
    scope = await seen(proxy, NGINX, *(("x-forwarded-for", line) for line in lines))
    assert scope["client"][0] == client


@pytest.mark.parametrize(
    ("value", "scheme"),
    [("https", "https"), ("HTTPS", "https"), ("http, https", "https"), ("https, http", "http"),
     ("ftp", "http"), ("", "http")],
)  # fmt: skip
async def test_only_known_schemes_and_the_nearest_one(value: str, scheme: str) -> None:
    assert (await seen(Proxy(), NGINX, ("x-forwarded-proto", value)))["scheme"] == scheme


async def test_websockets_get_wss() -> None:
    scopes = []

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        scopes.append(scope)

    headers = [("host", "example.com"), ("x-forwarded-proto", "https")]
    await call(Edge(app, [Proxy()]), websocket(headers=headers, client=NGINX))
    assert scopes[0]["scheme"] == "wss"


async def test_the_host_is_taken_only_when_asked() -> None:
    header = ("x-forwarded-host", "evil.example, shop.example")
    assert dict((await seen(Proxy(), NGINX, header))["headers"])[b"host"] == b"example.com"
    scope = await seen(Proxy(host=True), NGINX, header)
    assert [v for k, v in scope["headers"] if k == b"host"] == [b"shop.example"]


@pytest.mark.parametrize(
    ("lines", "client", "scheme"),
    [
        (["for=198.51.100.9;proto=https"], "198.51.100.9", "https"),
        (['For="198.51.100.9:4711" ; Proto=HTTPS'], "198.51.100.9", "https"),
        (['for="[2001:db8::1]:4711"'], "2001:db8::1", "http"),
        (["for=6.6.6.6, for=198.51.100.9;proto=https, for=10.0.0.2"], "198.51.100.9", "http"),
        (["for=6.6.6.6;proto=https", "for=198.51.100.9;proto=http"], "198.51.100.9", "http"),
        (['for="6.6.6.6, for=7.7.7.7";proto=https, for=10.0.0.2'], "10.0.0.2", "http"),
        (["for=6.6.6.6, for=unknown, for=10.0.0.2"], "10.0.0.2", "http"),
        (["for=6.6.6.6, for=_hidden, for=10.0.0.2"], "10.0.0.2", "http"),
        (["for=6.6.6.6, ;;;, for=10.0.0.2"], "10.0.0.2", "http"),
        (['for="6.6.6.6'], "127.0.0.1", "http"),
        (["for=198.51.100.9:_port"], "198.51.100.9", "http"),
        (["for=198.51.100.9;for=6.6.6.6"], "198.51.100.9", "http"),
        (["proto=https"], "127.0.0.1", "https"),
        ([""], "127.0.0.1", "http"),
        (["nonsense"], "127.0.0.1", "http"),
    ],
)
async def test_forwarded_as_rfc_7239_has_it(lines: list[str], client: str, scheme: str) -> None:
    proxy = Proxy(trusted=("127.0.0.1", "10.0.0.0/8"), header="forwarded")
    scope = await seen(proxy, NGINX, *(("forwarded", line) for line in lines))
    assert (scope["client"][0], scope["scheme"]) == (client, scheme)


async def test_only_one_family_of_headers_is_read() -> None:
    both = (("forwarded", "for=6.6.6.6;proto=https"), ("x-forwarded-for", "198.51.100.9"))
    scope = await seen(Proxy(), NGINX, *both)
    assert (scope["client"][0], scope["scheme"]) == ("198.51.100.9", "http")
    scope = await seen(Proxy(header="forwarded"), NGINX, *both)
    assert (scope["client"][0], scope["scheme"]) == ("6.6.6.6", "https")


@pytest.mark.parametrize(
    ("hops", "client"), [(1, "10.0.0.2"), (2, "198.51.100.9"), (3, "6.6.6.6"), (9, "6.6.6.6")]
)
async def test_hops_are_counted_from_the_right(hops: int, client: str) -> None:
    header = ("x-forwarded-for", "6.6.6.6, 198.51.100.9, 10.0.0.2")
    scope = await seen(Proxy(hops=hops), ("203.0.113.7", 1), header)
    assert scope["client"][0] == client


async def test_the_port_belongs_to_the_host() -> None:
    async def host(*headers: tuple[str, str]) -> bytes:
        scope = await seen(Proxy(host=True), NGINX, ("x-forwarded-host", "a.example"), *headers)
        return bytes(dict(scope["headers"])[b"host"])

    https = ("x-forwarded-proto", "https")
    assert await host(("x-forwarded-port", "8443"), https) == b"a.example:8443"
    assert await host(("x-forwarded-port", "443"), https) == b"a.example"
    assert await host(("x-forwarded-port", "8443; evil"), https) == b"a.example"


@pytest.mark.parametrize(
    ("value", "root", "path"),
    [
        ("/api", "/api", "/api/items"),
        ("/a/b/", "/a/b", "/a/b/items"),
        ("api", "", "/items"),
        ("//evil.example", "", "/items"),
        ("/a?b", "", "/items"),
        ("/", "", "/items"),
    ],
)
async def test_a_stripped_prefix_is_put_back_when_asked(value: str, root: str, path: str) -> None:
    scopes: list[dict[str, Any]] = []

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        scopes.append(scope)

    headers = [("host", "example.com"), ("x-forwarded-prefix", value)]
    for proxy in (Proxy(prefix=True), Proxy()):
        await call(Edge(app, [proxy]), http(path="/items", headers=headers, client=NGINX))
    asked, silent = scopes
    assert (asked["root_path"], asked["path"], asked["raw_path"]) == (root, path, path.encode())
    assert (silent["root_path"], silent["path"]) == ("", "/items")


@pytest.mark.parametrize(
    ("value", "hint"), [("10.0.0.1/8", "write '10.0.0.0/8'"), ("nginx", "write an address")]
)
def test_a_bad_network_is_refused(value: str, hint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Proxy(trusted=(value,))
    assert hint in caught.value.errors()[0]["ctx"]["error"].hint


def test_the_audit_finds_trust_in_everyone() -> None:
    assert [f.id for f in Proxy(trusted=("*",)).audit(Audit())] == ["proxy.open"]
    assert [f.id for f in Proxy(trusted=("0.0.0.0/0",)).audit(Audit())] == ["proxy.open"]
    assert list(Proxy().audit(Audit())) == []
