"""Drop-in classes with Starlette's names and constructor arguments.

Change the import and nothing else::

    from seawall.middleware import CORSMiddleware, TrustedHostMiddleware

Each is one policy around the app. Two or more of them on one app are better said to
``Seawall(app)``, which fuses them. Where they differ from Starlette's is listed in
``docs/differences.md``.
"""

from collections.abc import Iterable
from typing import Any

from seawall.edge import Edge
from seawall.policies import Compression, Cors, Hosts, Https
from seawall.policies.exchange import ASGIApp
from seawall.settings import validated


class CORSMiddleware(Edge):
    """Starlette's ``CORSMiddleware``, as the cors policy does it."""

    def __init__(
        self,
        app: ASGIApp,
        allow_origins: Iterable[str] = (),
        allow_methods: Iterable[str] = ("GET",),
        allow_headers: Iterable[str] = (),
        allow_credentials: bool = False,
        allow_origin_regex: str | None = None,
        allow_private_network: bool = False,
        expose_headers: Iterable[str] = (),
        max_age: int = 600,
    ) -> None:
        options: dict[str, Any] = {
            "enabled": True,
            "allow_origins": allow_origins,
            "allow_methods": allow_methods,
            "allow_headers": allow_headers,
            "allow_credentials": allow_credentials,
            "allow_origin_regex": allow_origin_regex,
            "expose_headers": expose_headers,
            "max_age": max_age,
            "websockets": False,
        }
        super().__init__(app, [validated(Cors, options, "CORSMiddleware")])


class TrustedHostMiddleware(Edge):
    """Starlette's ``TrustedHostMiddleware``, as the hosts policy does it."""

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Iterable[str] | None = None,
        www_redirect: bool = True,
    ) -> None:
        options: dict[str, Any] = {
            "enabled": True,
            "allowed_hosts": ["*"] if allowed_hosts is None else allowed_hosts,
            "www_redirect": www_redirect,
        }
        super().__init__(app, [validated(Hosts, options, "TrustedHostMiddleware")])


class HTTPSRedirectMiddleware(Edge):
    """Starlette's ``HTTPSRedirectMiddleware``, as the https policy does it."""

    def __init__(self, app: ASGIApp) -> None:
        options = {"enabled": True, "redirect": True, "hsts": 0}
        super().__init__(app, [validated(Https, options, "HTTPSRedirectMiddleware")])


class GZipMiddleware(Edge):
    """Starlette's ``GZipMiddleware``, as the compression policy does it."""

    def __init__(
        self,
        app: ASGIApp,
        minimum_size: int = 500,
        compresslevel: int = 9,
        thread_minimum_size: int = 128 * 1024,
        *,
        exclude_content_types: Iterable[str] | None = None,
    ) -> None:
        options: dict[str, Any] = {
            "enabled": True,
            "minimum_size": minimum_size,
            "encodings": ("gzip",),
            "compresslevel": compresslevel,
            "thread_minimum_size": thread_minimum_size,
        }
        if exclude_content_types is not None:
            options["exclude_content_types"] = exclude_content_types
        super().__init__(app, [validated(Compression, options, "GZipMiddleware")])


__all__ = [
    "CORSMiddleware",
    "GZipMiddleware",
    "HTTPSRedirectMiddleware",
    "TrustedHostMiddleware",
]
