"""Content codings: which one a client takes, and how to write each (RFC 9110, section 8.4).

gzip is always at hand; ``br`` (RFC 7932) and ``zstd`` (RFC 8878) when their library is.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import Any

from seawall.policies.exchange import fields

Encoder = Callable[[bytes, bool], bytes]
"""Takes the next bytes and whether they are the last; returns all that a reader needs to
have read the bytes given so far."""

NAMES = ("zstd", "br", "gzip")
"""Best first: zstd costs least for its size, br is smaller than gzip."""


def _gzip(level: int) -> Encoder:
    # 31 = the largest window, with a gzip header and trailer (zlib's manual).
    deflate = zlib.compressobj(level, zlib.DEFLATED, 31)

    def encode(data: bytes, last: bool) -> bytes:
        found = deflate.compress(data)
        return found + deflate.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)

    return encode


def _br(brotli: Any, level: int) -> Encoder:
    compressor = brotli.Compressor(quality=level)

    def encode(data: bytes, last: bool) -> bytes:
        found: bytes = compressor.process(data)
        found += compressor.finish() if last else compressor.flush()
        return found

    return encode


def _zstd(zstd: Any, level: int) -> Encoder:
    # Levels up to 19 keep to the window of 8 MB that RFC 9659 allows.
    compressor = zstd.ZstdCompressor(level=level)

    def encode(data: bytes, last: bool) -> bytes:
        found: bytes = compressor.compress(
            data, compressor.FLUSH_FRAME if last else compressor.FLUSH_BLOCK
        )
        return found

    return encode


def _zstandard(zstandard: Any, level: int) -> Encoder:
    compressor = zstandard.ZstdCompressor(level=level).compressobj()
    block, frame = zstandard.COMPRESSOBJ_FLUSH_BLOCK, zstandard.COMPRESSOBJ_FLUSH_FINISH

    def encode(data: bytes, last: bool) -> bytes:
        found: bytes = compressor.compress(data)
        found += compressor.flush(frame if last else block)
        return found

    return encode


_LIBRARIES = (
    ("br", "brotli", _br),
    # Python 3.14's own, the same for older Pythons, and the one that came before both.
    ("zstd", "compression.zstd", _zstd),
    ("zstd", "backports.zstd", _zstd),
    ("zstd", "zstandard", _zstandard),
)


def _installed() -> dict[str, Callable[[int], Encoder]]:
    found: dict[str, Callable[[int], Encoder]] = {"gzip": _gzip}
    for coding, module, make in _LIBRARIES:
        if coding not in found:
            try:
                found[coding] = partial(make, import_module(module))
            except ImportError:
                continue
    return found


ENCODERS: Mapping[str, Callable[[int], Encoder]] = MappingProxyType(_installed())
"""Coding to a maker of encoders (by level), for each whose library is installed."""


def choose(accept_encoding: Iterable[bytes], offered: Iterable[bytes]) -> bytes:
    """The coding of ``offered`` (best first) that a client likes best, or ``b"identity"``.

    RFC 9110, section 12.5.3. A client that refuses all, identity included, gets identity all
    the same: it can read the body or not, but a 406 it certainly cannot use.
    """
    said = dict(map(_weighed, fields(accept_encoding)))
    wild = said.get(b"*", 0.0)
    best, chosen = 0.0, b"identity"
    for coding in offered:
        quality = said.get(coding, said.get(b"x-" + coding, wild))
        if quality > best:
            best, chosen = quality, coding
    return b"identity" if said.get(b"identity", 0.0) > best else chosen


def _weighed(member: bytes) -> tuple[bytes, float]:
    """A coding and its quality; what cannot be read is a no."""
    name, *parameters = (part.strip().lower() for part in member.split(b";"))
    quality = next((p[2:].strip() for p in parameters if p.startswith(b"q=")), b"1")
    try:
        weight = float(quality)
    except ValueError:
        return name, 0.0
    return name, weight if 0 <= weight <= 1 else 0.0
