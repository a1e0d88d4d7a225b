"""Audits settings and app: each policy audits itself, and what no policy owns is checked here.

Nothing is started, and nothing but the settings and the app object is looked at.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from seawall.findings import Finding, Level, Rule
from seawall.policies import POLICIES
from seawall.policies.policy import Audit

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
TASKS_OFF = Rule(
    "tasks.off",
    Level.NOTE,
    "Background tasks that are not durable are lost when the process stops or dies.",
    "set tasks = true",
)
TASKS_IDLE = Rule(
    "tasks.idle",
    Level.NOTE,
    "With no worker in the web process, tasks wait until a worker runs elsewhere.",
    "set tasks.worker = true",
)
TASKS_VOLATILE = Rule(
    "tasks.volatile",
    Level.WARNING,
    "What is kept under /tmp, /run or /dev/shm is gone after a reboot, accepted tasks too.",
    'keep the store on a disk: tasks.url = "sqlite:////var/lib/app/seawall.db"',
)
KEEP_ALIVE = Rule(
    "serve.keep-alive",
    Level.WARNING,
    "A server that closes idle connections before the proxy in front does answers some "
    "requests with 502. nginx keeps upstream connections 60 s, balancers as long.",
    "set serve.keep_alive = 75",
)
RELOAD = Rule(
    "serve.reload",
    Level.WARNING,
    "The reloader is for development: it restarts the app when a file changes.",
    "say --reload on the command line instead",
)

OWN = (
    BASE_MIDDLEWARE,
    MIDDLEWARE,
    DEBUG,
    DOCS,
    PLAIN,
    TASKS_OFF,
    TASKS_IDLE,
    TASKS_VOLATILE,
    KEEP_ALIVE,
    RELOAD,
)
"""The rules that belong to no policy."""

_VOLATILE = ("/tmp/", "/run/", "/var/run/", "/dev/shm/", "/var/tmp/")  # noqa: S108 - refused here


def rules() -> tuple[Rule, ...]:
    """Every rule of the policies, audited or proven, and then those of no policy."""
    return tuple(rule for kind in POLICIES for rule in kind.rules()) + OWN


def run(
    settings: Any, app: Any = None, *, origin: Callable[[str], str] | None = None
) -> list[Finding]:
    """Everything found wrong or worth knowing.

    ``settings`` is the whole tree; ``app`` the application, its known middleware absorbed,
    or ``None`` when there is none to look at; ``origin`` tells a dotted key's source, where
    it is not ``settings.origin``.
    """
    audit = Audit(origin or settings.origin, settings.policies, app)
    found = [finding for policy in audit.policies.values() for finding in policy.audit(audit)]
    return [*found, *_app(app), *_tasks(settings, audit), *_serve(settings, audit)]


def _app(app: Any) -> Iterator[Finding]:
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


def _tasks(settings: Any, audit: Audit) -> Iterator[Finding]:
    tasks = settings.tasks
    if not tasks.enabled:
        yield TASKS_OFF("background tasks are not durable", source=audit.origin("tasks.enabled"))
        return
    if not tasks.worker:
        yield TASKS_IDLE("the web process runs no tasks", source=audit.origin("tasks.worker"))
    path = tasks.url.removeprefix("sqlite:///")
    if path != tasks.url and path.startswith(_VOLATILE):
        yield TASKS_VOLATILE(f"tasks are kept in {path}", source=audit.origin("tasks.url"))


def _serve(settings: Any, audit: Audit) -> Iterator[Finding]:
    serve = settings.serve
    if serve.keep_alive <= 60:
        yield KEEP_ALIVE(
            f"idle connections are closed after {serve.keep_alive} s",
            source=audit.origin("serve.keep_alive"),
        )
    if serve.reload:
        yield RELOAD("serve.reload is set for every start", source=audit.origin("serve.reload"))
