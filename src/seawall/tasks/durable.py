"""Makes the ``BackgroundTasks`` of unchanged handlers durable.

Each route's handler is left alone; what it returns is wrapped. Before the wrapped
response sends its first byte, its background tasks are committed to the store, so

- a handler that raises enqueues nothing, as in FastAPI;
- dependencies that add tasks are heard, function-scoped ones after their ``yield`` too;
- a store that fails is answered with 503, and nothing has been promised;
- a response's own ``background=`` counts, and no longer displaces the injected tasks.

Reached: FastAPI's path operations and Starlette's function routes, in included routers
and mounted apps too. Not reached, and run in the process as ever: tasks on responses of
exception handlers, of middleware and of ``HTTPEndpoint`` classes.
"""

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeGuard, cast

from starlette import routing
from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from seawall.errors import StoreError, UndurableTask
from seawall.tasks import arguments
from seawall.tasks.job import Call
from seawall.tasks.runtime import Tasks

try:
    from fastapi import BackgroundTasks as Injected
    from fastapi import Depends, HTTPException
    from fastapi.dependencies.utils import get_parameterless_sub_dependant
    from fastapi.routing import APIRoute
    from fastapi.routing import request_response as fastapi_request_response
except ImportError:  # Starlette alone
    _API_ROUTES: tuple[type[Any], ...] = ()
    _MANY: tuple[Any, ...] = (BackgroundTasks.__call__,)
    _HTTPException: type[StarletteHTTPException] = StarletteHTTPException
else:
    _API_ROUTES = (APIRoute,)
    _MANY = (BackgroundTasks.__call__, Injected.__call__)
    _HTTPException = HTTPException  # dependencies may look for FastAPI's own
_ONE = (BackgroundTask.__call__,)
# _ONE and _MANY: how tasks run that hold nothing but functions and arguments. A class that
# runs them in its own way cannot be written down.

log = logging.getLogger("seawall.tasks")

RETRY_AFTER = "5"
"""Seconds after which a client whose task could not be written should ask again."""

_MARK = "_seawall_tasks"
_INJECTED = "seawall.background"

Handler = Callable[[Request], Awaitable[Any]]


def install(app: Starlette, tasks: Tasks) -> None:
    """Makes the background tasks of all routes that ``app`` has by now durable.

    A route that has been through this before, here or in an app mounted under this one,
    stays as it is.
    """
    if tasks.settings.enabled:
        _Hook(tasks).walk(app.routes)


