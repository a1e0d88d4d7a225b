"""How large a request body may be: 413 before it is read, or as soon as it is too much.

Guarantees: a Content-Length over the limit is refused before a byte of the body is read
(RFC 9110, section 15.5.14); a body without one is counted as it streams, and the app never
gets more than the limit. To the app, a body that is too large looks like a client that left:
``receive`` says ``http.disconnect``, which frameworks have long known how to handle. What the
app then makes of that, an answer or an exception, is dropped, for the client has its 413.
If the app had begun to answer already, the answer is cut off.

The rest of such a body is the server's to read and throw away, as with any request that an
app did not read; so the client gets to see the answer, and the connection stays usable.
"""

import re
from collections.abc import Awaitable, Iterator
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from seawall.errors import Hinted, ProbeError
from seawall.findings import Finding, Level, Rule
from seawall.policies.exchange import ASGIApp, Exchange, Message, Receive, Refusal, Scope, Send
from seawall.policies.policy import Act, Audit, Draft, Policy, Refuse, Site, Surroundings
from seawall.policies.prefix import Prefix, by_path, longest
from seawall.policies.refusing import refuse

_MARK = "seawall.body_limit"
"""Where the scope tells the wrapper how large a request's body may be, if it has one."""

_SIZE = re.compile(r"(\d+) ?([kMG]i?)?B?", re.ASCII)
# IEC 80000-13: kB is a thousand bytes, KiB 1024.
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def _bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip().replace("K", "k"))
    if match is None:
        raise Hinted(f"{value!r} is not a size", "write bytes, or '500kB', '10MB', '2GiB'")
    return int(match[1]) * _UNITS[match[2] or ""]


Size = Annotated[int, BeforeValidator(_bytes), Field(ge=0)]
"""Bytes; text may have a unit: kB, MB, GB are thousands, KiB, MiB, GiB powers of 1024."""


class BodyLimit(Policy):
    """Limits how large a request body may be."""

    name: ClassVar[str] = "body_limit"
    OFF: ClassVar[Rule] = Rule(
        "body_limit.off",
        Level.WARNING,
        "Frameworks read a whole JSON body into memory: one request can take all there is.",
        "set body_limit.max = '10MB', and more where files are sent (body_limit.paths)",
    )
    OPEN: ClassVar[Rule] = Rule(
        "body_limit.open",
        Level.ERROR,
        "The site begins to take a body that its settings call too large.",
        "see that the proxy passes Content-Length, and that requests reach the app",
    )

    max: Size = 10 * 2**20
    """The largest body, in bytes or like `10MB`; larger ones get 413; 0 is no limit."""
    paths: dict[Prefix, Size] = Field(default_factory=dict)
    """Path prefix to the largest body there; the longest prefix wins."""

    def act(self, around: Surroundings) -> Act:
        limit_of = by_path(self.paths, self.max)

        def request(exchange: Exchange) -> Refusal | None:
            length = exchange.get(b"content-length")
            scope = exchange.scope
            if length is None:
                # In HTTP/1 a body has a length or is chunked (RFC 9112, section 6.3); in
                # HTTP/2 and 3 it may come without a word.
                if b"transfer-encoding" not in exchange and scope["http_version"][:1] == "1":
                    return None
            elif length == b"0":
                return None
            limit = limit_of(scope)
            if not limit:
                return None
            if length is not None and length.isdigit() and _over(length, limit):
                return too_large(limit)
            # Counted even where it has a length: not every server holds a client to it.
            scope[_MARK] = limit
            return None

        def wrap(app: ASGIApp) -> ASGIApp:
            def limited(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
                limit = scope.pop(_MARK, None)
                if limit is None:
                    return app(scope, receive, send)
                return _Counted(scope, receive, send, limit, around.refuse).run(app)

            return limited

        return Act(http=request, wrap=wrap)

    def render(self, draft: Draft) -> None:
        if draft.target != "nginx" or not self.enabled:
            return
        draft.say(
            "body",
            f"client_max_body_size {_nginx(self.max)};",
            why="Larger bodies get 413 before the app sees a byte of them.",
        )
        for prefix, size in self.paths.items():
            draft.say(f"location {prefix}", f"client_max_body_size {_nginx(size)};")

    def audit(self, audit: Audit) -> Iterator[Finding]:
        if not self.enabled or not self.max:
            key = "body_limit.max" if self.enabled else "body_limit.enabled"
            yield self.OFF("bodies of any size are taken", source=audit.origin(key))

    def prove(self, site: Site) -> Iterator[Finding]:
        path = "/seawall-probe-no-such-page"
        limit = longest(self.paths, self.max)(path)
        if not limit:
            return
        try:
            reply = site.ask("POST", path, [("Content-Length", str(limit + 1))])
        except ProbeError:
            yield self.OPEN(f"POST {path} waits for a body of {limit + 1} bytes")
            return
        if reply.status not in (0, 413):
            yield self.OPEN(f"POST {path} with {limit + 1} bytes answers {reply.status}, not 413")


def _over(length: bytes, limit: int) -> bool:
    """Whether it is more, whatever a stranger wrote: reading long numbers takes long."""
    return len(length) > 20 or int(length) > limit


def too_large(limit: int) -> Refusal:
    """The answer to a body that is larger than ``limit`` bytes."""
    return Refusal(413, f"The body is larger than {limit} bytes")


class _Counted:
    """One request whose body is counted as the app reads it."""

    __slots__ = ("left", "limit", "look", "over", "receiving", "scope", "sending", "started")

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, limit: int, look: Refuse
    ) -> None:
        self.scope, self.receiving, self.sending = scope, receive, send
        self.limit = self.left = limit
        self.look = look
        self.started = self.over = False

    async def run(self, app: ASGIApp) -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            # The app heard that the client had left; what it says to that says nothing.
            if not self.over:
                raise

    async def receive(self) -> Message:
        if self.over:
            return {"type": "http.disconnect"}
        message = await self.receiving()
        if message["type"] != "http.request":
            return message
        self.left -= len(message.get("body", b""))
        if self.left >= 0:
            return message
        self.over = True
        if not self.started:
            refusal = too_large(self.limit)
            await refuse(self.scope, self.receiving, self.sending, refusal, self.look)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if not self.over:
            self.started = self.started or message["type"] == "http.response.start"
            await self.sending(message)


def _nginx(size: int) -> str:
    for unit, letter in ((2**30, "g"), (2**20, "m"), (2**10, "k")):
        if size and size % unit == 0:
            return f"{size // unit}{letter}"
    return str(size)
