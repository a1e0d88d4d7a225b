"""Runs every policy's ``prove`` against a live site, side by side, and gathers what they find."""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from threading import BoundedSemaphore, Thread
from urllib.parse import urlsplit

from seawall.errors import ProbeError
from seawall.findings import Finding, Level, Rule
from seawall.policies import Policy
from seawall.policies.host import canonical
from seawall.probe import tls
from seawall.probe.site import Door, Site
from seawall.settings import Tree

CRASHED = Rule(
    "probe.crashed",
    Level.ERROR,
    "A check that fell over proves nothing; the fault is Seawall's.",
    "report it, with the message",
)
SILENT = Rule(
    "probe.silent",
    Level.ERROR,
    "A request that is never answered holds a connection, here and on the server.",
    "see the server's log; a slow site: --timeout",
)
UNASKED = Rule(
    "probe.unasked",
    Level.NOTE,
    "The redirect and the refusals on plain http were not proven.",
    "say where it listens: --connect-http HOST:PORT",
)
INSECURE = Rule(
    "probe.insecure",
    Level.NOTE,
    "The certificate was not verified, so anyone could have answered.",
    "leave --insecure out; --cafile takes an authority of your own",
)
RULES = (*tls.RULES, CRASHED, SILENT, UNASKED, INSECURE)
"""What the probe itself can find, beside the rules of the policies."""

_THREADS = 8
_Told = Future[tuple[Finding, ...]]


@dataclass(frozen=True, slots=True)
class Progress:
    """One check that is done: its name, and what it found."""

    name: str
    findings: tuple[Finding, ...]


def run(
    url: str,
    settings: Tree,
    *,
    connect: Door | None = None,
    connect_http: Door | None = None,
    cafile: str | None = None,
    insecure: bool = False,
    timeout: float = 10.0,
    active: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[Finding]:
    """Asks the site at ``url`` (``https://example.com``) to keep what ``settings`` say.

    ``connect`` is where TCP goes for the URL's own scheme, ``connect_http`` for plain
    http; names in Host and TLS stay the URL's. ``timeout`` is seconds a request.
    ``active`` adds the heavy proofs. Findings come in the policies' order, whatever finished
    first; those of the heavy proofs last.

    Raises :class:`ProbeError` when the site cannot be asked at all.
    """
    scheme, host, port = _parse(url)
    doors = {scheme: connect or Door(host.strip("[]"), port)}
    plain = connect_http or _plain_door(doors[scheme], settings)
    if scheme == "https" and plain is not None:
        doors["http"] = plain
    context = tls.context(cafile, insecure)
    site = Site(scheme, host, port, settings.policies, doors, context, timeout)
    tls.greet(site)

    checks: list[tuple[str, Callable[[Site], Iterator[Finding]]]] = [
        (name, one.prove)
        for name, one in settings.policies.items()
        if one.enabled and type(one).prove is not Policy.prove
    ]
    if scheme == "https":
        checks.insert(0, ("tls", tls.prove))
    found: list[Finding] = []
    if insecure and scheme == "https":
        found.append(INSECURE(f"the certificate of {host} was taken on trust"))
    if "http" not in doors:
        found.append(UNASKED(f"where {host} listens for plain http is not known"))
    for done in _side_by_side(checks, site):
        progress(done)
        found += done.findings
    # One by one, after all else: a flood gets the other questions refused as well.
    for name, one in settings.policies.items() if active else ():
        if one.enabled and one.heavy:
            done = Progress(f"{name}, heavy", _gather(name, one.prove, replace(site, active=True)))
            progress(done)
            found += done.findings
    return found


def _side_by_side(
    checks: Sequence[tuple[str, Callable[[Site], Iterator[Finding]]]], site: Site
) -> Iterator[Progress]:
    turns = BoundedSemaphore(_THREADS)

    def ask(name: str, prove: Callable[[Site], Iterator[Finding]], told: _Told) -> None:
        with turns:
            told.set_result(_gather(name, prove, site))

    waiting = [(name, prove, _Told()) for name, prove in checks]
    for one in waiting:
        # Daemons, which no executor has: Ctrl-C does not wait for a site that says nothing.
        Thread(target=ask, args=one, daemon=True, name=f"probe {one[0]}").start()
    for name, _, told in waiting:
        yield Progress(name, told.result())


def _gather(
    name: str, prove: Callable[[Site], Iterator[Finding]], site: Site
) -> tuple[Finding, ...]:
    """What one check finds; one that falls over is a finding as well, after those it made."""
    found: list[Finding] = []
    try:
        for one in prove(site):
            found.append(one)
    except ProbeError as error:
        found.append(SILENT(f"{name}: {error}"))
    except Exception as error:
        found.append(CRASHED(f"{name}: {type(error).__name__}: {error}"))
    return tuple(found)


def _parse(url: str) -> tuple[str, str, int]:
    # A password that was typed by mistake is not to stand in a log as well.
    shown = re.sub(r"(?<=//).*@", "***@", url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ProbeError(f"{shown!r} is not a URL: {error}") from error
    bare = parts.hostname or ""
    host = canonical(f"[{bare}]" if ":" in bare else bare)
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ProbeError(f"{shown!r} is not a site's URL", hint="write 'https://example.com'")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise ProbeError(
            f"{shown!r} is more than a site",
            hint=f"write '{parts.scheme}://{parts.netloc.rpartition('@')[2]}'",
        )
    return parts.scheme, host, port or {"http": 80, "https": 443}[parts.scheme]


def _plain_door(own: Door, settings: Tree) -> Door | None:
    """Where plain http is asked when nobody said: only where this very site must listen.

    A site on a port of its own may share the machine with strangers, whose port 80 proves
    nothing about it.
    """
    if own.port == settings.nginx.https_port:
        return Door(own.host, settings.nginx.http_port)
    return Door(own.host, 80) if own.port == 443 else None