class _Hook:
    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks
        self._warned: set[str] = set()

    def walk(self, routes: Iterable[Any]) -> None:
        route: Any
        for route in routes:
            included = getattr(route, "original_router", None)
            if included is not None:
                self.walk(included.routes)
                # FastAPI keeps the handlers of included routes; drop what it built before.
                getattr(included, "_mark_routes_changed", lambda: None)()
            elif isinstance(route, routing.Mount | routing.Host):
                self.walk(_mounted(route))
            elif isinstance(route, routing.Route) and not getattr(route, _MARK, False):
                self._hook(route)

    def _hook(self, route: Any) -> None:
        holder, app = _innermost(route)
        if not _is_request_response(app):
            return
        setattr(route, _MARK, True)
        if isinstance(route, _API_ROUTES):
            if _adds_tasks(route.dependant):
                _keep_injected(route)
            self._override(route)
            holder.app = fastapi_request_response(route.get_route_handler())
        else:
            # FastAPI builds the plain routes of an included router from their endpoint.
            route.endpoint = self._wrap(_as_async(route.endpoint))
            holder.app = routing.request_response(route.endpoint)

    def _override(self, route: Any) -> None:
        original = route.get_route_handler
        route.get_route_handler = lambda: self._wrap(original())

    def _wrap(self, handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def durable(request: Request) -> Any:
            response = await handler(request)
            injected = request.scope.get(_INJECTED)
            if injected is None and getattr(response, "background", None) is None:
                return response
            return _Durable(self, response, injected)

        return durable

    async def commit(self, groups: Sequence[BackgroundTask]) -> list[BackgroundTask]:
        """Writes the tasks of a response; returns those that must run in the process."""
        calls, rest = self._split(_take(groups))
        try:
            await self.tasks.submit(calls)
        except StoreError as error:
            log.error("a request was refused, its tasks could not be stored: %s", error)
            raise _HTTPException(
                503, "The task store is unavailable.", {"Retry-After": RETRY_AFTER}
            ) from error
        return rest

    async def finish(
        self, groups: Sequence[BackgroundTask], rest: Sequence[BackgroundTask]
    ) -> None:
        """Runs what is left when the response is out, and writes what came while it was sent."""
        late = _take(group for group in groups if _is_group(group))
        try:
            calls, late_rest = self._split(late)
            await self.tasks.submit(calls)
        except (StoreError, UndurableTask) as error:
            # The answer is out, so nothing can be refused any more.
            log.error("tasks of a response already sent run in the process: %s", error)
            late_rest = late
        for task in (*rest, *late_rest):
            try:
                await task()
            except Exception:
                # As for stored tasks: one that fails never stops the next.
                log.exception("a task that runs in the process failed")

    def _split(self, tasks: Iterable[BackgroundTask]) -> tuple[list[Call], list[BackgroundTask]]:
        calls: list[Call] = []
        rest: list[BackgroundTask] = []
        for task in tasks:
            try:
                if type(task).__call__ not in _ONE:
                    raise UndurableTask(
                        f"{type(task).__qualname__} is not durable: it says itself how to run",
                        hint="use BackgroundTask or BackgroundTasks",
                    )
                calls.append(arguments.encode(task.func, task.args, task.kwargs))
            except UndurableTask as error:
                if self.tasks.settings.undurable == "refuse":
                    raise
                self._warn(task, error)
                rest.append(task)
        return calls, rest

    def _warn(self, task: BackgroundTask, error: UndurableTask) -> None:
        function = getattr(task, "func", type(task))
        name = f"{function.__module__}:{getattr(function, '__qualname__', type(function))}"
        if name not in self._warned:
            self._warned.add(name)
            log.warning("%s; it runs in the process and is lost if that dies", error)


class _Durable:
    """The response, which commits its tasks before its first byte."""

    __slots__ = ("_groups", "_hook", "_response")

    def __init__(self, hook: _Hook, response: Any, injected: BackgroundTasks | None) -> None:
        own = getattr(response, "background", None)
        groups = (injected, own) if own is not injected else (own,)
        self._groups = [group for group in groups if group is not None]
        self._hook = hook
        self._response = response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rest = await self._hook.commit(self._groups)
        self._response.background = None
        await self._response(scope, receive, send)
        await self._hook.finish(self._groups, rest)


def _take(groups: Iterable[BackgroundTask]) -> list[BackgroundTask]:
    """The single tasks of all groups, which are left empty."""
    taken: list[BackgroundTask] = []
    for group in groups:
        if _is_group(group):
            tasks, group.tasks = group.tasks, []
            taken += _take(tasks)
        else:
            taken.append(group)
    return taken


def _is_group(task: Any) -> TypeGuard[BackgroundTasks]:
    return isinstance(task, BackgroundTasks) and type(task).__call__ in _MANY


def _as_async(endpoint: Callable[..., Any]) -> Handler:
    function = endpoint
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.iscoroutinefunction(function):
        return endpoint

    @functools.wraps(function)
    async def threaded(request: Request) -> Any:
        return await run_in_threadpool(endpoint, request)

    return threaded


def _mounted(route: Any) -> Iterable[Any]:
    """The routes of a mounted app, looked for behind middleware that keeps it in ``app``."""
    app = route
    while app is not None:
        if routes := getattr(app, "routes", None):
            return cast(Iterable[Any], routes)
        app = getattr(app, "app", None)
    return ()


def _innermost(route: Any) -> tuple[Any, ASGIApp]:
    """Who holds the route's own app: the route, or the last middleware around it."""
    holder: Any = route
    while not inspect.isfunction(holder.app) and hasattr(holder.app, "app"):
        holder = holder.app
    return holder, holder.app


def _is_request_response(app: ASGIApp) -> bool:
    """Whether it was made by ``request_response``, so that making it anew loses nothing."""
    return getattr(app, "__qualname__", "").startswith("request_response.") and getattr(
        app, "__module__", ""
    ) in ("starlette.routing", "fastapi.routing")


def _adds_tasks(dependant: Any) -> bool:
    return bool(dependant.background_tasks_param_name) or any(
        map(_adds_tasks, dependant.dependencies)
    )


def _keep_injected(route: Any) -> None:
    """Remembers the injected tasks, which FastAPI drops when a response has its own."""
    depends = Depends(_remember)
    route.dependencies.append(depends)  # for the routers that include this route
    route.dependant.dependencies.append(
        get_parameterless_sub_dependant(depends=depends, path=route.path_format)
    )


async def _remember(request: Request, background: "Injected") -> None:
    request.scope[_INJECTED] = background
