"""What can be seen of an app without running it."""

import inspect
from collections.abc import Iterator
from typing import Any

from seawall.findings import Finding, Level, Rule

BASE_MIDDLEWARE = Rule(
    "app.base-middleware",
    Level.WARNING,
    'BaseHTTPMiddleware (`@app.middleware("http")`) costs about 0.1 ms a request, hides '
    "disconnects and context variables from the app, and sees nothing of unhandled errors.",
    "write it as a pure ASGI middleware, or let a policy do it",
)
MIDDLEWARE = Rule(
    "app.middleware",
    Level.NOTE,
    "Middleware that Seawall does not know stays a layer of its own, inside the edge.",
    "nothing to do, unless a policy does the same",
)
DEBUG = Rule(
    "app.debug",
    Level.ERROR,
    "In debug mode an unhandled error shows strangers a traceback with the code around it.",
    "FastAPI(debug=False)",
)
DOCS = Rule(
    "app.docs",
    Level.NOTE,
    "The interactive docs and the schema list every route to anyone; right for a public API.",
    "FastAPI(openapi_url=None) hides them",
)
PLAIN = Rule(
    "app.plain",
    Level.NOTE,
    "An app that is neither FastAPI nor Starlette has the edge, but no durable tasks.",
    "nothing to do, unless it has background tasks",
)

RULES = (BASE_MIDDLEWARE, MIDDLEWARE, DEBUG, DOCS, PLAIN)


def audit(app: Any) -> Iterator[Finding]:
    """Its class, middleware, debug mode and public pages; nothing for ``None``."""
    if app is None:
        return
    # Only when there is an app to look at; settings alone need no framework.
    from starlette.applications import Starlette

    if not isinstance(app, Starlette):
        yield PLAIN(f"the app is of {type(app).__module__}.{type(app).__qualname__}")
        return
    yield from _middleware(app)
    if app.debug:
        yield DEBUG("the app runs in debug mode")
    pages = [getattr(app, f"{page}_url", None) for page in ("openapi", "docs", "redoc")]
    if pages[0]:
        yield DOCS(f"anyone may read {', '.join(filter(None, pages))}")


def _middleware(app: Any) -> Iterator[Finding]:
    from starlette.middleware.base import BaseHTTPMiddleware

    for item in app.user_middleware:
        name = getattr(item.cls, "__qualname__", repr(item.cls))
        if isinstance(item.cls, type) and issubclass(item.cls, BaseHTTPMiddleware):
            dispatch = item.kwargs.get("dispatch")
            if dispatch is not None:
                name = f"{dispatch.__module__}.{dispatch.__qualname__}"
            yield BASE_MIDDLEWARE(f"{name} is a BaseHTTPMiddleware", source=_defined(item))
        else:
            yield MIDDLEWARE(f"{name} stays where it is", source=_defined(item))


def _defined(item: Any) -> str:
    """The file of a middleware's own code."""
    code = item.kwargs.get("dispatch") or item.cls
    try:
        return f"{code.__module__} ({inspect.getsourcefile(code)})"
    except TypeError:
        return str(code.__module__)
