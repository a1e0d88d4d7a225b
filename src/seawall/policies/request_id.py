"""One id a request, in the response, in every log line and in the problem body.

Guarantee: every HTTP response carries the id. An incoming id is kept only when the
peer is a trusted proxy and the id is well formed; anything else is replaced, so a
stranger can neither choose an id nor write into a log.
"""

import re
from collections.abc import Iterator
from contextvars import ContextVar
from random import getrandbits
from typing import ClassVar

from seawall.findings import Finding, Level, Rule
from seawall.policies.exchange import Exchange, Header, drop
from seawall.policies.policy import Act, Draft, Policy, Site, Surroundings, direct
from seawall.policies.values import HeaderName

_current: ContextVar[str] = ContextVar("seawall_request_id", default="")
_well_formed = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch


def request_id() -> str:
    """The id of the request being served in this context; ``""`` outside one."""
    return _current.get()


class RequestId(Policy):
    """Gives each request an id."""

    name: ClassVar[str] = "request_id"
    MISSING: ClassVar[Rule] = Rule(
        "request_id.missing",
        Level.ERROR,
        "Without an id on the response, a user's report cannot be matched to a log line.",
        "see that no proxy strips the header",
    )
    SPOOFED: ClassVar[Rule] = Rule(
        "request_id.spoofed",
        Level.ERROR,
        "A stranger who chooses the id can hide among other requests in the log.",
        "let the proxy in front overwrite the header (`seawall render nginx` does)",
    )
    DOUBLED: ClassVar[Rule] = Rule(
        "request_id.doubled",
        Level.ERROR,
        "Of two ids on one response nobody knows which one the log holds.",
        "let the proxy pass its id to the app (proxy_set_header), and not add it itself",
    )

    header: HeaderName = "X-Request-ID"
    """The request and response header that carries the id."""

    def act(self, around: Surroundings) -> Act:
        name = self.header.lower().encode()
        trusted = "seawall.trusted"

        def request(exchange: Exchange) -> None:
            scope = exchange.scope
            given = exchange.get(name)
            if given is not None and trusted in scope and _well_formed(given):
                value = given.decode("ascii")
            else:
                value = f"{getrandbits(128):032x}"
            state = scope.get("state")
            if state is None:
                state = scope["state"] = {}
            state["request_id"] = value
            _current.set(value)

        def response(
            exchange: Exchange, status: int, headers: list[Header], sent: dict[bytes, bytes]
        ) -> None:
            if name in sent:
                drop(headers, name)
            headers.append((name, exchange.scope["state"]["request_id"].encode("ascii")))

        return Act(request, request, response, owns=frozenset({name}))

    def render(self, draft: Draft) -> None:
        if draft.target == "nginx":
            draft.say(
                "proxy",
                f"proxy_set_header {self.header} $request_id;",
                why="One id for this log and the app's, never the stranger's own.",
            )
            draft.say("log", "id=$request_id", why="the request's id")

    def prove(self, site: Site) -> Iterator[Finding]:
        mine = "seawall-probe-spoofed-id"
        reply = site.ask("GET", "/", [(self.header, mine)])
        got = reply.all(self.header)
        if not got:
            yield self.MISSING(f"GET / has no {self.header} header")
        elif len(got) > 1:
            yield self.DOUBLED(f"GET / has {len(got)} {self.header} headers: {', '.join(got)}")
        elif got == [mine] and not direct(site):
            yield self.SPOOFED(f"{self.header}: {mine} sent by a stranger came back as the id")
