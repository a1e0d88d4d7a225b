"""Does a request cost more when there is more of everything?

    python benchmarks/growth.py [--quick]

For each thing that can be many (routes of an app, path prefixes with limits of their own,
allowed hosts, allowed origins, distinct clients) the CPU time of a request through the edge,
with few and with many of it, and how much the process grew meanwhile. All in process: no
sockets, no server. Blocks with few and with many take turns, and the medians are printed,
so that a noisy neighbour hits both alike. Memory is the resident set (Linux).
"""

import argparse
import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count as ordinals
from itertools import cycle, islice
from pathlib import Path
from resource import getpagesize
from typing import Any

import harness
from fastapi import FastAPI

from seawall import Edge, Seawall
from seawall.policies import BodyLimit, Cors, Hosts, Policy, Problems, Proxy, RateLimit, Timeout

App = Callable[[Any, Any, Any], Awaitable[None]]
Scopes = Iterator[dict[str, Any]]
Case = tuple[App, Scopes]

PLENTY = "1000000/minute"


def scope(**more: Any) -> dict[str, Any]:
    plain = [(b"host", b"example.com"), (b"accept", b"*/*")]
    return harness.scope(**{"client": ("203.0.113.7", 50000), "headers": plain} | more)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def edge(*policies: Policy) -> App:
    return Edge(hello, [Proxy(), *policies, Problems()]).run


def routes(count: int) -> Case:
    """The first of an app's many routes, so that the framework's own search is not measured."""
    app = FastAPI(openapi_url=None)

    async def endpoint() -> str:
        return "hello"

    for number in range(count):
        app.add_api_route(f"/route{number}", endpoint)
    Seawall(app, rate_limit={"limits": [PLENTY]}, tasks=False, access_log=False)
    return app, iter(lambda: scope(path="/route0", raw_path=b"/route0"), None)


def prefixes(count: int) -> Case:
    """Rates, sizes and times of their own for many paths."""
    paths = [f"/api/v1/thing{number}" for number in range(count)]
    app = edge(
        RateLimit(enabled=True, routes=dict.fromkeys(paths, (PLENTY,)), clients=1000),
        BodyLimit(paths=dict.fromkeys(paths, 1000)),
        Timeout(enabled=True, paths=dict.fromkeys(paths, 10.0)),
    )
    asked = cycle(f"{path}/one" for path in paths)
    return app, (scope(path=path, raw_path=path.encode()) for path in asked)


def hosts(count: int) -> Case:
    names = [f"host{number}.example.com" for number in range(count)]
    app = edge(Hosts(enabled=True, allowed_hosts=tuple(names)))
    headers = cycle([(b"host", name.encode()), (b"accept", b"*/*")] for name in names)
    return app, (scope(headers=header) for header in headers)


def origins(count: int) -> Case:
    names = [f"https://origin{number}.example.com" for number in range(count)]
    app = edge(Cors(enabled=True, allow_origins=tuple(names)))
    headers = cycle([(b"host", b"example.com"), (b"origin", name.encode())] for name in names)
    return app, (scope(headers=header) for header in headers)


def clients(count: int) -> Case:
    """Each request from another address than the last."""
    app = edge(RateLimit(enabled=True, limits=("100/minute",)))
    addresses = (
        f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in (i % count for i in ordinals())
    )
    return app, (scope(client=(address, 50000)) for address in addresses)


CASES: dict[str, tuple[Callable[[int], Case], int, int, int]] = {
    "routes of the app": (routes, 10, 10_000, 5_000),
    "path prefixes with limits": (prefixes, 10, 10_000, 40_000),
    "allowed hosts": (hosts, 10, 1_000, 20_000),
    "allowed origins": (origins, 10, 1_000, 20_000),
    "distinct clients": (clients, 10_000, 1_000_000, 1_000_000),
}
"""How to make it, how many are few, how many are many, requests to send through many."""


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    if message["type"] == "http.response.start" and message["status"] != 200:
        raise RuntimeError(f"the app answered {message['status']}")


async def block(app: App, scopes: Scopes, requests: int) -> float:
    """CPU µs a request."""
    asked = list(islice(scopes, requests))
    began = time.thread_time()
    for one in asked:
        await app(one, receive, send)
    return (time.thread_time() - began) / requests * 1e6


def resident() -> float:
    """MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * getpagesize() / 2**20


async def measure(make: Callable[[int], Case], few: int, many: int, requests: int) -> list[str]:
    small, large = make(few), make(many)
    for case in (small, large):
        await block(*case, 500)
    gc.collect()
    before = resident()
    took: tuple[list[float], list[float]] = ([], [])
    size = 1000
    for _ in range(requests // size):
        took[0].append(await block(*small, size))
        took[1].append(await block(*large, size))
    grown = resident() - before
    quarter = max(len(took[1]) // 4, 1)
    first, last = (
        statistics.median(took[1][part]) for part in (slice(quarter), slice(-quarter, None))
    )
    lesser, greater = map(statistics.median, took)
    return [
        f"{few:,}",
        f"{many:,}",
        f"{lesser:.1f}",
        f"{greater:.1f}",
        f"{greater / lesser:.2f}x",
        f"{last / first:.2f}x",
        f"{grown:+.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the requests")
    share = 10 if parser.parse_args().quick else 1
    print(
        f"{'':28}{'few':>8}{'many':>11}{'µs few':>9}{'µs many':>9}{'ratio':>8}"
        f"{'late/early':>12}{'grew MiB':>10}"
    )
    for name, (make, few, many, requests) in CASES.items():
        cells = asyncio.run(measure(make, few, many, max(requests // share, 1000)))
        widths = (8, 11, 9, 9, 8, 12, 10)
        print(f"{name:28}" + "".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True)))


if __name__ == "__main__":
    main()
