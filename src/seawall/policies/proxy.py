"""Who is really asking: ``X-Forwarded-For`` and ``-Proto`` from trusted proxies alone.

Guarantee: one behaviour on every server, over TCP and unix sockets. The client is
the right-most address that is not a trusted proxy; a header from anyone else is
ignored, so a stranger can never name the client, the scheme or the host.

The server's own proxy handling must be off (``seawall serve`` sees to it): two
parts that both rewrite the client cannot both be right.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator

from seawall.errors import Hinted
from seawall.findings import Finding, Level, Rule
from seawall.policies.exchange import Exchange, Scope, fields
from seawall.policies.policy import Act, Audit, Draft, Policy, Reply, Site, Surroundings, direct
from seawall.section import Strings

SECURE = {"http": "https", "ws": "wss"}
PLAIN = {"https": "http", "wss": "ws"}


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
    host: bool = False
    """Also take the Host from `X-Forwarded-Host`; only for a proxy that overwrites it."""

    def act(self, around: Surroundings) -> Act:
        trusts = _truster(self.trusted)
        host_too = self.host

        def request(exchange: Exchange) -> None:
            scope = exchange.scope
            client = scope.get("client")
            if not trusts(client[0] if client else "unix"):
                return
            scope["seawall.trusted"] = True
            if b"x-forwarded-for" in exchange:
                _client(scope, exchange, trusts)
            proto = exchange.get(b"x-forwarded-proto")
            if proto is not None:
                # The right-most value is the one the trusted peer added itself.
                _scheme(scope, proto.rsplit(b",", 1)[-1].strip().lower())
            if host_too and b"x-forwarded-host" in exchange:
                host = exchange[b"x-forwarded-host"].rsplit(b",", 1)[-1].strip()
                kept = [header for header in scope["headers"] if header[0] != b"host"]
                scope["headers"] = [(b"host", host), *kept]
                exchange.refresh()

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
        if {"*", "0.0.0.0/0", "::/0"} & set(self.trusted):
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


def _truster(trusted: tuple[str, ...]) -> Any:
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


def _client(scope: Scope, exchange: Exchange, trusts: Any) -> None:
    """Right to left past our own proxies; stops at the first address that is not ours."""
    found: tuple[str, int] | None = None
    for raw in reversed(fields(exchange.values_of(b"x-forwarded-for"))):
        host, port = _address(raw.decode("latin-1"))
        if not host:
            # What stands left of an unreadable entry was not vouched for by anyone.
            break
        found = (host, port)
        if not trusts(host):
            break
    if found is not None:
        scope["client"] = found


def _address(text: str) -> tuple[str, int]:
    """``1.2.3.4``, ``1.2.3.4:5``, ``2001:db8::1`` or ``[2001:db8::1]:5``; ``("", 0)`` otherwise."""
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        address = ip_address(host)
        number = int(port or 0) if port.isascii() and (port.isdigit() or not port) else -1
    except ValueError:
        return "", 0
    return (str(address), number) if 0 <= number <= 65535 else ("", 0)


def _scheme(scope: Scope, proto: bytes) -> None:
    if proto in (b"https", b"wss"):
        scope["scheme"] = SECURE.get(scope["scheme"], scope["scheme"])
    elif proto in (b"http", b"ws"):
        scope["scheme"] = PLAIN.get(scope["scheme"], scope["scheme"])
