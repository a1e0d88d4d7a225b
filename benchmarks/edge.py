"""CPU that middleware adds to each request, in process: no sockets, no server.

    python benchmarks/edge.py [--quick]

The same FastAPI app, bare and behind the same four concerns (timing, CORS, trusted
hosts, https) said four ways. All variants run interleaved in one process, in blocks,
and each figure is the median over the blocks of the difference to the bare app's
block of the same round, so that a noisy neighbour hits all alike.
"""

import argparse
import asyncio
import gc
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from seawall import Seawall

ORIGINS = ["https://example.com", "https://www.example.com", "http://localhost:3000"]
HOSTS = ["example.com", "*.example.com"]
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

OTHERS = ("proxy", "request_id", "health", "problems", "tasks")
"""What Seawall has switched on by default beside the four."""

App = Callable[[Any, Any, Any], Awaitable[None]]


def bare() -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def root() -> dict[str, str]:
        return {"message": "Hello World"}

    return app


def stock_three(app: FastAPI) -> None:
    app.add_middleware(
        CORSMiddleware,
        allow_origins=ORIGINS,
        allow_credentials=True,
        allow_methods=["*"],
        allow_headers=["*"],
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)
    app.add_middleware(HTTPSRedirectMiddleware)


def docs_style() -> FastAPI:
    """As the FastAPI tutorial has it: timing by ``@app.middleware("http")``."""
    app = bare()

    @app.middleware("http")
    async def process_time(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        start = time.perf_counter()
        response = await call_next(request)
        response.headers["X-Process-Time"] = str(time.perf_counter() - start)
        return response

    stock_three(app)
    return app


class TimingMiddleware:
    """The tutorial's timing as a careful person writes it: pure ASGI."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start = time.perf_counter()

        async def timed(message: Any) -> None:
            if message["type"] == "http.response.start":
                seconds = str(time.perf_counter() - start).encode()
                message["headers"] = [*message["headers"], (b"x-process-time", seconds)]
            await send(message)

        return await self.app(scope, receive, timed)


def pure_asgi() -> FastAPI:
    app = bare()
    app.add_middleware(TimingMiddleware)
    stock_three(app)
    return app


def fused() -> FastAPI:
    app = bare()
    off: dict[str, Any] = dict.fromkeys(OTHERS, False)
    Seawall(
        app,
        cors={
            "allow_origins": ORIGINS,
            "allow_credentials": True,
            "allow_methods": ["*"],
            "allow_headers": ["*"],
        },
        hosts={"allowed_hosts": HOSTS},
        https={"redirect": True},
        **off,
    )
    return app


def defaults() -> FastAPI:
    app = bare()
    Seawall(
        app,
        cors={"allow_origins": ORIGINS, "allow_credentials": True},
        hosts={"allowed_hosts": HOSTS},
        https=True,
        tasks=False,
    )
    return app


VARIANTS: dict[str, Callable[[], FastAPI]] = {
    "bare FastAPI": bare,
    "the four, docs style": docs_style,
    "the four, pure ASGI": pure_asgi,
    "Seawall, the same four": fused,
    "Seawall, every policy on": defaults,
}


def scope() -> dict[str, Any]:
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
    }


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


async def measure(rounds: int, requests: int) -> dict[str, list[float]]:
    apps = {name: make() for name, make in VARIANTS.items()}
    for app in apps.values():
        await block(app, 200)
    took: dict[str, list[float]] = {name: [] for name in apps}
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name, app in apps.items():
            took[name].append(await block(app, requests))
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    quick = parser.parse_args().quick
    took = asyncio.run(measure(rounds=60 if quick else 300, requests=100))
    base = took["bare FastAPI"]
    added = {
        name: statistics.median(mine - its for mine, its in zip(series, base, strict=True))
        for name, series in took.items()
    }
    ours = added["Seawall, the same four"]
    names = ("fastapi", "starlette", "seawall")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{n} {version(n)}" for n in names))
    print(f"{'':26}{'µs/request':>12}{'added µs':>10}{'÷ Seawall':>11}")
    for name, series in took.items():
        ratio = f"{added[name] / ours:9.1f}x" if added[name] else ""
        print(f"{name:26}{statistics.median(series):12.1f}{added[name]:10.1f}{ratio:>11}")


if __name__ == "__main__":
    main()
