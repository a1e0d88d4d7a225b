"""One request on its way through the edge, and the answers a policy may give instead of the app.

ASGI 3.0: header names are lower-case bytes, values are bytes, and the order and
repetition of headers is kept.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

Header = tuple[bytes, bytes]


class Exchange(dict[bytes, bytes]):
    """One request: a mapping of its header names to their *last* values, and what goes with it.

    Being a dict, it is made and asked at the speed of C, which is most of what a request
    costs here; for the same reason the edge sets the other fields, and there is no __init__.
    """

    __slots__ = ("began", "counted", "scope")

    scope: Scope
    began: float
    """When it arrived, on :func:`time.perf_counter`'s clock, in seconds."""
    counted: tuple[int, str | bytes] | None
    """The rate_limit policy's: under which of its rules the request counts, and as whose. Not
    in the scope, which a mounted app with an edge of its own shares."""

    def values_of(self, name: bytes) -> list[bytes]:
        """Every value of a header, in order of arrival."""
        return [value for key, value in self.scope["headers"] if key == name]

    def refresh(self) -> None:
        """Reads the headers again, after a policy rewrote ``scope["headers"]``."""
        self.clear()
        self.update(self.scope["headers"])


@dataclass(slots=True)
class Outcome:
    """How an exchange ended: what a policy's ``finish`` hook is told, once.

    Not frozen, because a frozen one takes twice as long to make.
    """

    status: int
    """Of the response that was begun; 0 when none was."""
    size: int | None
    """Bytes of the body as handed to the server; ``None`` when the server sends a file itself."""
    first: float | None
    """Seconds from arrival until the response began; ``None`` when it never did."""
    seconds: float
    """Seconds from arrival until the last byte of the body, or until it was clear that it
    would not come."""
    complete: bool
    """Whether the last byte was handed to the server."""
    error: str
    """Class name of the exception that ended it before the last byte; ``""`` for none. An app
    that ended without completing, as it may when the client left, raised none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response: ``status``, ``headers`` (lower-case names), ``body`` (bytes)."""

    status: int
    headers: tuple[Header, ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A response that says no: the problems policy gives it its body (RFC 9457)."""

    status: int
    detail: str
    headers: tuple[Header, ...] = ()


def text(answer: Refusal) -> Answer:
    """A refusal as plain text, for when the problems policy is off."""
    return Answer(
        answer.status,
        ((b"content-type", b"text/plain; charset=utf-8"), *answer.headers),
        answer.detail.encode(),
    )


def drop(headers: list[Header], name: bytes) -> None:
    """Removes every header of that name, in place."""
    headers[:] = [header for header in headers if header[0] != name]


def put(headers: list[Header], sent: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    """Sets a header in place, replacing what the app itself sent under that name."""
    if name in sent:
        drop(headers, name)
    headers.append((name, value))


def vary(headers: list[Header], name: bytes) -> None:
    """Adds a field name to ``Vary`` in place: one header, each name once, ``*`` kept alone."""
    said = fields(value for key, value in headers if key == b"vary")
    known = {field.lower() for field in said}
    if b"*" in known:
        said = [b"*"]
    elif name.lower() not in known:
        said.append(name)
    drop(headers, b"vary")
    headers.append((b"vary", b", ".join(said)))


def fields(values: Iterable[bytes]) -> list[bytes]:
    """The members of a comma-separated list header, over all its lines (RFC 9110, 5.6.1)."""
    return [part for value in values for part in map(bytes.strip, value.split(b",")) if part]
