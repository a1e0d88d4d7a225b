"""Which other origins' pages may talk to this site (Fetch standard, section 3.2: CORS protocol).

Guarantees: a denied origin gets no CORS header at all; an origin is compared whole,
patterns are anchored; ``*`` never meets credentials; every line of
``Access-Control-Request-Headers`` counts; answers that depend on the origin say so in
``Vary``. Websockets, which the CORS protocol leaves alone, are refused to pages of
other origins (RFC 6455, section 10.2). Private Network Access is left out: the draft
was withdrawn from browsers.
"""

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from seawall.findings import Finding, Level, Rule
from seawall.policies.cross_origin import SPOKEN, Compiled, CrossOrigin
from seawall.policies.exchange import Answer, Exchange, Header, Refusal
from seawall.policies.origin import example, is_loopback, strangers
from seawall.policies.policy import Act, Audit, Policy, Site, Surroundings
from seawall.policies.values import Path


class Cors(CrossOrigin, Policy):
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
    websockets: bool = True
    """Also refuse websocket handshakes from pages of origins that are not allowed."""

    preflight: Literal["answer", "pass"] = "answer"
    """Who answers preflights: this policy, or (`pass`) the app behind it."""
    paths: dict[Path, CrossOrigin] = Field(default_factory=dict)
    """Other options for all paths under a prefix; the longest prefix counts, and nothing is
    inherited: `cors.paths."/public" = {allow_origins = ["*"]}`."""

    def act(self, around: Surroundings) -> Act:
        site = self.compile()
        if not self.paths:
            return self._act(site, settled=True)
        prefixes = sorted(self.paths.items(), key=lambda item: len(item[0]), reverse=True)
        table = [(prefix.rstrip("/"), options.compile()) for prefix, options in prefixes]

        def rule(exchange: Exchange) -> Compiled:
            path = exchange.scope["path"]
            for prefix, compiled in table:
                if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                    return compiled
            return site

        def request(exchange: Exchange) -> Answer | Refusal | None:
            return rule(exchange).request(exchange)

        def websocket(exchange: Exchange) -> Answer | Refusal | None:
            return rule(exchange).websocket(exchange)

        def response(
            exchange: Exchange, status: int, headers: list[Header], sent: dict[bytes, bytes]
        ) -> None:
            rule(exchange).response(exchange, status, headers, sent)

        return self._act(Compiled(request, websocket, response), settled=False)

    def _act(self, compiled: Compiled, *, settled: bool) -> Act:
        websocket = compiled.websocket if self.websockets else None
        if self.preflight == "answer":
            request, response = compiled.request, compiled.response
            return Act(request, websocket, response, owns=SPOKEN | {b"vary"}, settled=settled)

        def response_unless_preflight(
            exchange: Exchange, status: int, headers: list[Header], sent: dict[bytes, bytes]
        ) -> None:
            # The app answers preflights, so what it says to one stands.
            asked = exchange.scope.get("method") == "OPTIONS"
            if not (asked and b"access-control-request-method" in exchange):
                compiled.response(exchange, status, headers, sent)

        return Act(
            websocket=websocket,
            response=response_unless_preflight,
            owns=SPOKEN | {b"vary"},
            settled=settled,
        )

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
