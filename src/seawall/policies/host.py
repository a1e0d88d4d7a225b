"""Host names in the one form in which they are compared (RFC 3986, 3.2.2; RFC 5952; UTS 46)."""

import re
from ipaddress import IPv6Address

import idna

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})

_name = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")

# An address of a version yet to come (RFC 3986, section 3.2.2), without the sub-delims that
# mean something in a configuration file.
_future = re.compile(r"\[v[0-9a-f]+\.[a-z0-9._~:-]+\]").fullmatch


def canonical(host: str) -> str:
    """A host, without port, in the one form in which hosts are compared; ``""`` if malformed."""
    host = host.lower()
    if host.startswith("["):
        if _future(host):
            return host
        try:
            return f"[{IPv6Address(host[1:-1]).compressed}]" if host.endswith("]") else ""
        except ValueError:
            return ""
    host = host.removesuffix(".")
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode()
        except idna.IDNAError:
            return ""
    return host if len(host) <= 253 and _name.fullmatch(host) else ""


def split(value: str) -> tuple[str, str]:
    """``host:port`` as (host, port), the brackets of an IPv6 literal kept; the port may be ``""``.

    A malformed value gives ``("", "")``.
    """
    if value.startswith("["):
        host, bracket, rest = value.partition("]")
        host += bracket
    else:
        host, colon, port = value.partition(":")
        rest = colon + port
    if rest in ("", ":"):
        return host, ""
    port = rest[1:]
    fine = rest[0] == ":" and port.isascii() and port.isdigit() and int(port[:6]) <= 65535
    return (host, port) if fine else ("", "")
