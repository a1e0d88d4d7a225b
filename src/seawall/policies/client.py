"""Who is asking, as a key to count by."""

from collections.abc import Callable
from hashlib import blake2b
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from seawall.policies.exchange import Exchange

_MAPPED = bytes(10) + b"\xff\xff"


def identity(by: str) -> Callable[[Exchange], str | bytes]:
    """A function that says who is asking: ``by`` is ``client`` or ``header:NAME``."""
    if by == "client":
        return address
    name = by.partition(":")[2].lower().encode()

    def named(exchange: Exchange) -> str | bytes:
        value = exchange.get(name)
        if not value:
            return address(exchange)
        # Such values are secrets as often as not, and may be of any length.
        return blake2b(value, digest_size=16).digest()

    return named


def address(exchange: Exchange) -> str | bytes:
    """The client's address; of IPv6 the /64, which is what one subscriber has (RFC 6177)."""
    client = exchange.scope.get("client")
    host: str = client[0] if client else ""
    if ":" not in host:
        return host
    try:
        packed = inet_pton(AF_INET6, host)
    except OSError:
        return host
    return inet_ntop(AF_INET, packed[12:]) if packed.startswith(_MAPPED) else packed[:8]
