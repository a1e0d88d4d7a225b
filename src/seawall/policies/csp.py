"""Content-Security-Policy and Permissions-Policy, from a table to the header's value.

Content Security Policy Level 3 and Permissions Policy (W3C). Keywords are written plain
(``self``) and quoted here; no source can end its directive or its header.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from seawall.errors import Hinted

Table = dict[str, tuple[str, ...]]

NONCE = "nonce"
"""The source that stands for a fresh nonce in each response."""

_FETCH = [
    "child-src",
    "connect-src",
    "default-src",
    "fenced-frame-src",
    "font-src",
    "frame-src",
    "img-src",
    "manifest-src",
    "media-src",
    "object-src",
    "script-src",
    "script-src-attr",
    "script-src-elem",
    "style-src",
    "style-src-attr",
    "style-src-elem",
    "worker-src",
]
_LISTS = (*_FETCH, "base-uri", "form-action", "frame-ancestors")
_WORDS = ("sandbox", "report-to", "report-uri", "trusted-types", "require-trusted-types-for")
_FLAGS = ("upgrade-insecure-requests",)
DIRECTIVES = (*_LISTS, *_WORDS, *_FLAGS)
_KEYWORDS = [
    "self",
    "none",
    "unsafe-inline",
    "unsafe-eval",
    "unsafe-hashes",
    "strict-dynamic",
    "report-sample",
    "wasm-unsafe-eval",
    "inline-speculation-rules",
]
_QUOTED_WORDS = {
    "require-trusted-types-for": {"script"},
    "trusted-types": {"none", "allow-duplicates"},
}

_hash = re.compile(r"sha(256|384|512)-[A-Za-z0-9+/_-]+={0,2}").fullmatch
_source = re.compile(
    r"[a-z][a-z0-9+.-]*:"
    r"|([a-z][a-z0-9+.-]*://)?(\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
    r"(:(\d+|\*))?(/[!-~]*)?",
    re.IGNORECASE,
).fullmatch
_breaks_out = re.compile(r"[^!-~]|[;,\"\\$]").search

RECOMMENDED: Table = {
    "default-src": ("self",),
    "base-uri": ("self",),
    "form-action": ("self",),
    "frame-ancestors": ("self",),
    "object-src": ("none",),
    "upgrade-insecure-requests": (),
}
"""What ``content_security_policy = true`` means (OWASP Content Security Policy Cheat Sheet)."""

DOCS: Table = {
    "default-src": ("self",),
    "script-src": ("self", "unsafe-inline", "https://cdn.jsdelivr.net"),
    "style-src": (
        "self",
        "unsafe-inline",
        "https://cdn.jsdelivr.net",
        "https://fonts.googleapis.com",
    ),
    "font-src": ("self", "data:", "https://fonts.gstatic.com"),
    "img-src": (
        "self",
        "data:",
        "https://cdn.jsdelivr.net",
        "https://cdn.redoc.ly",
        "https://fastapi.tiangolo.com",
    ),
    "worker-src": ("self", "blob:"),
    "base-uri": ("none",),
    "form-action": ("self",),
    "frame-ancestors": ("self",),
    "object-src": ("none",),
}
"""What FastAPI's Swagger UI and ReDoc pages load: an inline script and a CDN."""

FEATURES = [
    "accelerometer",
    "ambient-light-sensor",
    "attribution-reporting",
    "autoplay",
    "bluetooth",
    "browsing-topics",
    "camera",
    "compute-pressure",
    "display-capture",
    "encrypted-media",
    "fullscreen",
    "gamepad",
    "geolocation",
    "gyroscope",
    "hid",
    "identity-credentials-get",
    "idle-detection",
    "local-fonts",
    "magnetometer",
    "microphone",
    "midi",
    "otp-credentials",
    "payment",
    "picture-in-picture",
    "publickey-credentials-create",
    "publickey-credentials-get",
    "screen-wake-lock",
    "serial",
    "speaker-selection",
    "storage-access",
    "sync-xhr",
    "unload",
    "usb",
    "web-share",
    "window-management",
    "xr-spatial-tracking",
]
_DENIED = [
    "accelerometer",
    "camera",
    "display-capture",
    "geolocation",
    "gyroscope",
    "hid",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "serial",
    "usb",
    "xr-spatial-tracking",
]


def meant(word: str, known: Iterable[str]) -> str:
    """The right spelling, or all there are."""
    names = {name.lower(): name for name in known}
    close = get_close_matches(word.lower().replace("_", "-"), names, n=1, cutoff=0.6)
    return f"did you mean {names[close[0]]!r}?" if close else f"known: {', '.join(names.values())}"


def switch(value: Any) -> bool | None:
    """``true`` and ``false`` as any source spells them; ``None`` for everything else."""
    return {"true": True, "false": False}.get(str(value).strip().lower())


