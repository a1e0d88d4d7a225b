"""The server's half of the CORS protocol, for one set of options (Fetch standard, section 3.2)."""

import re
from collections.abc import Callable
from typing import Annotated, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from seawall.errors import Hinted
from seawall.policies.exchange import Answer, Exchange, Header, Refusal, fields, vary
from seawall.policies.origin import Origins, pattern
from seawall.policies.policy import Hook, ResponseHook
from seawall.policies.values import Tokens
from seawall.section import Section

ALL_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY")
SAFELISTED_HEADERS = ("Accept", "Accept-Language", "Content-Language", "Content-Type")
SPOKEN = frozenset(
    {
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-allow-headers",
        b"access-control-allow-methods",
        b"access-control-allow-private-network",
        b"access-control-expose-headers",
        b"access-control-max-age",
    }
)
"""Every response header of the protocol."""

_PREFLIGHT_VARY = b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
_token = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch


def _regex(value: str | None) -> str | None:
    if value is not None:
        try:
            re.compile(value)
        except re.error as error:
            raise Hinted(f"{value!r} is not a regular expression: {error}") from error
    return value


class Compiled(NamedTuple):
    """The three hooks of one set of options."""

    request: Hook
    websocket: Hook
    response: ResponseHook


class CrossOrigin(Section):
    """Who may read what from other origins."""

    allow_origins: Origins = ()
    """Origins as browsers spell them; `https://*.example.com`, `http://localhost:*`, or `*`."""
    allow_origin_regex: Annotated[str | None, AfterValidator(_regex)] = None
    """A regular expression that must match the whole origin."""
    allow_methods: Tokens = ("GET", "HEAD", "POST")
    """Methods that other origins may use; `*` for all known ones."""
    allow_headers: Tokens = ()
    """Request headers that other origins may send, beside the safelisted; `*` for any."""
    allow_credentials: bool = False
    """Whether cookies and Authorization may come along."""
    expose_headers: Tokens = ()
    """Response headers that scripts may read."""
    max_age: int = Field(default=600, ge=0)
    """Seconds a browser may remember a preflight; Chromium caps it at 7200."""

    @model_validator(mode="after")
    def _no_wildcard_with_credentials(self) -> Self:
        if self.allow_credentials and "*" in self.allow_origins:
            raise Hinted(
                "allow_origins '*' with allow_credentials lets every site act as your users",
                "name the origins, or set cors.allow_credentials = false",
            )
        return self

    def allows(self) -> Callable[[bytes], bool]:
        """Compiles the test: is this origin allowed?"""
        names = frozenset(origin.encode() for origin in self.allow_origins)
        patterns = [pattern(origin) for origin in self.allow_origins if "*" in origin[1:]]
        if self.allow_origin_regex is not None:
            patterns.append(re.compile(self.allow_origin_regex.encode()))
        if b"*" in names:
            return lambda _: True
        if not patterns:
            return names.__contains__
        return lambda origin: origin in names or any(p.fullmatch(origin) for p in patterns)

    def compile(self) -> Compiled:
        """Precomputes everything that can be."""
        allowed = self.allows()
        everyone = "*" in self.allow_origins
        extra: list[Header] = []
        if self.allow_credentials:
            extra.append((b"access-control-allow-credentials", b"true"))
        if self.expose_headers:
            exposed = ", ".join(self.expose_headers).encode()
            extra.append((b"access-control-expose-headers", exposed))

        def grant(origin: bytes) -> tuple[Header, ...]:
            return ((b"access-control-allow-origin", b"*" if everyone else origin), *extra)

        def given(exchange: Exchange) -> tuple[Header, ...]:
            origins = exchange.values_of(b"origin")
            return grant(origins[0]) if len(origins) == 1 and allowed(origins[0]) else ()

        def response(
            exchange: Exchange, status: int, headers: list[Header], sent: dict[bytes, bytes]
        ) -> None:
            if not SPOKEN.isdisjoint(sent):
                # One part alone speaks CORS, or a denied origin might still be let in.
                headers[:] = [h for h in headers if h[0] not in SPOKEN]
            headers += given(exchange)
            if not everyone:
                vary(headers, b"Origin")

        preflight = self._preflight(allowed)

        def request(exchange: Exchange) -> Answer | Refusal | None:
            if (
                exchange.scope["method"] == "OPTIONS"
                and b"origin" in exchange
                and b"access-control-request-method" in exchange
            ):
                return preflight(exchange)
            return None

        forbidden = Refusal(403, "Disallowed websocket origin", ((b"vary", b"Origin"),))

        def websocket(exchange: Exchange) -> Answer | Refusal | None:
            origins = exchange.values_of(b"origin")
            # No Origin: not a browser, and nobody's cookies ride along.
            if not origins or (len(origins) == 1 and allowed(origins[0])):
                return None
            same = exchange.get(b"host", b"").lower()
            if len(origins) == 1 and origins[0].partition(b"://")[2] == same:
                return None
            return forbidden

        return Compiled(request, websocket, response)

    def _preflight(
        self, allowed: Callable[[bytes], bool]
    ) -> Callable[[Exchange], Answer | Refusal]:
        everyone = "*" in self.allow_origins
        methods = ALL_METHODS if "*" in self.allow_methods else self.allow_methods
        known_methods = frozenset(method.encode() for method in methods)
        any_header = "*" in self.allow_headers
        names = sorted({*SAFELISTED_HEADERS, *self.allow_headers} - {"*"})
        known_headers = frozenset(name.lower().encode() for name in names)
        listed = ", ".join(names).encode()
        fixed: list[Header] = [
            (b"vary", _PREFLIGHT_VARY),
            (b"access-control-allow-methods", ", ".join(methods).encode()),
            (b"access-control-max-age", b"%d" % self.max_age),
        ]
        if self.allow_credentials:
            fixed.append((b"access-control-allow-credentials", b"true"))

        def preflight(exchange: Exchange) -> Answer | Refusal:
            origins = exchange.values_of(b"origin")
            asked = fields(exchange.values_of(b"access-control-request-headers"))
            faults = []
            if len(origins) != 1 or not allowed(origins[0]):
                faults.append("origin")
            if exchange[b"access-control-request-method"] not in known_methods:
                faults.append("method")
            if not all(
                _token(name) and (any_header or name.lower() in known_headers) for name in asked
            ):
                faults.append("headers")
            headers: list[Header] = []
            if "origin" not in faults:
                origin = b"*" if everyone else origins[0]
                wanted = b", ".join(asked) if any_header else listed
                headers = [(b"access-control-allow-origin", origin), *fixed]
                if wanted and "headers" not in faults:
                    headers.append((b"access-control-allow-headers", wanted))
            if faults:
                headers = headers or [(b"vary", _PREFLIGHT_VARY)]
                return Refusal(400, f"Disallowed CORS {', '.join(faults)}", tuple(headers))
            plain = (b"content-type", b"text/plain; charset=utf-8")
            return Answer(200, (plain, *headers), b"OK")

        return preflight
