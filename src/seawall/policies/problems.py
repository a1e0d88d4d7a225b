"""Errors a machine can read: ``application/problem+json`` (RFC 9457).

Guarantee: every refusal of a policy and every unhandled error is a problem body
with the status, a title and the request id, and never a word about the inside of
the app. The exception is raised on to the server, which logs it. Clients that were
written for FastAPI's own ``{"detail": ...}`` can keep it (``shape``).
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import AfterValidator

from seawall.errors import Hinted
from seawall.findings import Finding, Level, Rule
from seawall.policies.exchange import Answer, Exchange, Header, Refusal, Scope, Send, fields, vary
from seawall.policies.policy import Act, Policy, Site, Surroundings

MEDIA_TYPE = b"application/problem+json"

_LEAK = re.compile(rb"Traceback \(most recent call last\)|File \"[^\"]+\", line \d+")

# RFC 9110's words; Python's own differ from version to version.
_TITLES = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def title_of(status: int) -> str:
    """The status in words (RFC 9110, section 15)."""
    try:
        return _TITLES.get(status) or HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def problem(
    status: int, detail: str | None = None, *, request_id: str = "", base: str = "", **members: Any
) -> bytes:
    """A problem document (RFC 9457, section 3), as UTF-8 JSON.

    ``title`` is the status's own phrase, as section 4.2.1 asks for ``about:blank``; with a
    ``base`` URI, ``type`` is that and the title as a slug. ``members`` are extension members;
    ``None`` leaves one out.
    """
    title = title_of(status)
    slug = re.sub(r"[^a-z]+", "-", title.lower())
    document = {
        "type": base + slug if base else "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        **members,
        "request_id": request_id or None,
    }
    return _json({key: value for key, value in document.items() if value is not None})


def faults(errors: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """pydantic's errors as a problem's ``errors``, without the input, which may be a secret.

    A fault in the body has a ``pointer`` (RFC 6901, as a URI fragment), one elsewhere the
    name of its ``parameter``.
    """
    return [_fault(error) for error in errors]


def _fault(error: dict[str, Any]) -> dict[str, Any]:
    where, *rest = error.get("loc") or ("body",)
    said: dict[str, Any] = {"detail": str(error.get("msg", "")), "in": str(where)}
    if error.get("type") == "json_invalid":
        # Its place is an offset into text that is no document.
        pass
    elif where == "body":
        said["pointer"] = _pointer(rest)
    elif rest:
        said["parameter"] = ".".join(map(str, rest))
    return {**said, "code": str(error.get("type", ""))}


def _pointer(parts: Sequence[Any]) -> str:
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return "#" + "".join(f"/{quote(part, safe='~')}" for part in escaped)


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode("utf-8", "backslashreplace")


def _base(value: str) -> str:
    if not re.fullmatch(r"((https?|urn|tag):[!#-;=?-\[\]_a-z~]+|/[!#-;=?-\[\]_a-z~]*)?", value):
        raise Hinted(
            f"{value!r} is not a base URI", "write it like 'https://example.com/problems/'"
        )
    return value


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

    shape: Literal["problem", "fastapi"] = "problem"
    """`problem` for everyone; `fastapi` sends `{"detail": ...}`, as FastAPI does, to clients \
that do not ask for `application/problem+json`."""
    base: Annotated[str, AfterValidator(_base)] = ""
    """URI that a problem's `type` begins with (`https://example.com/problems/` + `not-found`); \
empty leaves it `about:blank`."""
    openapi: bool = True
    """Describe problems in FastAPI's OpenAPI document."""

    def body(
        self, scope: Scope, status: int, detail: str | None = None, old: Any = None, **members: Any
    ) -> tuple[bytes, list[Header]]:
        """An error's body, and the headers that describe it, for the client of ``scope``.

        ``old`` is FastAPI's ``detail`` where it is not ``detail`` itself.
        """
        if self.shape == "fastapi" and not _asks(scope):
            said = old if old is not None else (detail or title_of(status))
            kind, body = b"application/json", _json({"detail": said})
        else:
            said = {"request_id": identifier(scope), "base": self.base}
            kind, body = MEDIA_TYPE, problem(status, detail, **said, **members)
        headers = [(b"content-type", kind)]
        if self.shape == "fastapi":
            headers.append((b"vary", b"Accept"))
        return body, headers

    def act(self, around: Surroundings) -> Act:
        def refuse(exchange: Exchange, refusal: Refusal) -> Answer:
            body, described = self.body(exchange.scope, refusal.status, refusal.detail)
            headers = [described[0], *refusal.headers]
            if len(described) > 1:
                vary(headers, b"Accept")
            return Answer(refusal.status, tuple(headers), body)

        async def failed(exchange: Exchange, send: Send) -> None:
            body, headers = self.body(exchange.scope, 500)
            headers.append((b"content-length", b"%d" % len(body)))
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            head = exchange.scope["method"] == "HEAD"
            await send({"type": "http.response.body", "body": b"" if head else body})

        return Act(refuse=refuse, failed=failed)

    def prove(self, site: Site) -> Iterator[Finding]:
        accept = "*/*" if self.shape == "problem" else MEDIA_TYPE.decode()
        reply = site.ask("GET", "/seawall-probe-no-such-page", [("Accept", accept)])
        kind = (reply.get("content-type") or "").split(";")[0]
        if reply.status == 404 and kind != MEDIA_TYPE.decode():
            yield self.SHAPE(f"a 404 is {kind or 'of no type'}, not {MEDIA_TYPE.decode()}")
        if _LEAK.search(reply.body):
            yield self.LEAK(f"a {reply.status} shows a traceback")


def _asks(scope: Scope) -> bool:
    """Whether the client names the media type (RFC 9110, section 12.5.1)."""
    for member in fields(value for name, value in scope["headers"] if name == b"accept"):
        kind, *parameters = (part.strip().lower() for part in member.split(b";"))
        if kind == MEDIA_TYPE:
            refused = any(re.fullmatch(rb"q=0(\.0*)?", one) for one in parameters)
            return not refused
    return False


def identifier(scope: Any) -> str:
    """The request's id, when the request_id policy gave it one."""
    return str(scope.get("seawall.request_id", ""))