def _source_list(directive: str, values: Iterable[str]) -> tuple[str, ...]:
    found = tuple(_checked(directive, value) for value in values)
    if "none" in found and len(found) > 1:
        raise Hinted(f"{directive}: 'none' beside others means nothing", "leave one of them out")
    return found


def _checked(directive: str, value: str) -> str:
    plain = value.strip("'")
    if _breaks_out(plain) or "'" in plain:
        raise Hinted(f"{directive}: {value!r} is not a source", "one source a list item")
    if directive in _WORDS:
        return plain
    if plain in _KEYWORDS or plain == NONCE or _hash(plain):
        return plain
    if plain.startswith("nonce-"):
        raise Hinted(f"{directive}: a nonce that stays the same is none", f"write {NONCE!r}")
    # A word alone is a host name too, but far more often a keyword misspelled.
    if not _source(plain) or (re.fullmatch(r"[A-Za-z_-]+", plain) and plain != "localhost"):
        hint = meant(plain, (*_KEYWORDS, NONCE))
        raise Hinted(f"{directive}: {value!r} is not a source", hint)
    return plain


def _directives(value: Any) -> Any:
    if (said := switch(value)) is not None:
        return RECOMMENDED if said else False
    if isinstance(value, str):
        parts = [part.split() for part in value.split(";") if part.strip()]
        value = {name: sources for name, *sources in parts}
    if not isinstance(value, Mapping):
        return value
    table: Table = {}
    for name, sources in value.items():
        directive = str(name).lower().replace("_", "-")
        if directive not in DIRECTIVES:
            raise Hinted(f"{name!r} is not a directive", meant(directive, DIRECTIVES))
        if switch(sources) is False:
            continue
        words = _words(directive, sources)
        if words and directive in _FLAGS:
            raise Hinted(f"{directive} takes no value", f"write {directive} = true")
        table[directive] = _source_list(directive, words)
    return table


def _words(name: str, value: Any) -> tuple[str, ...]:
    if switch(value) is True:
        return ()
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise Hinted(f"{name}: {value!r} is not a list of sources", 'write it like ["self"]')


def _features(value: Any) -> Any:
    if (said := switch(value)) is not None:
        return dict.fromkeys(_DENIED, ()) if said else False
    if not isinstance(value, Mapping):
        return value
    table: Table = {}
    for name, origins in value.items():
        feature = str(name).lower().replace("_", "-")
        # The list grows by the year, so only what looks like a slip is refused.
        if feature not in FEATURES and (
            not re.fullmatch(r"[a-z][a-z0-9-]*", feature)
            or get_close_matches(feature, FEATURES, n=1, cutoff=0.8)
        ):
            raise Hinted(f"{name!r} is not a feature", meant(feature, FEATURES))
        table[feature] = tuple(_allowed(feature, origin) for origin in _words(feature, origins))
    return table


def _allowed(feature: str, value: str) -> str:
    plain = value.strip("'\"")
    if plain in ("self", "src", "*"):
        return plain
    if _breaks_out(plain) or not re.fullmatch(r"https?://[^/?#'()]+", plain):
        raise Hinted(
            f"{feature}: {value!r} is not an origin", "write 'self' or 'https://a.example'"
        )
    return plain


Directives = Annotated[Table | Literal[False], BeforeValidator(_directives)]
"""Directive to sources; ``true`` for :data:`RECOMMENDED`, ``false`` for none."""

Features = Annotated[Table | Literal[False], BeforeValidator(_features)]
"""Feature to origins that may use it; ``true`` denies the sensitive ones."""


MARK = "'nonce-\0'"
"""Stands in a policy where a response's nonce goes."""


def csp(table: Mapping[str, tuple[str, ...]], *, secure: bool = True) -> str:
    """The value of Content-Security-Policy; a nonce is left as :data:`MARK`.

    Over plain http ``upgrade-insecure-requests`` is left out: it would send the browser to
    an https that may not be there.
    """
    parts = []
    for directive, sources in table.items():
        if directive == "upgrade-insecure-requests" and not secure:
            continue
        words = sources or (("none",) if directive in _LISTS else ())
        parts.append(" ".join((directive, *(_quoted(directive, word) for word in words))))
    return "; ".join(parts)


def _quoted(directive: str, word: str) -> str:
    if directive in _WORDS:
        return f"'{word}'" if word in _QUOTED_WORDS.get(directive, ()) else word
    if word == NONCE:
        return MARK
    return f"'{word}'" if word in _KEYWORDS or _hash(word) else word


def permissions(table: Mapping[str, tuple[str, ...]]) -> str:
    """The value of Permissions-Policy (a structured dictionary, RFC 9651)."""

    def said(origins: tuple[str, ...]) -> str:
        if "*" in origins:
            return "*"
        words = (one if one in ("self", "src") else f'"{one}"' for one in origins)
        return f"({' '.join(words)})"

    return ", ".join(f"{feature}={said(origins)}" for feature, origins in table.items())
