"""Makes the ``BackgroundTasks`` of unchanged handlers durable.

Each route's handler is left alone; what it returns is wrapped. When the wrapped response
begins, its background tasks are committed to the store before the first byte goes out, so

- a handler that raises enqueues nothing, as in FastAPI, nor does a response that cannot begin;
- dependencies that add tasks are heard, function-scoped ones after their ``yield`` too;
- a store that fails is answered with 503, and nothing has been promised;
- a response's own ``background=`` counts, and no longer displaces the injected tasks.

Reached: FastAPI's path operations and Starlette's function routes, in included routers
and mounted apps too. Not reached, and run in the process as ever: tasks on responses of
exception handlers, of middleware and of ``HTTPEndpoint`` classes.
"""

import copy
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, TypeGuard, cast

from anyio import CancelScope
from starlette import routing
from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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

    def walk(self, routes: Iterable[Any], *, added: bool = False) -> None:
        """``added``: whether dependencies of the way to these routes add tasks."""
        route: Any
        for route in routes:
            included = getattr(route, "original_router", None)
            if included is not None:
                self.walk(included.routes, added=added or _including_adds_tasks(route))
                # FastAPI keeps the handlers of included routes; drop what it built before.
                getattr(included, "_mark_routes_changed", lambda: None)()
            elif isinstance(route, routing.Mount | routing.Host):
                self.walk(_mounted(route))
            elif isinstance(route, routing.Route):
                if not getattr(route, _MARK, False):
                    self._hook(route)
                if isinstance(route, _API_ROUTES) and (added or _adds_tasks(route.dependant)):
                    _keep_injected(route)

    def _hook(self, route: Any) -> None:
        holder, app = _innermost(route)
        if not _is_request_response(app):
            return
        setattr(route, _MARK, True)
        if isinstance(route, _API_ROUTES):
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
            injected: Any = request.scope.get(_INJECTED)
            own = getattr(response, "background", None)
            if injected is None and own is None:
                return response
            if own is None or own is injected:
                # FastAPI put it there, perhaps onto a response that other requests share.
                if own is not None:
                    response.background = None
                return _Durable(self, response, [injected])
            # Theirs, perhaps shared too: it stays as it is, and a twin without tasks is sent.
            twin = copy.copy(response)
            twin.background = None
            return _Durable(self, twin, [own] if injected is None else [injected, own])

        return durable

    async def commit(self, tasks: Sequence[BackgroundTask]) -> list[BackgroundTask]:
        """Writes the tasks of a response; returns those that must run in the process."""
        calls, rest = self._split(tasks)
        try:
            await self.tasks.submit(calls)
        except StoreError as error:
            log.error("a request was refused, its tasks could not be stored: %s", error)
            raise _HTTPException(
                503, "The task store is unavailable.", {"Retry-After": RETRY_AFTER}
            ) from error
        return rest

    async def finish(self, late: Sequence[BackgroundTask], rest: Sequence[BackgroundTask]) -> None:
        """Runs what is left when the response is out, and writes what came while it was sent."""
        late_rest: Sequence[BackgroundTask]
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

    def __init__(self, hook: _Hook, response: Any, groups: Sequence[BackgroundTask]) -> None:
        self._groups = groups
        self._hook = hook
        self._response = response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tasks: list[BackgroundTask] = []
        rest: list[BackgroundTask] | None = None

        async def commit() -> None:
            nonlocal tasks, rest
            tasks = list(_flat(self._groups))
            # A client that leaves now cancels the response, but not half a commit.
            with CancelScope(shield=True):
                rest = await self._hook.commit(tasks)

        async def send_committed(message: Message) -> None:
            if rest is None and message["type"] == "http.response.start":
                await commit()
            await send(message)

        await self._response(scope, receive, send_committed)
        if rest is None:
            # The client left before the response began: FastAPI runs its tasks all the same.
            await commit()
        stored = set(map(id, tasks))
        late = [task for task in _flat(self._groups) if id(task) not in stored]
        await self._hook.finish(late, rest or ())


def _flat(groups: Iterable[BackgroundTask]) -> Iterator[BackgroundTask]:
    """The single tasks of all groups. The groups are left alone: a response may be sent again."""
    for group in groups:
        if _is_group(group):
            yield from _flat(group.tasks)
        else:
            yield group


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


def _including_adds_tasks(included: Any) -> bool:
    """Whether ``include_router(..., dependencies=[...])``, or the router that includes, does."""
    context = getattr(included, "include_context", None)
    return any(
        _adds_tasks(get_parameterless_sub_dependant(depends=depends, path=""))
        for depends in getattr(context, "dependencies", ())
    )


def _keep_injected(route: Any) -> None:
    """Remembers the injected tasks, which FastAPI drops when a response has its own."""
    if any(depends.dependency is _remember for depends in route.dependencies):
        return
    depends = Depends(_remember)
    route.dependencies.append(depends)  # for the routers that include this route
    route.dependant.dependencies.append(
        get_parameterless_sub_dependant(depends=depends, path=route.path_format)
    )


async def _remember(request: Request, background: "Injected") -> None:
    request.scope[_INJECTED] = background
