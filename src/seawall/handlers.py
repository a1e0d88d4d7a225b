"""Problem bodies for the errors that Starlette and FastAPI answer themselves.

A handler that the app registered is left alone; only the frameworks' own defaults
are replaced. FastAPI's OpenAPI document, the app's own override of it included, learns of
them as well.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from seawall.policies.openapi import describe
from seawall.policies.problems import Problems, faults

Handler = Callable[..., Awaitable[Response | None]]

_POLICY_VIOLATION = 1008
_MALFORMED = "The request does not have the expected form"


def install(app: Starlette, policy: Problems) -> None:
    """Gives HTTPException, validation errors and unhandled errors their problem bodies."""
    handlers = app.exception_handlers
    defaults: dict[Any, Any] = {HTTPException: None, Exception: None}
    ours: dict[Any, Handler] = {
        HTTPException: partial(_http, policy),
        Exception: partial(_unhandled, policy),
    }
    try:
        from fastapi import FastAPI
        from fastapi import exception_handlers as stock
        from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
    except ImportError:
        pass
    else:
        defaults[HTTPException] = stock.http_exception_handler
        defaults[RequestValidationError] = stock.request_validation_exception_handler
        defaults[WebSocketRequestValidationError] = (
            stock.websocket_request_validation_exception_handler
        )
        ours[RequestValidationError] = partial(_validation, policy)
        ours[WebSocketRequestValidationError] = partial(_validation, policy)
        if isinstance(app, FastAPI) and policy.openapi:
            _describe(app, policy)
    for kind, handler in ours.items():
        if handlers.get(kind) in (None, defaults[kind]):
            handlers[kind] = handler
    if 500 in handlers:
        # Starlette reads 500 and Exception as one; the app's own word stands.
        handlers.pop(Exception, None)


class _Described:
    """An app's ``openapi``, and the problems in what it returns."""

    def __init__(self, original: Callable[[], dict[str, Any]], policy: Problems) -> None:
        self.original = original
        self.policy = policy

    def __call__(self) -> dict[str, Any]:
        return describe(self.original(), also_fastapi=self.policy.shape == "fastapi")


def _describe(app: Any, policy: Problems) -> None:
    if not isinstance(app.openapi, _Described):
        app.openapi = _Described(app.openapi, policy)


async def _answer(
    policy: Problems,
    connection: HTTPConnection,
    status: int,
    detail: str | None = None,
    *,
    headers: Any = None,
    old: Any = None,
    **members: Any,
) -> Response | None:
    """The error as a response; a websocket that can have none is closed instead."""
    if isinstance(connection, WebSocket) and not await _deniable(connection):
        await connection.close(_POLICY_VIOLATION)
        return None
    body, described = policy.body(connection.scope, status, detail, old, **members)
    response = Response(body, status, headers=headers)
    for name, value in described:
        if name == b"vary":
            response.headers.add_vary_header(value.decode())
        else:
            response.headers[name.decode()] = value.decode()
    return response


async def _deniable(socket: WebSocket) -> bool:
    """Whether a handshake can still be answered with a response (ASGI: websocket denial)."""
    if socket.application_state is not WebSocketState.CONNECTING:
        return False
    if socket.client_state is WebSocketState.CONNECTING:
        # A server finishes the handshake only after it was asked to connect.
        await socket.receive()
    return "websocket.http.response" in (socket.scope.get("extensions") or {})


async def _http(policy: Problems, connection: HTTPConnection, error: Any) -> Response | None:
    status, detail = error.status_code, error.detail
    if status < 200 or status in (204, 205, 304):
        return Response(status_code=status, headers=error.headers)
    # FastAPI lets detail be any JSON; a problem's own `detail` is a string.
    if isinstance(detail, str):
        return await _answer(policy, connection, status, detail, headers=error.headers)
    return await _answer(
        policy, connection, status, headers=error.headers, old=detail, errors=detail
    )


async def _validation(policy: Problems, connection: HTTPConnection, error: Any) -> Response | None:
    from fastapi.encoders import jsonable_encoder

    errors = error.errors()
    old = jsonable_encoder(errors) if policy.shape == "fastapi" else None
    return await _answer(policy, connection, 422, _MALFORMED, old=old, errors=faults(errors))


async def _unhandled(policy: Problems, request: Request, error: Exception) -> Response | None:
    return await _answer(policy, request, 500)
