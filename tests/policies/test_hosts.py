import pytest
from pydantic import ValidationError
from starlette.middleware.trustedhost import TrustedHostMiddleware

from seawall import Edge
from seawall.policies import Hosts
from seawall.policies.host import canonical, split
from tests.asgi import call, hello, http, websocket

EDGE = Edge(
    hello,
    [
        Hosts(
            allowed_hosts=(
                "example.com",
                "*.example.com",
                "bücher.example",
                "[2001:db8::1]",
                "www.only.example",
            ),
            enabled=True,
        )
    ],
)


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "EXAMPLE.com",
        "example.com.",
        "example.com:8000",
        "example.com:",
        "a.example.com",
        "a.b.example.com",
        "xn--bcher-kva.example",
        "[2001:db8::1]",
        "[2001:DB8:0:0::1]:8000",
    ],
)
async def test_allowed(host: str) -> None:
    for _ in range(2):  # the second time from memory
        assert (await call(EDGE, http(headers=[("host", host)]))).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "example.com.evil.example",
        "evilexample.com",
        ".example.com",
        "example.com@evil.example",
        "example.com:80:80",
        "example.com:x",
        "example.com:99999",
        "example.com/path",
        "example.com evil.example",
        "example.com,evil.example",
        "[::1]",
        "[2001:db8::1",
        "[2001:db8::1]x",
        "\xe9xample.com",
    ],
)
async def test_refused(host: str) -> None:
    seen = await call(EDGE, http(headers=[("host", host)]))
    assert seen.status == 400
    assert seen.body == b"Invalid host header"


async def test_a_missing_host_is_refused() -> None:
    assert (await call(EDGE, http(headers=[]))).status == 400


async def test_two_hosts_are_refused_where_starlette_takes_the_first() -> None:
    headers = [("host", "example.com"), ("host", "evil.example")]
    assert (await call(EDGE, http(headers=headers))).status == 400
    stock = TrustedHostMiddleware(hello, allowed_hosts=["example.com"])
    assert (await call(stock, http(headers=headers))).status == 200


async def test_a_trailing_dot_is_the_same_host_where_starlette_refuses_it() -> None:
    headers = [("host", "example.com.")]
    assert (await call(EDGE, http(headers=headers))).status == 200
    stock = TrustedHostMiddleware(hello, allowed_hosts=["example.com"])
    assert (await call(stock, http(headers=headers))).status == 400


async def test_websockets_are_refused_as_well() -> None:
    seen = await call(EDGE, websocket(headers=[("host", "evil.example")]))
    assert [m["type"] for m in seen.messages] == ["websocket.close"]
    scope = websocket(
        headers=[("host", "evil.example")], extensions={"websocket.http.response": {}}
    )
    seen = await call(EDGE, scope)
    assert seen.messages[0]["type"] == "websocket.http.response.start"
    assert seen.status == 400


async def test_www_redirect_keeps_port_path_and_query() -> None:
    scope = http(path="/a%2Fb?x=1", headers=[("host", "only.example:8000")])
    seen = await call(EDGE, scope)
    assert seen.status == 301
    assert seen.get("location") == "http://www.only.example:8000/a%2Fb?x=1"
    scope = http("POST", headers=[("host", "only.example")])
    assert (await call(EDGE, scope)).status == 308


@pytest.mark.parametrize(
    ("pattern", "right"),
    [
        ("https://example.com", "write 'example.com'"),
        ("example.com:8000", "write 'example.com'"),
        ("example.com/", "write 'example.com'"),
        ("::1", "write '[::1]'"),
        ("ex*mple.com", "write 'example.com' or"),
        ("*example.com", "write 'example.com'"),
        ("", "write 'example.com' or"),
    ],
)
def test_a_bad_pattern_is_refused_with_the_right_spelling(pattern: str, right: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Hosts(allowed_hosts=(pattern,))
    assert right in caught.value.errors()[0]["ctx"]["error"].hint


def test_canonical_forms() -> None:
    assert canonical("Example.COM.") == "example.com"
    assert canonical("BÜCHER.example") == "xn--bcher-kva.example"
    assert canonical("[2001:DB8::0:1]") == "[2001:db8::1]"
    assert canonical("a..b") == ""
    assert canonical("-a.example") == ""
    assert canonical("a" * 254) == ""
    assert split("[::1]:80") == ("[::1]", "80")
    assert split("a:80") == ("a", "80")
    assert split("a:80:80") == ("", "")
