"""Which other origins' pages may talk to this site (Fetch standard, section 3.2: CORS protocol).

Guarantees: a denied origin gets no CORS header at all; an origin is compared whole,
patterns are anchored; ``*`` never meets credentials; every line of
``Access-Control-Request-Headers`` counts; answers that depend on the origin say so in
``Vary``. Websockets, which the CORS protocol leaves alone, are refused to pages of
other origins (RFC 6455, section 10.2). Private Network Access is left out: the draft
was withdrawn from browsers.
"""

import re
from collections.abc import Callable, Iterator
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, model_validator

from seawall.errors import Hinted
from seawall.findings import Finding, Level, Rule
from seawall.policies.exchange import Answer, Exchange, Header, Refusal, fields, vary
from seawall.policies.origin import Origins, example, is_loopback, pattern, strangers
from seawall.policies.policy import Act, Audit, Policy, Site, Surroundings
from seawall.policies.values import Tokens

ALL_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY")
SAFELISTED_HEADERS = ("Accept", "Accept-Language", "Content-Language", "Content-Type")

_PREFLIGHT_VARY = b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
_token = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch


def _regex(value: str | None) -> str | None:
    if value is not None:
        try:
            re.compile(value)
        except re.error as error:
            raise Hinted(f"{value!r} is not a regular expression: {error}") from error
    return value


class Cors(Policy):
    """Opens the site to pages of other origins."""

    name: ClassVar[str] = "cors"
    NULL: ClassVar[Rule] = Rule(
        "cors.null",
        Level.ERROR,
        "Any page can take the origin 'null' from a sandboxed frame.",
        "remove 'null' from cors.allow_origins",
    )
    PLAIN: ClassVar[Rule] = Rule(
        "cors.plain",
        Level.WARNING,
        "A page served over http can be changed on its way, and then speaks with the "
        "user's credentials.",
        "list the https origin instead",
    )
    REGEX: ClassVar[Rule] = Rule(
        "cors.regex",
        Level.WARNING,
        "An unescaped dot matches any character: https://exampleXcom passes for example.com.",
        "escape the dots, or use a pattern: 'https://*.example.com'",
    )
    IDLE: ClassVar[Rule] = Rule(
        "cors.idle",
        Level.NOTE,
        "Without origins the policy only refuses.",
        "set cors.allow_origins, or cors = false",
    )
    DENIED: ClassVar[Rule] = Rule(
        "cors.denied",
        Level.ERROR,
        "An origin that the settings allow is turned away by the live site.",
        "see that the proxy passes OPTIONS and the Origin header, and strips no answer",
    )
    LEAKS: ClassVar[Rule] = Rule(
        "cors.leaks",
        Level.ERROR,
        "The live site opens itself to an origin that is not listed.",
        "let one part alone speak CORS: remove Access-Control-* from the proxy",
    )
    VARY: ClassVar[Rule] = Rule(
        "cors.vary",
        Level.WARNING,
        "Without Vary: Origin a cache hands one origin's answer to another.",
        "see that the proxy keeps the Vary header",
    )

    enabled: bool = False
    """Whether the policy is on; naming origins switches it on."""
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
    websockets: bool = True
    """Also refuse websocket handshakes from pages of origins that are not allowed."""

    @model_validator(mode="after")
    def _no_wildcard_with_credentials(self) -> "Cors":
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

    def act(self, around: Surroundings) -> Act:
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
            if b"access-control-allow-origin" in sent:
                # One part alone speaks CORS, or a denied origin might still be let in.
                headers[:] = [h for h in headers if not h[0].startswith(b"access-control-")]
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

        owns = {b"vary", *(name for name, _ in grant(b""))}
        return Act(
            request,
            websocket if self.websockets else None,
            response,
            owns=frozenset(owns),
            settled=True,
        )

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

    def audit(self, audit: Audit) -> Iterator[Finding]:
        if not self.enabled:
            return
        source = audit.origin("cors.allow_origins")
        if not self.allow_origins and self.allow_origin_regex is None:
            yield self.IDLE("no origin is allowed", source=audit.origin("cors.enabled"))
        if "null" in self.allow_origins:
            yield self.NULL("cors.allow_origins contains 'null'", source=source)
        for origin in self.allow_origins:
            plain = origin.startswith("http://")
            if plain and self.allow_credentials and not is_loopback(origin):
                yield self.PLAIN(f"{origin} may send credentials", source=source)
        if self.allow_origin_regex and re.search(
            r"(?<!\\)\.(?![*+?{])", re.sub(r"\[[^\]]*\]", "", self.allow_origin_regex)
        ):
            yield self.REGEX(
                f"unescaped dot in {self.allow_origin_regex!r}",
                source=audit.origin("cors.allow_origin_regex"),
            )

    def prove(self, site: Site) -> Iterator[Finding]:
        if not self.enabled:
            return
        asked = [("Access-Control-Request-Method", self.allow_methods[0].replace("*", "GET"))]
        if self.allow_headers:
            name = self.allow_headers[0].replace("*", "X-Seawall-Probe")
            asked.append(("Access-Control-Request-Headers", name))
        everyone = "*" in self.allow_origins
        for origin in dict.fromkeys(map(example, self.allow_origins)):
            wanted = "*" if everyone else origin
            preflight = site.ask("OPTIONS", "/", [("Origin", origin), *asked])
            if not 200 <= preflight.status < 300:
                yield self.DENIED(f"a preflight from {origin} is answered {preflight.status}")
            for method, reply in (
                ("OPTIONS", preflight),
                ("GET", site.ask("GET", "/", [("Origin", origin)])),
            ):
                said = reply.all("access-control-allow-origin")
                credentials = reply.all("access-control-allow-credentials")
                if said != [wanted]:
                    told = " and ".join(said) or "nothing"
                    yield self.DENIED(f"{method} / from {origin} is told {told}")
                elif credentials != (["true"] if self.allow_credentials else []):
                    told = " and ".join(credentials) or "nothing"
                    yield self.DENIED(f"{method} / from {origin} is told {told} of credentials")
                elif not everyone and "origin" not in (reply.get("vary") or "").lower():
                    yield self.VARY(f"{method} / from {origin} has no Vary: Origin")
        allowed = self.allows()
        for origin in strangers(self.allow_origins):
            if everyone or allowed(origin.encode()):
                continue
            for method, extra in (("OPTIONS", asked), ("GET", [])):
                reply = site.ask(method, "/", [("Origin", origin), *extra])
                if reply.get("access-control-allow-origin"):
                    yield self.LEAKS(f"{method} / from {origin} is let in")
