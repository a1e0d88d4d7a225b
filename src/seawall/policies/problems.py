"""Errors a machine can read: ``application/problem+json`` (RFC 9457).

Guarantee: every refusal of a policy and every unhandled error is a problem body
with the status, a title and the request id, and never a word about the inside of
the app. The exception is raised on to the server, which logs it.
"""

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, ClassVar, Literal

from seawall.findings import Finding, Level, Rule
from seawall.policies.exchange import Answer, Exchange, Refusal, Send
from seawall.policies.policy import Act, Policy, Site, Surroundings

MEDIA_TYPE = b"application/problem+json"

_LEAK = re.compile(rb"Traceback \(most recent call last\)|File \"[^\"]+\", line \d+")


def problem(
    status: int, detail: str | None = None, *, request_id: str = "", **members: Any
) -> bytes:
    """A problem document (RFC 9457, section 3), as UTF-8 JSON.

    ``title`` is the status's own phrase, as section 4.2.1 asks for ``about:blank``.
    ``members`` are extension members; ``None`` leaves one out.
    """
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    document = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        **members,
        "request_id": request_id or None,
    }
    return json.dumps(
        {key: value for key, value in document.items() if value is not None},
        ensure_ascii=False,
        separators=(",", ":"),
        default=str,
    ).encode("utf-8", "backslashreplace")


class Problems(Policy):
    """Describes errors as RFC 9457 problems."""

    name: ClassVar[str] = "problems"
    SHAPE: ClassVar[Rule] = Rule(
        "problems.shape",
        Level.WARNING,
        "A client that meets three shapes of error handles none of them well.",
        "raise HTTPException instead of building error responses by hand",
    )
    LEAK: ClassVar[Rule] = Rule(
        "problems.leak",
        Level.ERROR,
        "A traceback tells a stranger the app's files, libraries and secrets.",
        "switch debug off (`FastAPI(debug=False)`)",
    )

    validation: Literal["problem", "fastapi"] = "problem"
    """Body of a 422: `problem` lists the faults as `errors`, `fastapi` as `detail`, as it did."""

    def act(self, around: Surroundings) -> Act:
        def refuse(exchange: Exchange, refusal: Refusal) -> Answer:
            body = problem(refusal.status, refusal.detail, request_id=identifier(exchange.scope))
            return Answer(refusal.status, ((b"content-type", MEDIA_TYPE), *refusal.headers), body)

        async def failed(exchange: Exchange, send: Send) -> None:
            body = problem(500, request_id=identifier(exchange.scope))
            headers = [(b"content-type", MEDIA_TYPE), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            head = exchange.scope["method"] == "HEAD"
            await send({"type": "http.response.body", "body": b"" if head else body})

        return Act(refuse=refuse, failed=failed)

    def prove(self, site: Site) -> Iterator[Finding]:
        reply = site.ask("GET", "/seawall-probe-no-such-page", [("Accept", "*/*")])
        kind = (reply.get("content-type") or "").split(";")[0]
        if reply.status == 404 and kind != MEDIA_TYPE.decode():
            yield self.SHAPE(f"a 404 is {kind or 'of no type'}, not {MEDIA_TYPE.decode()}")
        if _LEAK.search(reply.body):
            yield self.LEAK(f"a {reply.status} shows a traceback")


def identifier(scope: Any) -> str:
    """The request's id, when the request_id policy gave it one."""
    state = scope.get("state")
    return str(state.get("request_id", "")) if state else ""
