"""How long an answer may take to begin: 504 after that, and the work is cancelled.

Guarantees: the app is cancelled as :func:`asyncio.timeout` would: ``finally`` blocks,
``async with`` and dependencies with ``yield`` all run; what it would have enqueued is not.
Once the response has begun, nothing is cancelled, so streams and server-sent events may last,
unless ``total`` is set. Websockets are left alone.

A synchronous endpoint runs in a thread, which nothing can cancel: the client gets its 504 in
time, and the thread works on until it is done.
"""

from collections.abc import Awaitable, Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from seawall.findings import Finding, Level, Rule
from seawall.policies.deadline import Deadlines
from seawall.policies.exchange import ASGIApp, Message, Receive, Refusal, Scope, Send
from seawall.policies.policy import Act, Audit, Draft, Policy, Surroundings
from seawall.policies.prefix import Prefix, by_path
from seawall.policies.refusing import refuse

_PATIENT = 300
_DAY = 86_400

# What ends a body: servers send files themselves on the last two (ASGI extensions).
_ENDS = ("http.response.body", "http.response.pathsend", "http.response.zerocopysend")


class Timeout(Policy):
    """Ends requests that take too long."""

    name: ClassVar[str] = "timeout"
    LONG: ClassVar[Rule] = Rule(
        "timeout.long",
        Level.NOTE,
        "Browsers, proxies and balancers give up long before; the work then goes on for nobody.",
        "make it a background task, and answer 202 at once",
    )

    enabled: bool = False
    """Whether the policy is on."""
    seconds: float = Field(default=30.0, gt=0, le=_DAY)
    """Seconds from the arrival of a request until its response must have begun; its body is
    read within them too."""
    paths: dict[Prefix, Annotated[float, Field(ge=0, le=_DAY)]] = Field(default_factory=dict)
    """Path prefix to the seconds there; 0 is no limit; the longest prefix wins."""
    total: bool = False
    """Whether the whole response must have been sent within that time; a longer one is cut
    off."""

    def act(self, around: Surroundings) -> Act:
        clocks = {s: Deadlines(s) for s in {self.seconds, *self.paths.values()} if s}
        clock_of = by_path({p: clocks.get(s) for p, s in self.paths.items()}, clocks[self.seconds])
        last = _ENDS if self.total else ("http.response.start",)

        def wrap(app: ASGIApp) -> ASGIApp:
            def timed(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
                clock = clock_of(scope) if scope["type"] == "http" else None
                if clock is None:
                    return app(scope, receive, send)
                return limited(clock, scope, receive, send)

            async def limited(clock: Deadlines, scope: Scope, receive: Receive, send: Send) -> None:
                started = False

                def forward(message: Message) -> Awaitable[None]:
                    nonlocal started
                    kind = message["type"]
                    started = started or kind == "http.response.start"
                    if kind in last and not message.get("more_body"):
                        deadline.lift()
                    return send(message)

                with clock.begin() as deadline:
                    await app(scope, receive, forward)
                if deadline.expired and not started:
                    refusal = Refusal(504, f"No answer within {clock.seconds:g} s")
                    await refuse(scope, receive, send, refusal, around.refuse)

            return timed

        return Act(wrap=wrap)

    def render(self, draft: Draft) -> None:
        if draft.target != "nginx" or not self.enabled:
            return
        draft.say("patience", f"timeout {self.seconds}")
        for prefix, seconds in self.paths.items():
            draft.say(f"patience {prefix}", f"timeout {seconds or _DAY}")

    def audit(self, audit: Audit) -> Iterator[Finding]:
        if self.enabled and self.seconds > _PATIENT:
            yield self.LONG(
                f"every request may take {self.seconds:g} s", source=audit.origin("timeout.seconds")
            )
