"""CPU that middleware adds to each request, in process: no sockets, no server.

    python benchmarks/edge.py [--quick]

The same FastAPI app, bare and behind the same four concerns (timing, CORS, trusted
hosts, https) said four ways. How it is measured: harness.py.
"""

import argparse
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from harness import App, Variants, bare, report
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from seawall import Seawall
from seawall.policies import POLICIES

ORIGINS = ["https://example.com", "https://www.example.com", "http://localhost:3000"]
HOSTS = ["example.com", "*.example.com"]
FOUR = ("timing", "cors", "hosts", "https")
OTHERS = ("tasks", *(kind.name for kind in POLICIES if kind.name not in FOUR))


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


VARIANTS: Variants = {
    "bare FastAPI": bare,
    "the four, docs style": docs_style,
    "the four, pure ASGI": pure_asgi,
    "Seawall, the same four": fused,
    "Seawall, as it comes": defaults,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    report(
        VARIANTS,
        "Seawall, the same four",
        ("fastapi", "starlette", "seawall"),
        quick=parser.parse_args().quick,
    )


if __name__ == "__main__":
    main()
