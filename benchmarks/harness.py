"""Measures CPU that middleware adds to each request, in process: no sockets, no server.

All variants run interleaved in one process, in short blocks, and each figure is the
median over the blocks of the difference to the bare app's block of the same round, so
that a noisy neighbour hits all alike.
"""

import asyncio
import gc
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

App = Callable[[Any, Any, Any], Awaitable[None]]
Variants = Mapping[str, Callable[[], FastAPI]]

HEADERS = [
    (b"host", b"example.com"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"application/json"),
    (b"accept-language", b"en"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"origin", b"https://example.com"),
    (b"referer", b"https://example.com/"),
    (b"cookie", b"session=0123456789abcdef"),
]


def bare() -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def root() -> dict[str, str]:
        return {"message": "Hello World"}

    return app


def scope(**more: Any) -> dict[str, Any]:
    """A request as a server describes it; ``more`` overrides any key."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "https",
        "method": "GET",
        "root_path": "",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": HEADERS,
        "state": {},
        "extensions": {},
    } | more


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    if message["type"] == "http.response.start" and message["status"] != 200:
        raise RuntimeError(f"the app answered {message['status']}")


async def block(app: App, requests: int) -> float:
    """CPU µs a request."""
    began = time.thread_time()
    for _ in range(requests):
        await app(scope(), receive, send)
    return (time.thread_time() - began) / requests * 1e6


async def measure(variants: Variants, rounds: int, requests: int) -> dict[str, list[float]]:
    apps = {name: make() for name, make in variants.items()}
    for app in apps.values():
        await block(app, 200)
    took: dict[str, list[float]] = {name: [] for name in apps}
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name, app in apps.items():
            took[name].append(await block(app, requests))
    return took


def report(variants: Variants, ours: str, packages: tuple[str, ...], *, quick: bool) -> None:
    """Runs the variants, the first of which is the bare app, and prints the table.

    ``ours`` names the variant to which all others are compared.
    """
    took = asyncio.run(measure(variants, rounds=60 if quick else 300, requests=100))
    base = next(iter(took.values()))
    added = {
        name: statistics.median(mine - its for mine, its in zip(series, base, strict=True))
        for name, series in took.items()
    }
    said = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"Python {platform.python_version()}, {said}")
    print(f"{'':34}{'µs/request':>12}{'added µs':>10}{'÷ Seawall':>11}")
    for name, series in took.items():
        ratio = f"{added[name] / added[ours]:9.1f}x" if added[name] else ""
        print(f"{name:34}{statistics.median(series):12.1f}{added[name]:10.1f}{ratio:>11}")
