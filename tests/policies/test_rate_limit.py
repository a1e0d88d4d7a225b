"""Rates kept in the process. Those of an hour, so that no test depends on how fast it runs."""

import re
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import ValidationError

from seawall import Edge, Seawall
from seawall.policies import Cors, Health, Hosts, Problems, Proxy, RateLimit
from seawall.policies.client import identity
from seawall.policies.exchange import Exchange
from seawall.policies.policy import Audit
from tests.asgi import Seen, call, hello, http, websocket


def limit(**options: Any) -> RateLimit:
    return RateLimit.model_validate({"enabled": True, "limits": ["2/hour"], **options})


def edge(*others: Any, **options: Any) -> Edge:
    return Edge(hello, [limit(**options), *others])


async def ask(app: Any, path: str = "/", client: Any = ("203.0.113.7", 1), **headers: str) -> Seen:
    named = [(key.replace("_", "-"), value) for key, value in headers.items()]
    return await call(app, http(path=path, headers=named, client=client))


async def statuses(app: Any, times: int, **more: Any) -> list[int]:
    return [(await ask(app, **more)).status for _ in range(times)]


async def test_over_the_limit_is_429_and_never_reaches_the_app() -> None:
    reached = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal reached
        reached += 1
        await hello(scope, receive, send)

    assert await statuses(Edge(app, [limit()]), 5) == [200, 200, 429, 429, 429]
    assert reached == 2


async def test_every_answer_says_where_the_client_stands() -> None:
    app = edge(limits=["2/hour", "10/second burst 20"])
    first, second, third = [await ask(app) for _ in range(3)]
    policy = '"2/hour";q=2;w=3600, "10/second burst 20";q=20;w=2'
    for seen in (first, second, third):
        assert seen.all("ratelimit-policy") == [policy]
    for seen, left in ((first, 1), (second, 0), (third, 0)):
        said = seen.get("ratelimit") or ""
        assert re.match(rf'"2/hour";r={left};t=1[78]\d\d, "10/second burst 20";r=1\d', said), said
    assert third.status == 429
    assert 1700 < int(third.get("retry-after") or 0) <= 1800
    assert first.get("retry-after") is None


async def test_the_fields_stand_beside_the_apps_own() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 200}
        await send({**start, "headers": [(b"ratelimit", b'"mine";r=5')]})
        await send({"type": "http.response.body"})

    seen = await ask(Edge(app, [limit()]))
    mine, ours = seen.all("ratelimit")
    assert mine == '"mine";r=5'
    assert ours.startswith('"2/hour";r=1;')


async def test_a_refusal_is_a_problem() -> None:
    app = edge(Problems(), limits=["1/hour"])
    await ask(app)
    seen = await ask(app)
    assert seen.get("content-type") == "application/problem+json"
    assert b'"status":429' in seen.body


async def test_a_flood_of_404s_counts() -> None:
    app = FastAPI()
    Seawall(app, rate_limit={"limits": ["3/hour"]}, tasks=False)
    seen = [await ask(app, path=f"/no-such-page/{n}", host="localhost") for n in range(5)]
    assert [one.status for one in seen] == [404, 404, 404, 429, 429]


async def test_so_do_errors() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError

    broken = Edge(app, [limit(), Problems()])
    assert await statuses(broken, 3) == [500, 500, 429]


async def test_health_preflights_and_unknown_hosts_are_not_counted() -> None:
    app = edge(
        Health(),
        Cors(enabled=True, allow_origins=("https://a.example",)),
        Hosts(enabled=True, allowed_hosts=("example.com",)),
    )
    assert await statuses(app, 5, path="/livez") == [200] * 5
    preflight = http(
        "OPTIONS",
        headers=[("origin", "https://a.example"), ("access-control-request-method", "GET")],
    )
    assert [(await call(app, preflight)).status for _ in range(5)] == [200] * 5
    assert await statuses(app, 5, host="evil.example") == [400] * 5
    assert await statuses(app, 3, host="example.com") == [200, 200, 429]
    refused = await ask(app, host="example.com", origin="https://a.example")
    assert refused.get("access-control-allow-origin") == "https://a.example"


async def test_websocket_handshakes_count() -> None:
    app = edge(limits=["1/hour"])
    scope = websocket(extensions={"websocket.http.response": {}})
    assert (await call(app, dict(scope))).messages[-1]["type"] == "websocket.accept"
    denied = await call(app, dict(scope))
    assert denied.status == 429
    assert int(denied.get("retry-after") or 0) > 3500


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("2001:db8::1", "2001:db8:0:0:ffff::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("fe80::1%eth0", "fe80::1%eth0", True),
        ("fe80::1%eth0", "fe80::2%eth0", False),
        ("", "", True),
    ],
)
async def test_who_is_the_same_client(one: str, other: str, same: bool) -> None:
    app = edge(limits=["1/hour"])
    assert (await ask(app, client=(one, 1))).status == 200
    assert (await ask(app, client=(other, 2))).status == (429 if same else 200)


async def test_clients_without_an_address_share_one_limit() -> None:
    app = edge(limits=["1/hour"])
    assert (await ask(app, client=None)).status == 200
    assert (await ask(app, client=None)).status == 429


async def test_the_client_is_the_one_that_the_proxy_policy_found() -> None:
    app = edge(Proxy(), limits=["1/hour"])
    proxy = ("127.0.0.1", 1)
    assert (await ask(app, client=proxy, x_forwarded_for="198.51.100.1")).status == 200
    assert (await ask(app, client=proxy, x_forwarded_for="198.51.100.2")).status == 200
    assert (await ask(app, client=proxy, x_forwarded_for="198.51.100.1")).status == 429
    # A stranger gains nothing by naming another address.
    stranger = ("203.0.113.9", 1)
    assert (await ask(app, client=stranger, x_forwarded_for="198.51.100.3")).status == 200
    assert (await ask(app, client=stranger, x_forwarded_for="198.51.100.4")).status == 429


