"""Reads the middleware an app already has, so that existing code gets the fused pass unedited.

Only the exact classes are taken over: a subclass may do anything, so it stays where it is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from seawall import middleware as ours

Absorbed = dict[str, tuple[Any, str]]


def _cors(options: Mapping[str, Any]) -> dict[str, Any]:
    known = dict(options)
    # Left out of the policy on purpose: browsers withdrew Private Network Access.
    known.pop("allow_private_network", None)
    return known


def _gzip(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"encodings": ("gzip",), "compresslevel": 9, **options}


def _hosts(options: Mapping[str, Any]) -> dict[str, Any]:
    known = dict(options)
    if known.get("allowed_hosts") is None:
        known["allowed_hosts"] = ["*"]
    return known


def _https(options: Mapping[str, Any]) -> dict[str, Any]:
    # The middleware redirects every host and sends no HSTS; neither must the policy.
    return {"redirect": True, "hsts": 0}


KNOWN: dict[type, tuple[str, tuple[str, ...], Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    CORSMiddleware: (
        "cors",
        (
            "allow_origins",
            "allow_methods",
            "allow_headers",
            "allow_credentials",
            "allow_origin_regex",
            "allow_private_network",
            "expose_headers",
            "max_age",
        ),
        _cors,
    ),
    TrustedHostMiddleware: ("hosts", ("allowed_hosts", "www_redirect"), _hosts),
    HTTPSRedirectMiddleware: ("https", (), _https),
    GZipMiddleware: (
        "compression",
        ("minimum_size", "compresslevel", "thread_minimum_size"),
        _gzip,
    ),
}
"""Class -> (policy, positional arguments in order, translation of its options)."""
KNOWN |= {getattr(ours, kind.__name__): entry for kind, entry in list(KNOWN.items())}


def absorb(stack: Sequence[Middleware]) -> tuple[Absorbed, list[Middleware]]:
    """Splits a ``user_middleware`` list into settings (dotted key -> value, source) and the rest.

    Of two middlewares of one kind only the outermost is taken over.
    """
    absorbed: Absorbed = {}
    left: list[Middleware] = []
    taken: set[str] = set()
    for item in stack:
        entry = KNOWN.get(item.cls)  # type: ignore[call-overload]
        if entry is None or entry[0] in taken:
            left.append(item)
            continue
        policy, positional, translate = entry
        taken.add(policy)
        options = {**dict(zip(positional, item.args, strict=False)), **item.kwargs}
        source = f"{item.cls.__name__} on the app"  # type: ignore[attr-defined]
        absorbed[f"{policy}.enabled"] = (True, source)
        for key, value in translate(options).items():
            absorbed[f"{policy}.{key}"] = (value, source)
    return absorbed, left
