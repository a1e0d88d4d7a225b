"""One id a request, in the response, in every log line and in the problem body; and its trace's.

Guarantee: every HTTP response carries the request's id. An incoming id is kept only when the
peer is a trusted proxy and the id is well formed; anything else is replaced, so a
stranger can neither choose an id nor write into a log. The same holds for the trace's id in
``traceparent`` (W3C Trace Context, level 1, section 3.2). A trace that begins here has the
request's id, where that can be one.

The ids live as long as the context of the request, which servers make for each anew.
"""

import re
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from random import getrandbits
from typing import ClassVar

from seawall.findings import Finding, Level, Rule
from seawall.policies.exchange import Exchange, Header, drop
from seawall.policies.policy import Act, Draft, Policy, Site, Surroundings, direct
from seawall.policies.values import HeaderName

_current: ContextVar[tuple[str, str]] = ContextVar("seawall_request_id", default=("", ""))
_well_formed = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch
_trace = re.compile(r"(?!0{32})[0-9a-f]{32}").fullmatch
_traceparent = re.compile(
    rb"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})"
    rb"-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<rest>-.*)?"
).fullmatch


def request_id() -> str:
    """The id of the request being served in this context; ``""`` outside one."""
    return _current.get()[0]


def trace_id() -> str:
    """The id of its trace, 32 hexadecimal digits; ``""`` outside a request."""
    return _current.get()[1]


def parent(values: Sequence[bytes]) -> str:
    """The trace's id that ``traceparent`` headers tell; ``""`` for none, or a malformed one.

    W3C Trace Context, section 3.2: one header, lower case, no id of zeros alone; version 00
    has exactly four fields, and a later version begins with them.
    """
    found = _traceparent(values[0]) if len(values) == 1 else None
    if found is None or (found["version"] == b"00" and found["rest"] is not None):
        return ""
    return found["trace"].decode("ascii")


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
            value = trace = ""
            if trusted in scope:
                given = exchange.get(name)
                if given is not None and _well_formed(given):
                    value = given.decode("ascii")
                if b"traceparent" in exchange:
                    trace = parent(exchange.values_of(b"traceparent"))
            if not value:
                value = f"{getrandbits(128):032x}"
            if not trace:
                trace = value if _trace(value) else f"{getrandbits(128) or 1:032x}"
            scope["seawall.request_id"] = value
            scope["seawall.trace_id"] = trace
            # A copy for the app, which may write there what it likes.
            state = scope.get("state")
            if state is None:
                state = scope["state"] = {}
            state["request_id"] = value
            state["trace_id"] = trace
            _current.set((value, trace))

        def response(
            exchange: Exchange, status: int, headers: list[Header], sent: dict[bytes, bytes]
        ) -> None:
            if name in sent:
                drop(headers, name)
            headers.append((name, exchange.scope["seawall.request_id"].encode("ascii")))

        return Act(request, request, response, owns=frozenset({name}))

    def render(self, draft: Draft) -> None:
        if draft.target == "nginx":
            draft.say(
                "proxy",
                f"proxy_set_header {self.header} $request_id;",
                'proxy_set_header traceparent "";',
                'proxy_set_header tracestate "";',
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
