"""Problem bodies for the errors that Starlette and FastAPI answer themselves.

A handler that the app registered is left alone; only the frameworks' own defaults
are replaced.
"""

from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from seawall.policies.problems import MEDIA_TYPE, Problems, identifier, problem


def install(app: Starlette, policy: Problems) -> None:
    """Gives HTTPException, validation errors and unhandled errors their problem bodies."""
    handlers = app.exception_handlers
    defaults: dict[Any, Any] = {HTTPException: None, Exception: None}
    ours: dict[Any, Any] = {HTTPException: _http, Exception: _unhandled}
    try:
        from fastapi import exception_handlers as stock
        from fastapi.exceptions import RequestValidationError
    except ImportError:
        pass
    else:
        defaults[HTTPException] = stock.http_exception_handler
        if policy.validation == "problem":
            defaults[RequestValidationError] = stock.request_validation_exception_handler
            ours[RequestValidationError] = _validation
    for kind, handler in ours.items():
        if handlers.get(kind) in (None, defaults[kind]):
            handlers[kind] = handler
    if 500 in handlers:
        # Starlette reads 500 and Exception as one; the app's own word stands.
        handlers.pop(Exception, None)


def _response(request: Request, status: int, body: bytes, headers: Any = None) -> Response:
    response = Response(body, status, headers=headers)
    response.headers["content-type"] = MEDIA_TYPE.decode()
    return response


async def _http(request: Request, error: Any) -> Response:
    if error.status_code < 200 or error.status_code in (204, 205, 304):
        return Response(status_code=error.status_code, headers=error.headers)
    detail: Any = error.detail
    # FastAPI lets detail be any JSON; a problem's own `detail` is a string.
    text, errors = (detail, None) if isinstance(detail, str) else (None, detail)
    body = problem(error.status_code, text, request_id=identifier(request.scope), errors=errors)
    return _response(request, error.status_code, body, error.headers)


async def _validation(request: Request, error: Any) -> Response:
    from fastapi.encoders import jsonable_encoder

    body = problem(
        422,
        "The request does not have the expected form",
        request_id=identifier(request.scope),
        errors=jsonable_encoder(error.errors()),
    )
    return _response(request, 422, body)


async def _unhandled(request: Request, error: Exception) -> Response:
    return _response(request, 500, problem(500, request_id=identifier(request.scope)))
