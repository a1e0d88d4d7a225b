import gzip
import sys
import zlib
from collections.abc import Callable
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from pydantic import ValidationError

from seawall import Edge
from seawall.middleware import GZipMiddleware
from seawall.policies import Compression, codings
from seawall.policies.codings import choose
from seawall.policies.policy import Audit
from tests.asgi import App, Seen, call, http

BODY = b"sea wall " * 200


def edge(*parts: bytes, status: int = 200, **headers: str) -> Edge:
    return Edge(app_of(*parts, status=status, **headers), [Compression(enabled=True)])


def app_of(*parts: bytes, status: int = 200, **headers: str) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raw = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        for index, part in enumerate(parts):
            more = index + 1 < len(parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})

    return app


async def ask(app: App, encoding: str | None = "gzip", method: str = "GET") -> Seen:
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
        ("br;q=0, zstd;q=0, gzip;q=0.5", True),
        ("*, br;q=0, zstd;q=0", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("deflate", False),
        ("gzipped", False),
        ("gzip;q=nan", False),
        ("gzip;q=x", False),
        ("", False),
    ],
)
async def test_quality_values_count(header: str, takes: bool) -> None:
    assert (choose([header.encode()], [b"gzip"]) == b"gzip") is takes
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


DECODERS: dict[str, Callable[[], Callable[[bytes], bytes]]] = {
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj().decompress,
    "br": lambda: brotli.Decompressor().process,
    "gzip": lambda: zlib.decompressobj(31).decompress,
}


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("gzip, br, zstd", "zstd"),
        ("gzip, br", "br"),
        ("zstd;q=0.8, br;q=0.9, gzip;q=0.7", "br"),
        ("gzip, br;q=0.9", "gzip"),
        ("*", "zstd"),
        ("*;q=0.5, gzip", "gzip"),
        ("*, zstd;q=0", "br"),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip", "gzip"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("identity;q=0", None),
        ("*;q=0", None),
        ("br;q=1.5, gzip;q=-1", None),
    ],
)
async def test_the_best_that_both_know_is_chosen(header: str, coding: str | None) -> None:
    seen = await ask(edge(BODY), header)
    assert seen.status == 200
    assert seen.get("content-encoding") == coding
    assert seen.get("vary") == "Accept-Encoding"
    body = DECODERS[coding]()(seen.body) if coding else seen.body
    assert body == BODY


@pytest.mark.parametrize("coding", DECODERS)
async def test_each_coding_flushes_chunk_by_chunk(coding: str) -> None:
    seen = await ask(edge(b"one", b"two", b"", b"three", b""), coding)
    read = DECODERS[coding]()
    bodies = [m["body"] for m in seen.messages if m["type"] == "http.response.body"]
    assert [read(body) for body in bodies] == [b"one", b"two", b"", b"three", b""]
    assert seen.get("content-encoding") == coding


@pytest.mark.parametrize("coding", DECODERS)
async def test_large_parts_go_through_a_thread(coding: str) -> None:
    large = bytes(range(256)) * 1024
    seen = await ask(edge(large, large), coding)
    assert DECODERS[coding]()(seen.body) == large + large


async def test_the_server_has_its_order() -> None:
    app = Edge(app_of(BODY), [Compression(enabled=True, encodings=("br", "zstd"))])
    assert (await ask(app, "zstd, br")).get("content-encoding") == "br"
    assert (await ask(app, "gzip")).get("content-encoding") is None
    with pytest.raises(ValidationError, match="not a coding"):
        Compression(encodings=("brotli",))


async def test_the_drop_in_class_knows_gzip_alone() -> None:
    seen = await ask(GZipMiddleware(app_of(BODY)), "zstd, br, gzip;q=0.1")
    assert seen.get("content-encoding") == "gzip"


async def test_what_is_not_installed_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("brotli", "compression.zstd", "backports.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("seawall.policies.compression.ENCODERS", codings._installed())
    assert (await ask(edge(BODY), "zstd, br, gzip")).get("content-encoding") == "gzip"
    found = list(Compression(enabled=True).audit(Audit(origin=lambda key: f"from {key}")))
    assert [one.message.split()[0] for one in found] == ["zstd", "br"]
    assert {one.id for one in found} == {"compression.absent"}


def test_either_library_writes_zstd() -> None:
    for encode in (codings.ENCODERS["zstd"](3), codings._zstandard(zstandard, 3)):
        read = zstandard.ZstdDecompressor().decompressobj().decompress
        assert [read(encode(b"one", False)), read(encode(b"two", True))] == [b"one", b"two"]
