"""Conditional and range requests (RFC 9110, sections 13 and 14)."""

import re
from email.utils import mktime_tz, parsedate_tz

from seawall.policies.exchange import Exchange, fields

_spec = re.compile(rb" *(\d{0,18}) *- *(\d{0,18}) *").fullmatch


def precondition(exchange: Exchange, etag: bytes, modified: int) -> int:
    """304 or 412 when a condition of a GET or HEAD says so, else 0 (section 13.2.2).

    ``etag`` is strong, ``modified`` in seconds since 1970.
    """
    if b"if-match" in exchange:
        if not _among(exchange, b"if-match", etag, weak=False):
            return 412
    elif (since := _date(exchange.get(b"if-unmodified-since"))) is not None and modified > since:
        return 412
    if b"if-none-match" in exchange:
        return 304 if _among(exchange, b"if-none-match", etag, weak=True) else 0
    since = _date(exchange.get(b"if-modified-since"))
    return 304 if since is not None and modified <= since else 0


def _among(exchange: Exchange, name: bytes, etag: bytes, *, weak: bool) -> bool:
    for tag in fields(exchange.values_of(name)):
        if tag == b"*" or (tag.removeprefix(b"W/") if weak else tag) == etag:
            return True
    return False


def _date(value: bytes | None) -> int | None:
    """Seconds since 1970; ``None`` for what is no date, which must then be ignored."""
    try:
        parsed = parsedate_tz(value.decode("ascii")) if value else None
        return None if parsed is None else mktime_tz(parsed)
    except (ValueError, OverflowError):
        return None


class Unsatisfiable(ValueError):
    """The range asked for is not there, or cannot be read."""


def requested(exchange: Exchange, etag: bytes, modified: int, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last that a GET asks for; ``None`` for all of them.

    Several ranges are answered with the whole, which section 14.2 allows: so no request can
    ask for the same bytes many times over. Raises :class:`Unsatisfiable`.
    """
    ranges = exchange.values_of(b"range")
    if len(ranges) != 1 or ranges[0][:6].lower() != b"bytes=" or b"," in ranges[0]:
        return None
    validator = exchange.get(b"if-range")
    if validator is not None:
        same = validator == etag if validator.endswith(b'"') else _date(validator) == modified
        if not same:
            return None
    found = _spec(ranges[0][6:])
    if found is None or not (found[1] or found[2]):
        raise Unsatisfiable
    if found[1]:
        first, last = int(found[1]), int(found[2] or size)
    else:
        first, last = max(0, size - int(found[2])), (size if int(found[2]) else -1)
    if last < first and found[2]:
        raise Unsatisfiable
    if first >= size:
        if first == 0:
            return None
        raise Unsatisfiable
    return first, min(last + 1, size)
