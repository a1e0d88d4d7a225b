"""What proxies say about the client: ``X-Forwarded-*``, and ``Forwarded`` (RFC 7239).

Either is read as a list of hops, the nearest proxy's word last.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address

from seawall.policies.exchange import Exchange, fields

# A pair is token=token or token="quoted"; what stands in quotes may hold any separator.
_pair = re.compile(
    r"\s*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)="
    r"(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<token>[^\s\",;]*))\s*(?P<end>[,;]|$)"
)
_LONGEST = 8192
"""Bytes of ``Forwarded`` read; what stands further left was not our proxies' word anyway."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One proxy's word: ``client`` as (address, port) or ``None`` if it cannot be read."""

    client: tuple[str, int] | None = None
    proto: str = ""
    host: str = ""


def address(text: str) -> tuple[str, int] | None:
    """``1.2.3.4``, ``1.2.3.4:5``, ``2001:db8::1`` or ``[2001:db8::1]:5`` as (address, port).

    The port is 0 when it is not told, as RFC 7239, section 6.2 lets a proxy hide it.
    """
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if port.startswith("_"):
        port = ""
    if "%" in host:
        return None  # a zone is the sender's own business, and may hold any character
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5):
        return None
    try:
        found = ip_address(host)
    except ValueError:
        return None
    number = int(port or 0)
    return (str(found), number) if number <= 65535 else None


def x_forwarded(exchange: Exchange) -> list[Hop]:
    """The hops of ``X-Forwarded-For``; proto and host of the nearest one alone.

    Only the last value of ``-Proto`` and ``-Host`` was written by the peer itself.
    """
    hops = [
        Hop(address(value.decode("latin-1")))
        for value in fields(exchange.values_of(b"x-forwarded-for"))
    ]
    nearest = hops[-1].client if hops else None
    proto = _last(exchange, b"x-forwarded-proto").lower()
    return [*hops[:-1], Hop(nearest, proto, _host(exchange))]


def _host(exchange: Exchange) -> str:
    host, port = _last(exchange, b"x-forwarded-host"), _last(exchange, b"x-forwarded-port")
    has_port = host.rpartition("]")[2].count(":") > 0
    usual = {"https": "443", "http": "80"}.get(_last(exchange, b"x-forwarded-proto").lower())
    if host and port.isascii() and port.isdigit() and not has_port and port != usual:
        return f"{host}:{port}"
    return host


def _last(exchange: Exchange, name: bytes) -> str:
    return exchange.get(name, b"").rsplit(b",", 1)[-1].strip().decode("latin-1")


def forwarded(exchange: Exchange) -> list[Hop]:
    """The hops of ``Forwarded`` (RFC 7239, section 4); an unreadable one ends what is known."""
    text = ",".join(v.decode("latin-1") for v in exchange.values_of(b"forwarded"))[-_LONGEST:]
    hops: list[Hop] = []
    pairs: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _pair.match(text, position)
        if match is None:
            # Whatever was read so far stands left of something unreadable.
            hops, pairs = [Hop()], {}
            comma = text.find(",", position)
            if comma < 0:
                return hops
            position = comma + 1
            continue
        quoted = match["quoted"]
        value = match["token"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        pairs.setdefault(match["name"].lower(), value)
        position = match.end()
        if match["end"] != ";":
            hops.append(_hop(pairs))
            pairs = {}
    if pairs or not hops:
        hops.append(_hop(pairs))
    return hops


def _hop(pairs: dict[str, str]) -> Hop:
    client = address(pairs.get("for", ""))
    return Hop(client, pairs.get("proto", "").lower(), pairs.get("host", ""))
