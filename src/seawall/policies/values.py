"""Values that people write in settings, each refused with the right spelling when it is wrong."""

import re
from typing import Annotated

from pydantic import AfterValidator

from seawall.errors import Hinted
from seawall.section import Strings

_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_RESERVED = frozenset(
    {
        *("age", "allow", "cache-control", "connection", "content-encoding", "content-language"),
        *("content-length", "content-range", "content-type", "cookie", "date", "etag", "expires"),
        *("forwarded", "host", "keep-alive", "last-modified", "location", "retry-after", "server"),
        *("set-cookie", "te", "trailer", "transfer-encoding", "upgrade", "vary", "via"),
        "www-authenticate",
    }
)


def header_name(value: str) -> str:
    """A field name; of what RFC 9110, section 5.1 allows, what any configuration file can hold."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise Hinted(f"{value!r} is not a header name", "use letters, digits and '-'")
    if value.lower() in _RESERVED:
        raise Hinted(f"{value!r} has a meaning of its own in HTTP", "choose another name: 'X-...'")
    return value


HeaderName = Annotated[str, AfterValidator(header_name)]


def _path(value: str) -> str:
    plain = value.isascii() and value.isprintable() and not any(c in value for c in " ?#\"'{};$\\")
    if not (plain and value.startswith("/")):
        raise Hinted(f"{value!r} is not a path", "write it like '/livez'")
    return value


Path = Annotated[str, AfterValidator(_path)]
"""An absolute URL path, plain enough for every configuration file."""


def _paths(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_path, values))


Paths = Annotated[Strings, AfterValidator(_paths)]
"""Absolute URL paths; each stands for itself and all below it."""


def _tokens(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not value.isascii() or not _token(value):
            raise Hinted(f"{value!r} is not a name", "write one name a list item, like 'X-Token'")
    return values


Tokens = Annotated[Strings, AfterValidator(_tokens)]
