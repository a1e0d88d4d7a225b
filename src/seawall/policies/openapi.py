"""Problems in an OpenAPI document (3.0 and 3.1): what every operation may answer."""

import json
from typing import Any

PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "An error, as RFC 9457 describes them.",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "description": "Which kind of problem; about:blank says no more than the status.",
        },
        "title": {"type": "string", "description": "The kind of problem in words."},
        "status": {"type": "integer", "minimum": 100, "maximum": 599},
        "detail": {"type": "string", "description": "What went wrong this time."},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {"type": "string", "description": "The id in the log and the response."},
        "errors": {
            "description": "The faults, where there are several.",
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "detail": {"type": "string"},
                    "in": {"type": "string", "description": "body, query, path, header, cookie"},
                    "pointer": {"type": "string", "description": "Where in the body (RFC 6901)."},
                    "parameter": {"type": "string", "description": "Which parameter."},
                    "code": {"type": "string"},
                },
            },
        },
    },
}

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
_SCHEMAS = "#/components/schemas/"
_FASTAPI = f"{_SCHEMAS}HTTPValidationError"


def describe(document: dict[str, Any], *, also_fastapi: bool = False) -> dict[str, Any]:
    """Adds the problem schema, and a ``default`` response to each operation, in place.

    A response that the app described with a body of its own stands. ``also_fastapi`` keeps
    FastAPI's own shapes beside, for clients that do not ask for problems. Saying it twice
    is saying it once.
    """
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    # The app may have a Problem of its own.
    name = next(one for one in ("Problem", "HTTPProblem") if schemas.get(one, PROBLEM) == PROBLEM)
    schemas[name] = PROBLEM
    content = {"application/problem+json": {"schema": {"$ref": _SCHEMAS + name}}}
    for path in document.get("paths", {}).values():
        for method in _METHODS:
            if method in path:
                _operation(path[method].setdefault("responses", {}), content, also_fastapi)
    _drop_unused(schemas, document)
    return document


def _operation(responses: dict[str, Any], content: dict[str, Any], also_fastapi: bool) -> None:
    responses.setdefault("default", {"description": "A problem"})
    for status, response in responses.items():
        if not (status == "default" or status[:1] in "45") or "$ref" in response:
            continue
        said = response.setdefault("content", {})
        schema = said.get("application/json", {}).get("schema", {})
        if said and schema.get("$ref") != _FASTAPI:
            continue
        if not also_fastapi:
            said.clear()
        elif not said:
            old = {"type": "object", "properties": {"detail": {}}, "required": ["detail"]}
            said["application/json"] = {"schema": old}
        said.update(content)


def _drop_unused(schemas: dict[str, Any], document: dict[str, Any]) -> None:
    for name in ("HTTPValidationError", "ValidationError"):
        if name in schemas and f'"{_SCHEMAS}{name}"' not in json.dumps(document, default=str):
            del schemas[name]
