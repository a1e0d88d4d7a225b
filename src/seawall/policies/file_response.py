"""A file as a response (RFC 9110, sections 8, 13 and 14)."""

import asyncio

from seawall.policies.conditions import Unsatisfiable, precondition, requested
from seawall.policies.exchange import Answer, Exchange, Header, Refusal, Scope, Send
from seawall.policies.files import Opened
from seawall.policies.media_types import media_type

_PIECE = 256 * 1024


def described(
    exchange: Exchange, file: Opened, path: str, kept: bytes, *, varies: bool
) -> tuple[int, list[Header], int, int] | Refusal:
    """What to send of an open file for a request: status, headers, first byte and the byte after
    the last; or why not.

    ``path`` names the file without a coding's suffix, ``kept`` is its Cache-Control;
    ``varies`` says whether siblings are offered at all.
    """
    method = exchange.scope["method"]
    if method not in ("GET", "HEAD"):
        return Refusal(405, "Files are GET or HEAD", ((b"allow", b"GET, HEAD"),))
    about: list[Header] = [
        (b"etag", file.etag),
        (b"last-modified", file.last_modified),
        (b"cache-control", kept),
    ]
    if varies and file.varies:
        about.append((b"vary", b"Accept-Encoding"))
    status = precondition(exchange, file.etag, file.modified)
    if status == 412:
        return Refusal(412, "The file is another by now")
    if status == 304:
        return 304, about, 0, 0
    first, end, status = 0, file.size, 200
    # Compressed siblings go out whole, as from nginx.
    if method == "GET" and not file.coding:
        try:
            part = requested(exchange, file.etag, file.modified, file.size)
        except Unsatisfiable:
            return Refusal(416, "No such range", ((b"content-range", b"bytes */%d" % file.size),))
        if part is not None:
            (first, end), status = part, 206
            about.append((b"content-range", b"bytes %d-%d/%d" % (first, end - 1, file.size)))
    if status == 200 and not file.coding:
        about.append((b"accept-ranges", b"bytes"))
    if file.coding:
        about.append((b"content-encoding", file.coding.encode("ascii")))
    about.append((b"content-type", media_type(path).encode("ascii")))
    about.append((b"content-length", b"%d" % (end - first)))
    return status, about, first, end


async def send_file(
    status: int, headers: list[Header], first: int, end: int, file: Opened, scope: Scope, send: Send
) -> None:
    """Sends the bytes from ``first`` to ``end``, or hands the server the path to do so."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    whole = status == 200 and scope["method"] == "GET"
    if whole and "http.response.pathsend" in (scope.get("extensions") or {}):
        await send({"type": "http.response.pathsend", "path": file.path})
        return
    if scope["method"] == "HEAD":
        end = first
    while first < end:
        piece = await asyncio.to_thread(file.read, min(_PIECE, end - first), first)
        if not piece:
            raise OSError(f"{file.path} became shorter while it was sent")
        first += len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": first < end})
        if first >= end:
            return
    await send({"type": "http.response.body", "body": b""})


async def send_answer(answer: Answer, scope: Scope, send: Send) -> None:
    """Sends a whole answer."""
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body})
