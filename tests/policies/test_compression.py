import gzip
import zlib
from typing import Any

import pytest

from seawall import Edge
from seawall.policies import Compression
from seawall.policies.compression import accepts
from tests.asgi import Seen, call, http

BODY = b"sea wall " * 200


def edge(*parts: bytes, status: int = 200, **headers: str) -> Edge:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raw = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        for index, part in enumerate(parts):
            more = index + 1 < len(parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})

    return Edge(app, [Compression(enabled=True)])


async def ask(app: Edge, encoding: str | None = "gzip", method: str = "GET") -> Seen:
    headers = [("host", "example.com")]
    headers += [("accept-encoding", encoding)] if encoding is not None else []
    return await call(app, http(method, headers=headers))


async def test_a_body_is_compressed_and_says_so() -> None:
    seen = await ask(edge(BODY, content_length=str(len(BODY)), etag='"x"'))
    assert gzip.decompress(seen.body) == BODY
    assert seen.get("content-encoding") == "gzip"
    assert seen.all("content-length") == [str(len(seen.body))]
    assert seen.get("vary") == "Accept-Encoding"
    assert seen.get("etag") == 'W/"x"'


@pytest.mark.parametrize(
    ("header", "takes"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("br, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("br", False),
        ("gzipped", False),
        ("gzip;q=nan", False),
        ("gzip;q=x", False),
        ("", False),
    ],
)
async def test_quality_values_count(header: str, takes: bool) -> None:
    assert accepts(header.encode(), b"gzip") is takes
    seen = await ask(edge(BODY), header)
    assert (seen.get("content-encoding") == "gzip") is takes
    assert seen.get("vary") == "Accept-Encoding"


async def test_without_accept_encoding_the_body_is_as_it_was() -> None:
    seen = await ask(edge(BODY, content_length=str(len(BODY))), None)
    assert seen.body == BODY
    assert seen.get("content-length") == str(len(BODY))


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"content_encoding": "br"}),
        (200, {"content_type": "text/event-stream"}),
        (200, {"content_type": "image/png"}),
        (200, {"cache_control": "no-transform"}),
        (206, {"content_range": "bytes 0-9/100"}),
        (304, {}),
    ],
)
async def test_what_must_be_left_alone(status: int, headers: dict[str, str]) -> None:
    seen = await ask(edge(BODY, status=status, **headers))
    assert seen.body == BODY
    assert seen.get("content-encoding") == headers.get("content_encoding")


async def test_small_bodies_are_left_alone() -> None:
    seen = await ask(edge(b"small"))
    assert seen.body == b"small"
    assert seen.get("vary") is None


async def test_head_keeps_its_headers() -> None:
    seen = await ask(edge(BODY, content_length=str(len(BODY))), method="HEAD")
    assert seen.get("content-encoding") is None
    assert seen.get("content-length") == str(len(BODY))


async def test_each_streamed_chunk_can_be_read_when_it_arrives() -> None:
    seen = await ask(edge(b"one", b"two", b""))
    reader = zlib.decompressobj(31)
    bodies = [m["body"] for m in seen.messages if m["type"] == "http.response.body"]
    assert [reader.decompress(body) for body in bodies] == [b"one", b"two", b""]
    assert reader.eof
    assert seen.get("content-length") is None


async def test_trailers_and_files_pass_untouched() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.pathsend", "path": "/etc/hostname"})
        await send({"type": "http.response.trailers", "headers": []})

    seen = await ask(Edge(app, [Compression(enabled=True)]))
    kinds = [message["type"] for message in seen.messages]
    assert kinds == ["http.response.start", "http.response.pathsend", "http.response.trailers"]
    assert seen.start["trailers"] is True
