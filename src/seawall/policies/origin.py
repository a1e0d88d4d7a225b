"""Origins as browsers spell them (RFC 6454, section 6.2), and patterns over them."""

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator

from seawall.errors import Hinted
from seawall.policies.host import LOOPBACK, canonical, split
from seawall.section import Strings

_DEFAULT_PORTS = {"http": "80", "https": "443"}
_scheme = re.compile(r"[a-z][a-z0-9+.-]*").fullmatch


def origin(value: str) -> str:
    """A serialised origin (RFC 6454, section 6.2), refused with the right spelling."""
    if value in ("*", "null"):
        return value
    scheme, separator, rest = value.partition("://")
    authority = rest.split("/", 1)[0].split("?", 1)[0].split("#", 1)[0]
    star = "*." if authority.startswith("*.") else ""
    bare = authority.removeprefix("*.")
    any_port = bare.endswith(":*")
    host, port = split(bare.removesuffix(":*"))
    host, scheme = canonical(host), scheme.lower()
    if not (separator and _scheme(scheme) and host):
        raise Hinted(f"{value!r} is not an origin", _spelling(rest if separator else value))
    if port == _DEFAULT_PORTS.get(scheme):
        port = ""
    right = f"{scheme}://{star}{host}" + (":*" if any_port else f":{port}" if port else "")
    if right != value:
        raise Hinted(
            f"{value!r} is not how a browser spells an origin "
            "(scheme, host and port; no path, no trailing slash)",
            f"write '{right}'",
        )
    return value


def _spelling(rest: str) -> str:
    """What may have been meant by something that is no origin; its scheme is taken off."""
    if "*" in rest:
        return "write 'https://*.example.com' for its subdomains, or '*' for every origin"
    guess = canonical(split(re.split("[/?#]", rest, maxsplit=1)[0])[0])
    return f"write 'https://{guess}'" if guess else "write it like 'https://example.com'"


def origins(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(origin, values)))


Origins = Annotated[Strings, AfterValidator(origins)]


def pattern(origin: str) -> re.Pattern[bytes]:
    """``https://*.example.com`` and ``:*`` as a regular expression for the whole origin."""
    text = re.escape(origin).replace(r"://\*\.", r"://([a-z0-9_-]+\.)+")
    return re.compile(re.sub(r":\\\*$", r"(:[0-9]{1,5})?", text).encode())


def is_loopback(origin: str) -> bool:
    host = split(origin.partition("://")[2].removesuffix(":*"))[0]
    return host in LOOPBACK or host.endswith(".localhost")


def example(origin: str) -> str:
    """An origin that a pattern allows; any other is its own example."""
    if origin == "*":
        return "https://seawall-probe.invalid"
    return origin.replace("://*.", "://seawall-probe.").replace(":*", ":12345")


def strangers(origins: tuple[str, ...]) -> Iterator[str]:
    """Origins that must be denied: a stranger, the opaque one, and look-alikes of each allowed."""
    yield "https://seawall-probe.invalid"
    yield "null"
    for origin in origins:
        if origin in ("*", "null"):
            continue
        scheme, _, rest = origin.partition("://")
        yield f"{example(origin)}.seawall-probe.invalid"
        # Of https://*.example.com this makes https://seawall-probeexample.com.
        yield example(f"{scheme}://seawall-probe{rest.removeprefix('*.')}")
