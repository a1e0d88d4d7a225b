"""Rates kept in Redis: a real one, that is also stopped and started again."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from seawall import Edge
from seawall.errors import MissingDependency, SettingsError
from seawall.policies import Problems, RateLimit
from seawall.policies.gcra import Rate
from seawall.policies.rate_store import RedisStore
from tests.asgi import App, call, hello, http, websocket
from tests.servers.process import free_ports
from tests.servers.redis import redis


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis(tmp_path_factory.mktemp("redis"), free_ports(1)[0]) as url:
        yield url


@asynccontextmanager
async def store(url: str) -> AsyncIterator[RedisStore]:
    made = RedisStore(url)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def stores(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[RedisStore]]:
    """The stores that policies made, closed in the end."""
    made: list[RedisStore] = []

    def make(url: str) -> RedisStore:
        made.append(RedisStore(url))
        return made[-1]

    monkeypatch.setattr("seawall.policies.rate_limit.RedisStore", make)
    yield made
    for one in made:
        await one.close()


def edge(app: App = hello, **options: Any) -> Edge:
    policy = RateLimit.model_validate({"enabled": True, "limits": ["2/hour"], **options})
    return Edge(app, [policy, Problems()])


async def ask(app: Any, client: str, path: str = "/") -> Any:
    return await call(app, http(path=path, client=(client, 1)))


async def test_the_burst_then_nothing_then_one_an_interval(url: str) -> None:
    rate = Rate.parse("20/second burst 3")
    async with store(url) as one:
        said = [await one.hit("burst", [rate]) for _ in range(50)]
        answers = [answer[0] for answer in said if answer is not None]
        assert answers[:3] == [True] * 3
        assert False in answers
        # Polled, by the clock of Redis: it lets one through again.
        for _ in range(10_000):
            said_now = await one.hit("burst", [rate])
            assert said_now is not None
            if said_now[0]:
                break
        else:
            raise AssertionError("never again")


async def test_several_rates_are_counted_together_or_not_at_all(url: str) -> None:
    hourly, daily = Rate.parse("2/hour"), Rate.parse("100/day")
    async with store(url) as one:
        for _ in range(10):
            said = await one.hit("both", [hourly, daily])
        assert said is not None
        fine, (first, second) = said
        assert not fine
        assert hourly.standing(first)[0] == 0
        assert daily.standing(second)[0] == 98


async def test_machines_share_one_count(url: str, stores: list[RedisStore]) -> None:
    machines = [edge(store=url) for _ in range(3)]
    statuses = [(await ask(app, "203.0.113.1")).status for app in machines * 2]
    assert sorted(statuses) == [200, 200, 429, 429, 429, 429]
    assert len(stores) == 3


async def test_what_comes_at_once_is_counted_exactly(url: str, stores: list[RedisStore]) -> None:
    app = edge(store=url, limits=["10/hour"])
    seen = await asyncio.gather(*(ask(app, "203.0.113.2") for _ in range(50)))
    assert sorted(one.status for one in seen) == [200] * 10 + [429] * 40


async def test_answers_look_as_with_counts_in_memory(url: str, stores: list[RedisStore]) -> None:
    app = edge(store=url, routes={"/login": "1/hour"})
    for client in ("203.0.113.3", "2001:db8::1"):
        first, second = await ask(app, client, "/login"), await ask(app, client, "/login")
        assert first.get("ratelimit-policy") == '"/login 1/hour";q=1;w=3600'
        assert first.get("ratelimit") == '"/login 1/hour";r=0;t=3600'
        assert second.status == 429
        assert second.get("content-type") == "application/problem+json"
        assert 3500 < int(second.get("retry-after")) <= 3600
        assert second.get("ratelimit").startswith('"/login 1/hour";r=0;t=3')
        assert second.all("ratelimit-policy") == ['"/login 1/hour";q=1;w=3600']
    assert (await ask(app, "2001:db8::ffff")).get("ratelimit").startswith('"2/hour";r=1;')


async def test_a_websocket_is_denied(url: str, stores: list[RedisStore]) -> None:
    app = edge(store=url, limits=["1/hour"])
    scope = websocket(client=("203.0.113.4", 1), extensions={"websocket.http.response": {}})
    assert (await call(app, dict(scope))).messages[-1]["type"] == "websocket.accept"
    assert (await call(app, dict(scope))).status == 429
    closed = await call(app, {**scope, "extensions": {}})
    assert closed.messages == [{"type": "websocket.close", "code": 1008, "reason": ""}]


async def test_keys_run_out_by_themselves(url: str) -> None:
    client = Redis.from_url(url)
    async with store(url) as one, client:
        await one.hit("gone", [Rate.parse("1000/second burst 2"), Rate.parse("1/hour")])
        for _ in range(10_000):
            if not await client.exists("seawall:rate:gone:0"):
                break
        else:
            raise AssertionError("still there")
        assert 3500 < await client.ttl("seawall:rate:gone:1") <= 3600


@pytest.mark.parametrize("failure", ["open", "closed"])
async def test_redis_away_and_back(
    failure: str,
    tmp_path: Path,
    stores: list[RedisStore],
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_ports(1)[0]
    url = f"redis://:hunter2@127.0.0.1:{port}/0"
    app = edge(store=url, store_failure=failure, limits=["1/hour"])
    caplog.set_level(logging.WARNING, "seawall.rate_limit")
    seen = [await ask(app, "203.0.113.5") for _ in range(5)]
    assert [one.status for one in seen] == ([200] * 5 if failure == "open" else [503] * 5)
    assert all((one.get("retry-after") is None) == (failure == "open") for one in seen)
    assert len(caplog.records) == 1, "one warning, however many requests"
    assert "hunter2" not in caplog.text

    with redis(tmp_path, port):
        app = edge(store=f"redis://127.0.0.1:{port}/0", store_failure=failure, limits=["1/hour"])
        assert (await ask(app, "203.0.113.5")).status == 200
        assert (await ask(app, "203.0.113.5")).status == 429
    assert (await ask(app, "203.0.113.5")).status == (200 if failure == "open" else 503)
    with redis(tmp_path, port):
        deadline = asyncio.get_running_loop().time() + 30
        while "again" not in caplog.text:
            assert asyncio.get_running_loop().time() < deadline
            await ask(app, "203.0.113.5")
            await asyncio.sleep(0.02)
        assert (await ask(app, "203.0.113.5")).status == 429


async def test_a_redis_that_hangs_holds_a_request_for_a_moment_only(
    stores: list[RedisStore],
) -> None:
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        app = edge(store=f"redis://127.0.0.1:{port}")
        async with asyncio.timeout(20):
            seen = [await ask(app, "203.0.113.6") for _ in range(5)]
        for writer in held:
            writer.close()
    assert [one.status for one in seen] == [200] * 5


def test_a_url_that_cannot_be_one_is_refused_at_the_start() -> None:
    with pytest.raises(SettingsError, match="not the URL") as error:
        RedisStore("redis://:hunter2@host:port:1")
    assert "hunter2" not in str(error.value)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "limits.aio.storage", None)
    with pytest.raises(MissingDependency) as error:
        edge(store="redis://127.0.0.1:6379")
    assert error.value.hint == "pip install 'seawall[redis]'"
