"""Only over TLS: redirects plain requests, refuses plain websockets, and sends HSTS.

Guarantee: the redirect keeps host, raw path and query, names the configured port, and
never the address the server is bound to. HSTS goes out over https alone (RFC 6797, 7.2).
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from seawall.errors import Hinted
from seawall.findings import Finding, Level, Rule
from seawall.policies.exchange import Answer, Exchange, Header, Refusal
from seawall.policies.host import LOOPBACK, canonical, split
from seawall.policies.policy import Act, Audit, Draft, Policy, Site, Surroundings
from seawall.policies.redirect import redirect
from seawall.policies.values import Paths

_YEAR = 31_536_000


def _host(value: str) -> str:
    if value and not canonical(value):
        raise Hinted(f"{value!r} is not a host name", "write 'example.com', without scheme or port")
    return canonical(value)


class Https(Policy):
    """Takes visitors to https and keeps them there."""

    name: ClassVar[str] = "https"
    OFF: ClassVar[Rule] = Rule(
        "https.off",
        Level.WARNING,
        "Passwords and cookies sent over plain http are everyone's.",
        "set https = true",
    )
    HOSTS: ClassVar[Rule] = Rule(
        "https.hosts",
        Level.WARNING,
        "A redirect repeats the Host it was sent; with any Host answered, a stranger's "
        "name can end up in caches.",
        "set hosts.allowed_hosts, or https.host",
    )
    PRELOAD: ClassVar[Rule] = Rule(
        "https.preload",
        Level.ERROR,
        "hstspreload.org refuses sites without includeSubDomains and a year's max-age.",
        "set https.include_subdomains = true and https.hsts = 31536000",
    )
    PLAIN: ClassVar[Rule] = Rule(
        "https.plain",
        Level.ERROR,
        "The live site serves content over plain http.",
        "let the proxy redirect port 80 (`seawall render nginx` does), or set https = true",
    )
    LOST: ClassVar[Rule] = Rule(
        "https.lost",
        Level.ERROR,
        "A redirect that loses the path, the query or the method breaks links and forms.",
        "let one part alone redirect; it must repeat the path and query as they came",
    )
    LOOP: ClassVar[Rule] = Rule(
        "https.loop",
        Level.ERROR,
        "The app takes each https request for a plain one, and redirects it to where it was.",
        "let the proxy send X-Forwarded-Proto, and let the app trust it (proxy.trusted)",
    )
    HSTS: ClassVar[Rule] = Rule(
        "https.hsts",
        Level.WARNING,
        "Without Strict-Transport-Security a visitor's first request of each day is open "
        "to interception; over http the header means nothing and must not be sent.",
        "see that the proxy passes the header on https, and does not add it on http",
    )

    enabled: bool = False
    """Whether the policy is on."""
    redirect: bool | Literal["auto"] = "auto"
    """Redirect http to https; `auto` spares requests to loopback names, so a laptop works."""
    host: Annotated[str, AfterValidator(_host)] = ""
    """The host to redirect to; empty keeps the request's own."""
    port: int = Field(default=443, ge=1, le=65535)
    """The port that serves https."""
    permanent: bool = True
    """Redirect for good (301, or 308 to keep a form's method); `false` answers 307."""
    exempt: Paths = ()
    """Paths, and all below them, that stay reachable over plain http."""
    hsts: int = Field(default=_YEAR, ge=0)
    """`max-age` of Strict-Transport-Security in seconds; 0 sends no header."""
    include_subdomains: bool = False
    """Whether HSTS covers every subdomain too."""
    preload: bool = False
    """Whether to ask browsers to build the rule in; hard to take back."""

    @model_validator(mode="after")
    def _hsts_hangs_together(self) -> "Https":
        if self.preload and not self.hsts:
            raise Hinted("preload without hsts says nothing", "set https.hsts = 31536000")
        return self

    @property
    def strict_transport_security(self) -> str:
        """The header's value; ``""`` when none is sent."""
        if not self.hsts:
            return ""
        value = f"max-age={self.hsts}"
        value += "; includeSubDomains" if self.include_subdomains else ""
        return value + ("; preload" if self.preload else "")

    def act(self, around: Surroundings) -> Act:
        hsts = self.strict_transport_security.encode()
        redirects, spare_loopback = bool(self.redirect), self.redirect == "auto"
        fixed, suffix = self.host, "" if self.port == 443 else f":{self.port}"
        no_host = Refusal(400, "Invalid host header")
        insecure = Refusal(403, "This websocket is served over wss only")
        permanent = self.permanent
        exempt = tuple(path.rstrip("/") for path in self.exempt)
        below = tuple(f"{path}/" for path in exempt)

        def request(exchange: Exchange) -> Answer | Refusal | None:
            scope = exchange.scope
            if scope["scheme"] in ("https", "wss"):
                return None
            hosts = exchange.values_of(b"host")
            host = canonical(split(hosts[0].decode("latin-1"))[0]) if len(hosts) == 1 else ""
            if spare_loopback and host in LOOPBACK:
                return None
            if not (fixed or host):
                return no_host
            path = scope["path"]
            if path in exempt or path.startswith(below):
                return None
            if scope["type"] == "websocket":
                return insecure
            return redirect(scope, (fixed or host) + suffix, "https", permanent=permanent)

        def response(
            exchange: Exchange, status: int, headers: list[Header], sent: dict[bytes, bytes]
        ) -> None:
            if exchange.scope["scheme"] == "https" and b"strict-transport-security" not in sent:
                headers.append((b"strict-transport-security", hsts))

        act = request if redirects else None
        owns = frozenset({b"strict-transport-security"})
        answer = response if hsts else None
        settled = not self.exempt
        return Act(http=act, websocket=act, response=answer, owns=owns, settled=settled)

    def render(self, draft: Draft) -> None:
        if draft.target != "nginx" or not self.enabled:
            return
        if self.redirect:
            port = "" if self.port == 443 else f":{self.port}"
            to = f"https://{self.host or '$host'}{port}$request_uri"
            if not self.permanent:
                draft.say(
                    "redirect",
                    f"return 307 {to};",
                    why="Path and query as they came, for the time being.",
                )
            else:
                draft.say(
                    "redirect",
                    'if ($request_method !~ "^(GET|HEAD)$") {',
                    f"    return 308 {to};",
                    "}",
                    f"return 301 {to};",
                    why="Path and query as they came. 308 keeps the method and body of a form; "
                    "GET and HEAD get the 301 that every client knows.",
                )
            for path in self.exempt:
                for place in (f"= {path.rstrip('/')}", f"{path.rstrip('/')}/"):
                    draft.say("plain", f"location {place} {{", "    proxy_pass http://app;", "}")
        if self.strict_transport_security:
            draft.say(
                "http",
                'map "$https:$upstream_http_strict_transport_security" $hsts {',
                f'    "on:" "{self.strict_transport_security}";',
                '    default "";',
                "}",
                why="HSTS for what nginx itself answers (files, errors), over https alone; "
                "the app's own answers carry it already.",
            )
            draft.say("server", "add_header Strict-Transport-Security $hsts always;")

    def audit(self, audit: Audit) -> Iterator[Finding]:
        if not self.enabled:
            yield self.OFF("plain http is served", source=audit.origin("https.enabled"))
            return
        if self.preload and not (self.include_subdomains and self.hsts >= _YEAR):
            yield self.PRELOAD(
                "preload is asked for, but browsers will refuse it",
                source=audit.origin("https.preload"),
            )
        if self.redirect and not self.host and not audit.on("hosts"):
            yield self.HOSTS(
                "redirects repeat any Host they are sent", source=audit.origin("https.redirect")
            )

    def prove(self, site: Site) -> Iterator[Finding]:
        if not self.enabled:
            return
        if site.scheme == "https":
            yield from self._prove_https(site)
        if self.redirect and not (self.redirect == "auto" and canonical(site.host) in LOOPBACK):
            yield from self._prove_redirect(site)
        if site.ask("GET", "/", scheme="http").get("strict-transport-security"):
            yield self.HSTS("Strict-Transport-Security is sent over plain http")

    def _prove_redirect(self, site: Site) -> Iterator[Finding]:
        path = "/seawall%2Fprobe?a=1&b=%2F"
        kept = (307, 308)
        for method, fine in (("GET", (301, 302, *kept)), ("POST", kept)):
            reply = site.ask(method, path, scheme="http")
            where = reply.get("location") or ""
            if reply.status == 0:
                continue  # the port is closed: nothing is served in the clear
            if not where.startswith("https://"):
                said = f"answers {reply.status}" + (f" to {where}" if where else "")
                yield self.PLAIN(f"{method} over http {said}, not a redirect to https")
            elif not where.endswith(path):
                yield self.LOST(f"{method} {path} is redirected to {where}")
            elif reply.status not in fine:
                yield self.LOST(f"{method} is redirected with {reply.status}, which loses it")

    def _prove_https(self, site: Site) -> Iterator[Finding]:
        path = "/seawall-probe-no-such-page"
        where = site.ask("GET", path).get("location") or ""
        if where.startswith(f"https://{site.host}") and where.endswith(path):
            yield self.LOOP(f"GET {path} over https is redirected to {where}")
        values = site.ask("GET", "/").all("strict-transport-security")
        wanted = self.strict_transport_security
        if values != ([wanted] if wanted else []):
            said = " and ".join(values) or "nothing"
            promised = wanted or "to send none"
            yield self.HSTS(f"Strict-Transport-Security says {said}; the settings say {promised}")