async def test_by_header_each_value_has_its_own_limit_and_none_the_addresss() -> None:
    app = edge(limits=["1/hour"], by="header:X-API-Key")
    assert (await ask(app, x_api_key="a")).status == 200
    assert (await ask(app, x_api_key="b")).status == 200
    assert (await ask(app, x_api_key="a", client=("198.51.100.1", 1))).status == 429
    assert (await ask(app)).status == 200
    assert (await ask(app, x_api_key="")).status == 429
    # Nobody can use up the limit of an address by sending it as a value.
    assert (await ask(app, x_api_key="198.51.100.9")).status == 200
    assert (await ask(app, client=("198.51.100.9", 1))).status == 200


def test_a_header_is_kept_neither_whole_nor_readable() -> None:
    key = identity("header:X-API-Key")(Exchange({b"x-api-key": b"secret" * 1000}))
    assert len(key) == 16
    assert b"secret" not in key


@pytest.mark.parametrize("mounted", [{"exempt": ["/in"]}, {"routes": {"/in": "5/hour"}}])
async def test_an_app_inside_with_limits_of_its_own(mounted: dict[str, Any]) -> None:
    inside = edge(**mounted)
    app = Edge(inside, [limit(limits=["9/hour"], routes={"/in": "8/hour", "/in/a": "7/hour"})])
    seen = await ask(app, path="/in/a")
    policies = seen.all("ratelimit-policy")
    assert policies[-1] == '"/in/a 7/hour";q=7;w=3600'
    assert policies[:-1] == (['"/in 5/hour";q=5;w=3600'] if "routes" in mounted else [])


async def test_the_longest_prefix_has_its_own_rates_and_counts_whole_segments() -> None:
    app = edge(
        limits=["1/hour"],
        routes={"/api": "2/hour", "/api/login/": ["3/hour"]},
        exempt=["/api/login/free"],
    )
    assert await statuses(app, 2, path="/") == [200, 429]
    assert await statuses(app, 3, path="/api/x") == [200, 200, 429]
    assert await statuses(app, 1, path="/api") == [429]
    assert await statuses(app, 4, path="/api/login") == [200, 200, 200, 429]
    assert await statuses(app, 1, path="/api/login/again?x=/") == [429]
    assert await statuses(app, 9, path="/api/login/free/x") == [200] * 9
    assert await statuses(app, 1, path="/apis") == [429]
    seen = await ask(app, path="/api")
    assert seen.get("ratelimit-policy") == '"/api 2/hour";q=2;w=3600'


async def test_routes_alone_leave_all_else_unlimited() -> None:
    app = edge(limits=[], routes={"/login": "1/hour"})
    assert await statuses(app, 5) == [200] * 5
    assert (await ask(app)).get("ratelimit-policy") is None
    assert await statuses(app, 2, path="/login") == [200, 429]


async def test_a_prefix_is_below_the_root_path() -> None:
    app = edge(limits=[], routes={"/login": "1/hour"})
    scope = http(path="/prefix/login", root_path="/prefix")
    assert [(await call(app, dict(scope))).status for _ in range(2)] == [200, 429]


async def test_a_path_of_very_many_segments_is_no_more_work() -> None:
    seen = await ask(edge(routes={"/a/b": "1/hour"}), path="/a/b" + "/" * 60_000)
    assert seen.get("ratelimit-policy") == '"/a/b 1/hour";q=1;w=3600'


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"limits": ["100/min"]}, "is not a period"),
        ({"routes": {"/a": ["x"]}}, "is not a rate"),
        ({"routes": {"a": ["1/hour"]}}, "is not a path"),
        ({"routes": {"/": ["1/hour"]}}, "covers every path"),
        ({"routes": {"/a": []}}, "no rate is given"),
        ({"limits": []}, "limits nothing"),
        ({"by": "ip"}, "does not tell clients apart"),
        ({"by": "header:"}, "is not a header name"),
        ({"by": "header:a b"}, "is not a header name"),
        ({"store": "memcached://x"}, "no store"),
        ({"clients": 1}, "greater than or equal to 2"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        limit(**options)


def test_a_wrong_store_does_not_print_its_password() -> None:
    with pytest.raises(ValidationError) as error:
        limit(store="memcached://:hunter2@x")
    assert "hunter2" not in str(error.value.errors()[0]["ctx"])


def test_audit() -> None:
    def found(policy: RateLimit, proxy: bool = True) -> list[str]:
        audit = Audit(policies={"proxy": Proxy(enabled=proxy)})
        return [one.id for one in policy.audit(audit)]

    assert found(limit()) == []
    assert found(limit(), proxy=False) == ["rate_limit.proxy"]
    assert found(limit(by="header:X-API-Key")) == ["rate_limit.header"]
    assert found(RateLimit(), proxy=False) == []


async def test_the_fields_are_structured_fields() -> None:
    """RFC 9651: a list of strings, each with integer parameters."""
    item = r'"[ !#-\[\]-~]*"(;[a-z]+=[0-9]+)+'
    app = edge(limits=["2/hour", "9/second burst 30"], routes={"/a%-~b": "1/day"})
    for path in ("/", "/a%-~b"):
        seen = await ask(app, path=path)
        for name in ("ratelimit", "ratelimit-policy"):
            assert re.fullmatch(rf"{item}(, {item})*", seen.get(name) or ""), seen.get(name)
