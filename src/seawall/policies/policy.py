"""What a policy is: one production concern, said once, that knows four verbs.

A policy is a frozen settings section. ``act`` compiles it for the edge,
``render`` says it to a server in front, ``audit`` finds a wrong setting, and
``prove`` verifies it on a live site. A policy with nothing to say to a verb
inherits the silence here.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from seawall.findings import Finding, Rule
from seawall.policies.exchange import (
    Answer,
    ASGIApp,
    Exchange,
    Header,
    Outcome,
    Refusal,
    Send,
    text,
)
from seawall.section import Section

Hook = Callable[[Exchange], Answer | Refusal | None]
"""Looks at a request; what it returns is sent instead of calling the app."""

ResponseHook = Callable[[Exchange, int, list[Header], dict[bytes, bytes]], None]
"""Edits the response headers in place: exchange, status, headers, and the same headers as
a mapping of what the app sent (for look-ups)."""

Finish = Callable[[Exchange, Outcome], None]
"""Hears once how an exchange ended. Must not raise."""

Refuse = Callable[[Exchange, Refusal], Answer]
"""Gives a refusal its body."""


@dataclass(frozen=True, slots=True)
class Act:
    """A policy compiled for the edge; what is ``None`` costs nothing."""

    http: Hook | None = None
    websocket: Hook | None = None
    response: ResponseHook | None = None
    wrap: Callable[[ASGIApp], ASGIApp] | None = None
    """For the few that must transform the body stream; these stand innermost."""
    failed: Callable[[Exchange, Send], Any] | None = None
    """Awaited with the exchange when the app raised before it answered."""
    finish: Finish | None = None
    """Called exactly once for each HTTP request and each refused websocket handshake that
    reached the policy, innermost first: after the last byte of the body was handed to the
    server, or when the app ended, raised or was cancelled without completing. One that a policy
    outside it answered, or that it answered itself, never reached it."""
    refuse: Refuse | None = None
    """How refusals of every policy look; only the problems policy sets it."""
    owns: frozenset[bytes] = frozenset()
    """Every response header that ``response`` may set or look at. Where the app sent none of
    them, the hook may be handed an empty mapping."""
    settled: bool = False
    """Whether the hooks look at nothing but method, scheme, Host and Origin (and at more only
    of OPTIONS). The edge asks such a policy once for each combination, and remembers what it
    said."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the edge offers a policy when it is compiled."""

    ready: Callable[[], str] = lambda: ""
    """Why the app is not ready to serve; empty when it is."""
    refuse: Refuse = lambda _, refusal: text(refusal)
    """How refusals look, for a ``wrap`` that sends one itself; not to be called while compiling."""


@dataclass(slots=True)
class Draft:
    """A configuration file in the making: policies say lines, a target arranges them.

    ``target`` is the target's name (``"nginx"``); the section names belong to the target
    and are listed in its module.
    """

    target: str
    sections: dict[str, list[tuple[str, tuple[str, ...]]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def say(self, section: str, *lines: str, why: str = "") -> None:
        """Adds lines to a section, under a comment that says why."""
        self.sections[section].append((why, lines))


@dataclass(frozen=True, slots=True)
class Audit:
    """What a policy may look at when it audits itself."""

    origin: Callable[[str], str] = lambda key: ""
    """Where the value of a dotted key came from."""
    policies: Mapping[str, "Policy"] = field(default_factory=dict)
    """Every policy by name, switched off or not."""
    app: Any = None
    """The application, when it could be imported."""

    def on(self, name: str) -> bool:
        """Whether another policy is switched on."""
        return name in self.policies and self.policies[name].enabled


class Reply(Protocol):
    """A response as a stranger sees it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    elapsed: float

    def get(self, name: str) -> str | None:
        """A header's value, several joined with ``", "``; ``None`` when absent."""

    def all(self, name: str) -> list[str]:
        """Every value of a header."""


class Site(Protocol):
    """A live deployment, asked from outside (what ``prove`` gets)."""

    scheme: str
    host: str
    port: int
    policies: Mapping[str, "Policy"]
    active: bool
    """Whether this is the second round of ``seawall probe --active``, in which heavy policies
    prove what takes many requests, and that alone, one policy after the other."""

    def ask(
        self,
        method: str = "GET",
        path: str = "/",
        headers: Iterable[tuple[str, str]] = (),
        *,
        host: str | None = None,
        scheme: str | None = None,
    ) -> Reply:
        """Sends one request on a connection of its own; ``headers`` may repeat names.

        ``host`` replaces the Host header (``""`` leaves it out); ``scheme`` asks the
        site's other door. A refused or silently closed connection has status 0; no
        answer in time raises :class:`seawall.errors.ProbeError`.
        """


def direct(site: Site) -> bool:
    """Whether the app itself was asked, by its own machine: no stranger, but a trusted proxy."""
    return site.scheme == "http" and site.host in ("localhost", "127.0.0.1", "[::1]")


class Policy(Section):
    """One production concern: its settings, and what they mean to each verb."""

    name: ClassVar[str]
    """Its key in the settings."""
    heavy: ClassVar[bool] = False
    """Whether ``prove`` has more to say when ``site.active``."""

    enabled: bool = True
    """Whether the policy is on; `true`, `false` or a table of options all work."""

    @classmethod
    def rules(cls) -> tuple[Rule, ...]:
        """Every finding it can make."""
        return tuple(value for value in vars(cls).values() if isinstance(value, Rule))

    def act(self, around: Surroundings) -> Act:
        """Compiles the policy: everything that can be computed before a request is."""
        return Act()

    def render(self, draft: Draft) -> None:
        """Says the same to a server in front of the app."""

    def audit(self, audit: Audit) -> Iterator[Finding]:
        """Finds wrong or dangerous settings."""
        yield from ()

    def prove(self, site: Site) -> Iterator[Finding]:
        """Finds what a live site does not keep."""
        yield from ()


__all__ = [
    "ASGIApp",
    "Act",
    "Answer",
    "Audit",
    "Draft",
    "Exchange",
    "Finish",
    "Header",
    "Hook",
    "Outcome",
    "Policy",
    "Refusal",
    "Refuse",
    "Reply",
    "ResponseHook",
    "Site",
    "Surroundings",
    "direct",
    "text",
]
