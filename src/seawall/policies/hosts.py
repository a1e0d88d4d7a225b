"""Which host names this site answers to.

Guarantee: a request whose Host is missing, repeated, malformed or not listed is
refused with 400 before the app sees it. Names are compared in one canonical form:
lower case, without port or trailing dot, IDNA (UTS 46) for non-ASCII names, and
IPv6 literals as RFC 5952 writes them (RFC 9110, section 7.2; RFC 3986, section 3.2.2).
"""

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from seawall.errors import Hinted
from seawall.findings import Finding, Level, Rule
from seawall.policies.exchange import Answer, Exchange, Refusal
from seawall.policies.host import LOOPBACK, canonical, split
from seawall.policies.policy import Act, Audit, Draft, Policy, Site, Surroundings
from seawall.policies.redirect import redirect
from seawall.section import Strings

_STRANGER = "seawall-probe.invalid"


def _pattern(value: str) -> str:
    """A host name, ``*.name`` for its subdomains, or ``*``; refused with the right spelling."""
    if value == "*":
        return value
    star = "*." if value.startswith("*.") else ""
    bare = value.removeprefix("*.")
    if canonical(bare):
        return star + canonical(bare)
    # Guess what was meant: an address bar's content, a port, an IPv6 literal without brackets.
    guess = re.sub(r"^[a-z]+://", "", bare, flags=re.IGNORECASE).split("/")[0]
    right = canonical(split(guess)[0]) or canonical(f"[{guess}]") or canonical(guess.strip("*."))
    hint = f"write '{star}{right}'" if right else "write 'example.com' or '*.example.com'"
    raise Hinted(f"{value!r} is not a host name", hint)


def _patterns(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_pattern, values)))


class Hosts(Policy):
    """Refuses requests for hosts that are not this site's."""

    name: ClassVar[str] = "hosts"
    OPEN: ClassVar[Rule] = Rule(
        "hosts.open",
        Level.WARNING,
        "An app that answers to any Host can be made to write a stranger's name into "
        "links, redirects and caches.",
        "name the site's hosts: hosts.allowed_hosts = ['example.com']",
    )
    UNSET: ClassVar[Rule] = Rule(
        "hosts.unset",
        Level.WARNING,
        "No host names are set, so every Host is answered.",
        "set hosts.allowed_hosts = ['example.com', '*.example.com']",
    )
    ANSWERS: ClassVar[Rule] = Rule(
        "hosts.answers",
        Level.ERROR,
        "The live site serves a host that is not listed.",
        "let nothing in front rewrite the Host, and refuse unknown names there too",
    )
    DUPLICATE: ClassVar[Rule] = Rule(
        "hosts.duplicate",
        Level.ERROR,
        "Two Host headers make a proxy and the app disagree about the site (RFC 9112, 3.2).",
        "refuse such requests in the proxy or the app",
    )
    REFUSED: ClassVar[Rule] = Rule(
        "hosts.refused",
        Level.ERROR,
        "The live site refuses the very name it was asked by, so its visitors get nothing, and "
        "every other answer of the probe is about refusals.",
        "add the name to hosts.allowed_hosts, or probe by a listed one: --connect HOST:PORT",
    )

    enabled: bool = False
    """Whether the policy is on; naming hosts switches it on."""
    allowed_hosts: Annotated[Strings, AfterValidator(_patterns)] = ("*",)
    """Host names; `*.example.com` is every subdomain (not example.com itself), `*` any host."""
    www_redirect: bool = True
    """Redirect `example.com` to `www.example.com` when only the latter is listed."""

    def act(self, around: Surroundings) -> Act:
        if "*" in self.allowed_hosts:
            return Act()
        names = frozenset(name for name in self.allowed_hosts if not name.startswith("*"))
        suffixes = tuple(name[1:] for name in self.allowed_hosts if name.startswith("*"))
        refused = Refusal(400, "Invalid host header")
        www = self.www_redirect

        def request(exchange: Exchange) -> Answer | Refusal | None:
            values = exchange.values_of(b"host")
            if len(values) != 1:
                return refused
            value = values[0]
            host = canonical(split(value.decode("latin-1"))[0])
            if host in names or (host and host.endswith(suffixes)):
                return None
            if www and host and f"www.{host}" in names and exchange.scope["type"] == "http":
                return redirect(exchange.scope, f"www.{value.decode('latin-1')}".lower())
            return refused

        return Act(http=request, websocket=request, settled=True)

    def render(self, draft: Draft) -> None:
        if draft.target == "nginx" and self.enabled:
            # nginx writes '*.example.com' alike; loopback names have no certificate.
            names = [name for name in self.allowed_hosts if name not in LOOPBACK and name != "*"]
            # The app redirects the bare name, so it must get to hear of it.
            bare = [name[4:] for name in names if name.startswith("www.")]
            draft.say("server_name", *names, *(bare if self.www_redirect else ()))

    def audit(self, audit: Audit) -> Iterator[Finding]:
        source = audit.origin("hosts.allowed_hosts")
        if not self.enabled:
            yield self.UNSET("every Host header is answered", source=audit.origin("hosts.enabled"))
        elif "*" in self.allowed_hosts:
            yield self.OPEN("hosts.allowed_hosts contains '*'", source=source)

    def prove(self, site: Site) -> Iterator[Finding]:
        if not self.enabled or "*" in self.allowed_hosts:
            return
        schemes = dict.fromkeys((site.scheme, "http"))
        for scheme in schemes:
            served = site.ask("GET", "/", scheme=scheme).status
            # Plain http beside https may be shut; the site itself may not.
            if served in (400, 421) or (served == 0 and scheme == site.scheme):
                answer = f"answers {served}" if served else "is closed"
                yield self.REFUSED(f"GET / over {scheme} with the URL's own host {answer}")
            for host in (_STRANGER, f"{site.host.strip('[]')}.{_STRANGER}", ""):
                reply = site.ask("GET", "/", host=host, scheme=scheme)
                # 444, which closes the connection, is told as 0. A 403 or 404 refuses as
                # well, if it is not what this site answers anyway.
                refused = reply.status in (0, 400, 421)
                if not refused and (reply.status not in (403, 404) or reply.status == served):
                    shown = f"Host: {host}" if host else "no Host"
                    where = f" to {reply.get('location')}" if reply.get("location") else ""
                    yield self.ANSWERS(
                        f"GET / over {scheme} with {shown} answers {reply.status}{where}, not 400"
                    )
            # The absolute form outdoes the Host header (RFC 9112, section 3.2.2).
            reply = site.ask("GET", f"{scheme}://{_STRANGER}/", scheme=scheme)
            if _STRANGER in (reply.get("location") or "") or _STRANGER.encode() in reply.body:
                yield self.ANSWERS(
                    f"GET {scheme}://{_STRANGER}/ answers {reply.status}, and repeats that name"
                )
            doubled = site.ask("GET", "/", [("Host", _STRANGER)], scheme=scheme)
            if doubled.status not in (0, 400, 403, 421):
                yield self.DUPLICATE(
                    f"GET / over {scheme} with two Host headers answers {doubled.status}"
                )
