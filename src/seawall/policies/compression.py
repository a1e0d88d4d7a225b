"""Smaller bodies: gzip for clients that take it (RFC 9110, section 8.4).

Guarantees: ``gzip;q=0`` is a no; bodies that are small, already encoded, partial or an
event stream are left alone; a streamed body is flushed chunk by chunk, so nothing waits;
a strong ETag becomes weak, since the bytes are no longer the same.
"""

import asyncio
import zlib
from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from seawall.findings import Finding, Level, Rule
from seawall.policies.exchange import (
    ASGIApp,
    Header,
    Message,
    Receive,
    Scope,
    Send,
    drop,
    fields,
    vary,
)
from seawall.policies.policy import Act, Policy, Site, Surroundings
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


# After these no body comes that could be compressed.
_INSTEAD_OF_A_BODY = (
    "http.response.pathsend",
    "http.response.zerocopysend",
    "http.response.trailers",
)


def accepts(header: bytes, coding: bytes) -> bool:
    """Whether an Accept-Encoding value takes a content coding (RFC 9110, section 12.5.3)."""
    wild = False
    for member in fields([header]):
        name, *parameters = (part.strip().lower() for part in member.split(b";"))
        quality = next((p[2:].strip() for p in parameters if p.startswith(b"q=")), b"1")
        try:
            wanted = float(quality) > 0
        except ValueError:
            wanted = False
        if name in (coding, b"x-" + coding):
            return wanted
        if name == b"*":
            wild = wanted
    return wild


class Compression(Policy):
    """Compresses response bodies."""

    name: ClassVar[str] = "compression"
    REFUSED: ClassVar[Rule] = Rule(
        "compression.refused",
        Level.ERROR,
        "A client that says gzip;q=0 cannot read gzip.",
        "let one part alone compress",
    )
    VARY: ClassVar[Rule] = Rule(
        "compression.vary",
        Level.WARNING,
        "Without Vary: Accept-Encoding a cache hands gzip to a client that cannot read it.",
        "see that the proxy keeps the Vary header",
    )

    enabled: bool = False
    """Whether the policy is on."""
    minimum_size: int = Field(default=500, ge=0)
    """Bodies of fewer bytes are sent as they are, if their size is known."""
    compresslevel: int = Field(default=6, ge=1, le=9)
    """From 1 (fast) to 9 (small)."""

    thread_minimum_size: int = Field(default=128 * 1024, ge=0)
    """Parts of so many bytes are compressed in a thread, so that other requests go on."""
    exclude_content_types: Annotated[Strings, AfterValidator(_media_types)] = _EXCLUDED
    """Media types left as they are; `video/*` is all of a kind."""

    def act(self, around: Surroundings) -> Act:
        excluded = frozenset(value.encode() for value in self.exclude_content_types)

        def wrap(app: ASGIApp) -> ASGIApp:
            async def compressed(scope: Scope, receive: Receive, send: Send) -> None:
                if scope["type"] != "http":
                    await app(scope, receive, send)
                    return
                values = [v for k, v in scope["headers"] if k == b"accept-encoding"]
                takes = accepts(b",".join(values), b"gzip") and scope.get("method") != "HEAD"
                body = _Body(self, excluded, send, takes)
                await app(scope, receive, body.send)
                await body.release()

            return compressed

        return Act(wrap=wrap)

    def prove(self, site: Site) -> Iterator[Finding]:
        if not self.enabled:
            return
        reply = site.ask("GET", "/", [("Accept-Encoding", "gzip;q=0")])
        if reply.get("content-encoding") == "gzip":
            yield self.REFUSED("GET / with Accept-Encoding: gzip;q=0 answers in gzip")
        reply = site.ask("GET", "/", [("Accept-Encoding", "gzip")])
        encoded = reply.get("content-encoding") == "gzip"
        if encoded and "accept-encoding" not in (reply.get("vary") or "").lower():
            yield self.VARY("GET / is compressed without Vary: Accept-Encoding")


class _Body:
    """One response on its way out: holds the start until the first body message."""

    __slots__ = ("deflate", "excluded", "policy", "sending", "start", "takes")

    def __init__(
        self, policy: Compression, excluded: frozenset[bytes], send: Send, takes: bool
    ) -> None:
        self.policy = policy
        self.excluded = excluded
        self.sending = send
        self.takes = takes
        self.start: Message | None = None
        self.deflate: zlib._Compress | None = None

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start" and self._compressible(message):
            self.start = message
        elif kind == "http.response.body" and self.start is not None:
            await self._first(self.start, message)
        elif kind == "http.response.body" and self.deflate is not None:
            await self.sending({**message, "body": await self._squeeze(self.deflate, message)})
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
            if self.takes:
                message = {**message, "body": await self._begin(headers, sent, message)}
                # A length and trailers exclude each other in HTTP/1.1 (RFC 9112, section 6).
                if not more and not start.get("trailers"):
                    headers.append((b"content-length", b"%d" % len(message["body"])))
            start = {**start, "headers": headers}
        await self.sending(start)
        await self.sending(message)

    async def _begin(
        self, headers: list[Header], sent: dict[bytes, bytes], message: Message
    ) -> bytes:
        drop(headers, b"content-length")
        headers.append((b"content-encoding", b"gzip"))
        etag = sent.get(b"etag")
        if etag is not None and not etag.startswith(b"W/"):
            drop(headers, b"etag")
            headers.append((b"etag", b"W/" + etag))
        # 31 = the largest window, with a gzip header and trailer (zlib's manual).
        self.deflate = zlib.compressobj(self.policy.compresslevel, zlib.DEFLATED, 31)
        return await self._squeeze(self.deflate, message)

    async def _squeeze(self, deflate: "zlib._Compress", message: Message) -> bytes:
        body = message.get("body", b"")
        # A flush per chunk: what the app sent is on its way before it thinks again.
        flush = zlib.Z_SYNC_FLUSH if message.get("more_body", False) else zlib.Z_FINISH

        def squeeze() -> bytes:
            return deflate.compress(body) + deflate.flush(flush)

        if len(body) < self.policy.thread_minimum_size:
            return squeeze()
        return await asyncio.to_thread(squeeze)
