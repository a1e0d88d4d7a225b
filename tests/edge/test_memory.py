from typing import Any

from seawall import Edge
from seawall.edge.memory import LIMIT
from seawall.policies import Cors, Hosts, Https
from tests.asgi import call, hello, http

POLICIES = (
    Hosts(enabled=True, allowed_hosts=("*.example.com",)),
    Cors(enabled=True, allow_origins=("https://*.example",)),
    Https(enabled=True),
)


def scope(host: str = "a.example.com", origin: str = "", method: str = "GET") -> dict[str, Any]:
    headers = [("host", host), *([("origin", origin)] if origin else [])]
    return http(method, headers=headers, scheme="https")


async def test_what_was_let_through_is_remembered_with_its_headers() -> None:
    edge = Edge(hello, POLICIES)
    first = await call(edge, scope(origin="https://x.example"))
    facts = ("GET", "https", b"a.example.com", b"https://x.example")
    assert list(edge.memory) == [facts]
    assert edge.memory[facts] == (
        (b"strict-transport-security", b"max-age=31536000"),
        (b"access-control-allow-origin", b"https://x.example"),
        (b"vary", b"Origin"),
    )
    assert (await call(edge, scope(origin="https://x.example"))).headers == first.headers


async def test_refusals_and_options_and_repeated_headers_are_not_remembered() -> None:
    edge = Edge(hello, POLICIES)
    twice = scope()
    twice["headers"].append((b"cookie", b"a"))
    twice["headers"].append((b"cookie", b"b"))
    for one in (scope("evil.example"), scope(method="OPTIONS"), twice):
        await call(edge, one)
    assert edge.memory == {}


async def test_a_second_host_is_refused_even_when_the_last_is_remembered() -> None:
    edge = Edge(hello, POLICIES)
    await call(edge, scope())
    two = scope()
    two["headers"].insert(0, (b"host", b"evil.example"))
    assert (await call(edge, two)).status == 400


async def test_memory_is_bounded() -> None:
    edge = Edge(hello, POLICIES)
    for number in range(LIMIT + 100):
        for one in (scope(f"h{number}.example.com"), scope(origin=f"https://o{number}.evil")):
            assert (await call(edge, one)).status == 200
        assert len(edge.memory) <= LIMIT


async def test_long_hosts_and_origins_are_not_remembered() -> None:
    edge = Edge(hello, POLICIES)
    assert (await call(edge, scope(origin="https://" + "x" * 600))).status == 200
    assert edge.memory == {}
