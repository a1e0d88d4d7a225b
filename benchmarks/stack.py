"""CPU that a whole production stack adds to each request, in process.

    python benchmarks/stack.py [--quick]

Needs the peers: pip install --group bench

Request id, access log, timing, metrics, security headers, a rate limit, CORS, hosts and
https: as teams usually assemble them, from the same packages in their pure-ASGI forms,
and as Seawall. Access logs are formatted and go to a handler that drops them.
"""

import argparse
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from asgi_correlation_id import CorrelationIdMiddleware
from edge import HOSTS, ORIGINS, TimingMiddleware, stock_three
from fastapi import FastAPI, Request, Response
from harness import App, Variants, bare, report
from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import Instrumentator
from secure import Secure
from secure.middleware import SecureASGIMiddleware
from slowapi import Limiter
from slowapi.middleware import SlowAPIASGIMiddleware, SlowAPIMiddleware
from slowapi.util import get_remote_address

from seawall import Seawall

Next = Callable[[Request], Awaitable[Response]]

access = logging.getLogger("benchmark.access")
access.propagate = False


class Formats(logging.Handler):
    """Does all the work of a handler but the writing."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)


access.addHandler(Formats())
access.setLevel(logging.INFO)
LINE = "%s %s %d %.6f %s"


def packages(app: FastAPI) -> FastAPI:
    """What both assembled stacks share."""
    Instrumentator(registry=CollectorRegistry()).instrument(app)
    app.add_middleware(CorrelationIdMiddleware)
    app.state.limiter = Limiter(key_func=get_remote_address, default_limits=["1000000/second"])
    return app


def typical() -> FastAPI:
    app = packages(bare())
    app.add_middleware(SlowAPIMiddleware)
    secure = Secure.with_default_headers()

    @app.middleware("http")
    async def security(request: Request, call_next: Next) -> Response:
        response = await call_next(request)
        await secure.set_headers_async(response)
        return response

    @app.middleware("http")
    async def timing_and_log(request: Request, call_next: Next) -> Response:
        start = time.perf_counter()
        response = await call_next(request)
        seconds = time.perf_counter() - start
        response.headers["X-Process-Time"] = str(seconds)
        host = request.client.host if request.client else ""
        access.info(LINE, request.method, request.url.path, response.status_code, seconds, host)
        return response

    stock_three(app)
    return app


class AccessLogMiddleware:
    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start = time.perf_counter()
        status = 500

        async def watched(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            seconds = time.perf_counter() - start
            access.info(LINE, scope["method"], scope["path"], status, seconds, scope["client"][0])


def pure_asgi() -> FastAPI:
    app = packages(bare())
    app.add_middleware(SlowAPIASGIMiddleware)
    app.add_middleware(SecureASGIMiddleware, secure=Secure.with_default_headers())
    app.add_middleware(TimingMiddleware)
    app.add_middleware(AccessLogMiddleware)
    stock_three(app)
    return app


def seawall() -> FastAPI:
    logger = logging.getLogger("seawall.access")
    logger.handlers[:] = [Formats()]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    app = bare()
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
        access_log=True,
        metrics=True,
        security_headers=True,
        rate_limit={"limits": ["1000000/second"]},
        tasks=False,
    )
    return app


VARIANTS: Variants = {
    "bare FastAPI": bare,
    "typical stack": typical,
    "the same packages, pure ASGI": pure_asgi,
    "Seawall, full stack": seawall,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    names = ("fastapi", "asgi-correlation-id", "prometheus-fastapi-instrumentator", "secure")
    report(
        VARIANTS,
        "Seawall, full stack",
        (*names, "slowapi", "seawall"),
        quick=parser.parse_args().quick,
    )


if __name__ == "__main__":
    main()
