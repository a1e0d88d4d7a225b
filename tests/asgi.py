"""Calls an ASGI app with exact messages, and shows exactly what it sent."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Headers = Iterable[tuple[str, str]]
App = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass
class Seen:
    """What came back."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def start(self) -> dict[str, Any]:
        return next(m for m in self.messages if m["type"].endswith("response.start"))

    @property
    def status(self) -> int:
        return int(self.start["status"])

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [(k.decode("latin-1"), v.decode("latin-1")) for k, v in self.start["headers"]]

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.messages if m["type"].endswith(".body"))

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name: str) -> str | None:
        values = self.all(name)
        return ", ".join(values) if values else None


def http(
    method: str = "GET",
    path: str = "/",
    headers: Headers = (("host", "example.com"),),
    **more: Any,
) -> dict[str, Any]:
    """An ASGI HTTP scope as a server makes it; ``more`` overrides any key."""
    raw, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": raw,
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in headers],
        "client": ("203.0.113.7", 50000),
        "server": ("192.0.2.1", 8000),
        "extensions": {},
    } | more


def websocket(headers: Headers = (("host", "example.com"),), **more: Any) -> dict[str, Any]:
    scope = http(headers=headers, **({"type": "websocket", "scheme": "ws"} | more))
    del scope["method"]
    return scope


async def call(app: App, scope: dict[str, Any], receive: Iterable[dict[str, Any]] = ()) -> Seen:
    """Runs the app on one scope; an exception it raises is kept in ``error``."""
    seen = Seen()
    first = {"type": "websocket.connect"}
    if scope["type"] == "http":
        first = {"type": "http.request", "body": b"", "more_body": False}  # type: ignore[dict-item]
    incoming = iter([*receive] or [first])

    async def receiver() -> dict[str, Any]:
        return next(incoming, {"type": "http.disconnect"})

    async def sender(message: dict[str, Any]) -> None:
        seen.messages.append(message)

    try:
        await app(scope, receiver, sender)
    except Exception as error:
        seen.error = error
    return seen


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """The smallest app: 200, ``hello``; it accepts every websocket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})
