"""Smaller bodies: zstd, br or gzip, for clients that take one (RFC 9110, section 8.4).

Guarantees: the client's ``q`` values decide, ``gzip;q=0`` is a no; bodies that are small,
already encoded, partial or an event stream are left alone; a streamed body is flushed chunk
by chunk, so nothing waits; a strong ETag becomes weak, since the bytes are no longer the
same.
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from seawall.errors import Hinted
from seawall.findings import Finding, Level, Rule
from seawall.policies.codings import ENCODERS, NAMES, Encoder, choose
from seawall.policies.exchange import (
    ASGIApp,
    Header,
    Message,
    Receive,
    Scope,
    Send,
    drop,
    vary,
)
from seawall.policies.policy import Act, Audit, Draft, Policy, Site, Surroundings
from seawall.section import Strings

# Compressing these again costs time and gains nothing; event streams must not wait.
_EXCLUDED = (
    "application/grpc",
    "application/gzip",
    "application/x-7z-compressed",
    "application/x-gzip",
    "application/zip",
    "application/zstd",
    "audio/*",
    "font/woff",
    "font/woff2",
    "image/avif",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "text/event-stream",
    "video/*",
)


def _media_types(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(value.partition(";")[0].strip().lower() for value in values)


def _encodings(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if value not in NAMES:
            raise Hinted(f"{value!r} is not a coding to offer", f"known: {', '.join(NAMES)}")
    return tuple(dict.fromkeys(values))


# After these no body comes that could be compressed.
_INSTEAD_OF_A_BODY = (
    "http.response.pathsend",
    "http.response.zerocopysend",
    "http.response.trailers",
)


class Compression(Policy):
    """Compresses response bodies."""

    name: ClassVar[str] = "compression"
    REFUSED: ClassVar[Rule] = Rule(
        "compression.refused",
        Level.ERROR,
        "A client that says q=0 cannot read the coding, or has a reason not to.",
        "let one part alone compress",
    )
    VARY: ClassVar[Rule] = Rule(
        "compression.vary",
        Level.WARNING,
        "Without Vary: Accept-Encoding a cache hands gzip to a client that cannot read it.",
        "see that the proxy keeps the Vary header",
    )

    ABSENT: ClassVar[Rule] = Rule(
        "compression.absent",
        Level.NOTE,
        "A coding whose library is not installed is not offered.",
        "pip install 'seawall[br,zstd]', or leave it out of compression.encodings",
    )

    enabled: bool = False
    """Whether the policy is on."""
    encodings: Annotated[Strings, AfterValidator(_encodings)] = NAMES
    """Content codings to offer, those that are installed, best first."""
    minimum_size: int = Field(default=500, ge=0)
    """Bodies of fewer bytes are sent as they are, if their size is known."""
    compresslevel: int = Field(default=6, ge=1, le=9)
    """gzip: from 1 (fast) to 9 (small)."""
    br_level: int = Field(default=4, ge=0, le=11)
    """br: from 0 (fast) to 11 (small, and far too slow for bodies made on the spot)."""
    zstd_level: int = Field(default=3, ge=1, le=19)
    """zstd: from 1 (fast) to 19 (small)."""
    thread_minimum_size: int = Field(default=128 * 1024, ge=0)
    """Parts of so many bytes are compressed in a thread, so that other requests go on."""
    exclude_content_types: Annotated[Strings, AfterValidator(_media_types)] = _EXCLUDED
    """Media types left as they are; `video/*` is all of a kind."""

    def act(self, around: Surroundings) -> Act:
        excluded = frozenset(value.encode() for value in self.exclude_content_types)
        levels = {"gzip": self.compresslevel, "br": self.br_level, "zstd": self.zstd_level}
        makers = {
            name.encode(): partial(ENCODERS[name], levels[name])
            for name in self.encodings
            if name in ENCODERS
        }

        def wrap(app: ASGIApp) -> ASGIApp:
            async def compressed(scope: Scope, receive: Receive, send: Send) -> None:
                if scope["type"] != "http":
                    await app(scope, receive, send)
                    return
                taken = b"identity"
                if scope["method"] != "HEAD":
                    values = [v for k, v in scope["headers"] if k == b"accept-encoding"]
                    taken = choose(values, makers)
                body = _Body(self, excluded, send, taken, makers.get(taken))
                await app(scope, receive, body.send)
                await body.release()

            return compressed

        return Act(wrap=wrap)

    def render(self, draft: Draft) -> None:
        if draft.target == "nginx":
            draft.say(
                "proxy",
                "gzip off;",
                why="The app compresses what it answers, and knows what must not be.",
            )

    def audit(self, audit: Audit) -> Iterator[Finding]:
        if self.enabled:
            for name in self.encodings:
                if name not in ENCODERS:
                    source = audit.origin("compression.encodings")
                    yield self.ABSENT(f"{name} is not offered: no library for it", source=source)

    def prove(self, site: Site) -> Iterator[Finding]:
        if not self.enabled:
            return
        for name in self.encodings:
            reply = site.ask("GET", "/", [("Accept-Encoding", f"{name};q=0")])
            if reply.get("content-encoding") == name:
                yield self.REFUSED(f"GET / with Accept-Encoding: {name};q=0 answers in {name}")
            reply = site.ask("GET", "/", [("Accept-Encoding", name)])
            encoded = reply.get("content-encoding") == name
            if encoded and "accept-encoding" not in (reply.get("vary") or "").lower():
                yield self.VARY(f"GET / is compressed ({name}) without Vary: Accept-Encoding")


class _Body:
    """One response on its way out: holds the start until the first body message."""

    __slots__ = ("coding", "encode", "excluded", "make", "policy", "sending", "start")

    def __init__(
        self,
        policy: Compression,
        excluded: frozenset[bytes],
        send: Send,
        coding: bytes,
        make: Callable[[], Encoder] | None,
    ) -> None:
        self.policy = policy
        self.excluded = excluded
        self.sending = send
        self.coding = coding
        self.make = make
        self.start: Message | None = None
        self.encode: Encoder | None = None

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start" and self._compressible(message):
            self.start = message
        elif kind == "http.response.body" and self.start is not None:
            await self._first(self.start, message)
        elif kind == "http.response.body" and self.encode is not None:
            await self.sending({**message, "body": await self._squeeze(self.encode, message)})
        else:
            if kind in _INSTEAD_OF_A_BODY:
                await self.release()
            await self.sending(message)

    async def release(self) -> None:
        """Sends the start that was held back for a body that did not come."""
        start, self.start = self.start, None
        if start is not None:
            await self.sending(start)

    def _compressible(self, start: Message) -> bool:
        sent = dict(start.get("headers", ()))
        if start["status"] in (204, 206, 304) or b"content-encoding" in sent:
            return False
        if b"no-transform" in sent.get(b"cache-control", b"").lower():
            return False
        media_type = sent.get(b"content-type", b"").partition(b";")[0].strip().lower()
        family = media_type.partition(b"/")[0] + b"/*"
        grpc = media_type.startswith(b"application/grpc+") and b"application/grpc" in self.excluded
        return not (grpc or media_type in self.excluded or family in self.excluded)

    async def _first(self, start: Message, message: Message) -> None:
        self.start = None
        more = message.get("more_body", False)
        if more or len(message.get("body", b"")) >= self.policy.minimum_size:
            headers: list[Header] = list(start.get("headers", ()))
            sent = dict(headers)
            vary(headers, b"Accept-Encoding")
            if self.make is not None:
                self.encode = self.make()
                self._relabel(headers, sent)
                body = await self._squeeze(self.encode, message)
                message = {**message, "body": body}
                # A length and trailers exclude each other in HTTP/1.1 (RFC 9112, section 6).
                if not more and not start.get("trailers"):
                    headers.append((b"content-length", b"%d" % len(message["body"])))
            start = {**start, "headers": headers}
        await self.sending(start)
        await self.sending(message)

    def _relabel(self, headers: list[Header], sent: dict[bytes, bytes]) -> None:
        drop(headers, b"content-length")
        headers.append((b"content-encoding", self.coding))
        etag = sent.get(b"etag")
        if etag is not None and not etag.startswith(b"W/"):
            drop(headers, b"etag")
            headers.append((b"etag", b"W/" + etag))

    async def _squeeze(self, encode: Encoder, message: Message) -> bytes:
        body = message.get("body", b"")
        # A flush per chunk: what the app sent is on its way before it thinks again.
        last = not message.get("more_body", False)
        if len(body) < self.policy.thread_minimum_size:
            return encode(body, last)
        return await asyncio.to_thread(encode, body, last)
