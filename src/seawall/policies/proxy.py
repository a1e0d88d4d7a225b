"""Who is really asking: ``X-Forwarded-*`` or ``Forwarded``, from trusted proxies alone.

Guarantee: one behaviour on every server, over TCP and unix sockets. The client is
the right-most address that is not a trusted proxy; a header from anyone else is
ignored, so a stranger can never name the client, the scheme or the host.

One of the two families is read, never both: a proxy overwrites the one it knows and
passes a stranger's other one on (RFC 7239, section 8.1).

The server's own proxy handling must be off (``seawall serve`` sees to it): two
parts that both rewrite the client cannot both be right.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from seawall.errors import Hinted
from seawall.findings import Finding, Level, Rule
from seawall.policies.exchange import Exchange, Scope
from seawall.policies.forwarded import Hop, forwarded, x_forwarded
from seawall.policies.policy import Act, Audit, Draft, Policy, Reply, Site, Surroundings, direct
from seawall.section import Strings

SECURE = {"http": "https", "ws": "wss"}
PLAIN = {"https": "http", "wss": "ws"}

_NAMES = {
    "forwarded": (b"forwarded",),
    "x-forwarded": (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"),
}


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if value in ("unix", "*"):
            continue
        try:
            ip_network(value)
        except ValueError as error:
            hint = "write an address, a network like '10.0.0.0/8', 'unix' or '*'"
            with suppress(ValueError):
                hint = f"write '{ip_network(value, strict=False)}'"
            raise Hinted(f"{value!r} is not a network", hint) from error
    return values


class Proxy(Policy):
    """Believes the proxies in front, and nobody else."""

    name: ClassVar[str] = "proxy"
    OPEN: ClassVar[Rule] = Rule(
        "proxy.open",
        Level.ERROR,
        "With every peer trusted, any client can choose the address and scheme that the "
        "app sees, and with them pass limits, logs and redirects.",
        "name the proxies: proxy.trusted = ['10.0.0.0/8']",
    )
    SPOOFED: ClassVar[Rule] = Rule(
        "proxy.spoofed",
        Level.ERROR,
        "The site believes an X-Forwarded-Proto that a stranger sent.",
        "let the proxy in front overwrite X-Forwarded-* (`seawall render nginx` does)",
    )

    trusted: Annotated[Strings, AfterValidator(_networks)] = ("127.0.0.0/8", "::1", "unix")
    """Addresses and networks of the proxies; `unix` is a peer on a unix socket, `*` everyone."""
    hops: int = Field(default=0, ge=0, le=16)
    """Instead of addresses: how many proxies always stand in front, whoever they are."""
    header: Literal["x-forwarded", "forwarded"] = "x-forwarded"
    """The headers that the proxies write: `X-Forwarded-*`, or `Forwarded` (RFC 7239)."""
    host: bool = False
    """Also take the Host from them; only for a proxy that overwrites it."""
    prefix: bool = False
    """Also take `root_path` from `X-Forwarded-Prefix`; only for a proxy that overwrites it."""

    def act(self, around: Surroundings) -> Act:
        trusts = (lambda peer: True) if self.hops else _truster(self.trusted)
        read = forwarded if self.header == "forwarded" else x_forwarded
        names = _NAMES[self.header]
        hops, host_too, prefix_too = self.hops, self.host, self.prefix

        def request(exchange: Exchange) -> None:
            scope = exchange.scope
            if not trusts(_peer(scope)):
                return
            scope["seawall.trusted"] = True
            if any(name in exchange for name in names):
                said = read(exchange)
                found = said[-hops:][:1] if hops else _strangers(said, trusts)
                if found and found[0].client is not None:
                    scope["client"] = found[0].client
                _scheme(scope, said[-1].proto)
                if host_too and said[-1].host:
                    kept = [header for header in scope["headers"] if header[0] != b"host"]
                    scope["headers"] = [(b"host", said[-1].host.encode("latin-1")), *kept]
                    exchange.refresh()
            if prefix_too and b"x-forwarded-prefix" in exchange:
                _prefix(scope, exchange[b"x-forwarded-prefix"])

        return Act(http=request, websocket=request)

    def render(self, draft: Draft) -> None:
        if draft.target == "nginx":
            draft.say(
                "proxy",
                "proxy_set_header X-Forwarded-For $remote_addr;",
                "proxy_set_header X-Forwarded-Proto $scheme;",
                "proxy_set_header X-Forwarded-Host $authority;",
                "proxy_set_header X-Forwarded-Port $server_port;",
                "proxy_set_header X-Real-IP $remote_addr;",
                'proxy_set_header Forwarded "";',
                why="Overwritten, never appended to: what a stranger sent must not pass.",
            )

    def audit(self, audit: Audit) -> Iterator[Finding]:
        if not self.hops and {"*", "0.0.0.0/0", "::/0"} & set(self.trusted):
            yield self.OPEN(
                "every peer is trusted as a proxy", source=audit.origin("proxy.trusted")
            )

    def prove(self, site: Site) -> Iterator[Finding]:
        if direct(site):
            return
        for scheme in dict.fromkeys((site.scheme, "http")):
            plain = site.ask("GET", "/", scheme=scheme)
            for spoof in (
                ("X-Forwarded-Proto", "http"),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "seawall-probe.invalid"),
            ):
                yield from self._prove(site, scheme, plain, spoof)

    def _prove(
        self, site: Site, scheme: str, plain: Reply, spoof: tuple[str, str]
    ) -> Iterator[Finding]:
        """Nothing may depend on a forwarding header that a stranger sent."""
        spoofed = site.ask("GET", "/", [spoof], scheme=scheme)
        for what, before, after in (
            ("status", str(plain.status), str(spoofed.status)),
            *(
                (name, plain.get(name) or "none", spoofed.get(name) or "none")
                for name in ("location", "strict-transport-security")
            ),
        ):
            if before != after:
                yield self.SPOOFED(
                    f"GET / over {scheme} with {': '.join(spoof)} "
                    f"changes the {what} from {before} to {after}"
                )
                return


def _truster(trusted: tuple[str, ...]) -> Callable[[str], bool]:
    """A look-up: is this peer (an address, or ``"unix"``) one of ours?"""
    everyone = "*" in trusted
    unix = "unix" in trusted
    networks: list[IPv4Network | IPv6Network] = [
        ip_network(value) for value in trusted if value not in ("unix", "*")
    ]

    # Bounded, so that a flood of distinct addresses cannot fill the memory.
    @lru_cache(maxsize=1024)
    def trusts(peer: str) -> bool:
        if everyone:
            return True
        try:
            address = ip_address(peer)
        except ValueError:
            # A unix socket's peer has no address: servers say None, "" or a path.
            return unix and (peer in ("", "unix") or peer.startswith("/"))
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in networks)

    return trusts


def _peer(scope: Scope) -> str:
    """The address at the other end; ``"unix"`` on a unix socket, ``"?"`` if it is not known.

    A TCP client that reset the connection has no address any more. It must not be taken for
    a unix socket, which is told by its server address: a path, without a port.
    """
    client = scope.get("client")
    if client:
        return str(client[0]) or "unix"
    server = scope.get("server")
    return "unix" if server and server[1] is None else "?"


def _strangers(said: list[Hop], trusts: Callable[[str], bool]) -> list[Hop]:
    """Right to left past our own proxies: the first hop that is not ours, as a list of one.

    What stands left of an unreadable hop was not vouched for by anyone, so the last
    readable one counts.
    """
    found: list[Hop] = []
    for hop in reversed(said):
        if hop.client is None:
            break
        found = [hop]
        if not trusts(hop.client[0]):
            break
    return found


def _scheme(scope: Scope, proto: str) -> None:
    if proto in ("https", "wss"):
        scope["scheme"] = SECURE.get(scope["scheme"], scope["scheme"])
    elif proto in ("http", "ws"):
        scope["scheme"] = PLAIN.get(scope["scheme"], scope["scheme"])


_plain_prefix = re.compile(rb"(/[A-Za-z0-9._~-]+)+").fullmatch


def _prefix(scope: Scope, value: bytes) -> None:
    """Puts the prefix that a proxy stripped back, as ASGI has it: in path and root_path."""
    prefix = value.strip().rstrip(b"/")
    if not _plain_prefix(prefix):
        return
    text = prefix.decode("ascii")
    scope["root_path"] = text + scope.get("root_path", "")
    scope["path"] = text + scope["path"]
    if scope.get("raw_path"):
        scope["raw_path"] = prefix + scope["raw_path"]
