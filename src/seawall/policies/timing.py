"""How long the app took: ``X-Process-Time`` in seconds, and ``Server-Timing`` when asked.

Guarantee: every HTTP response carries it, refusals, redirects, preflights and
unhandled errors included. The time runs from the arrival of the request at the
edge to the response start. ``Server-Timing`` follows the W3C draft (milliseconds).
"""

from collections.abc import Iterator
from time import perf_counter
from typing import ClassVar

from seawall.findings import Finding, Level, Rule
from seawall.policies.exchange import Exchange, Header, drop
from seawall.policies.policy import Act, Draft, Policy, Site, Surroundings
from seawall.policies.values import HeaderName


class Timing(Policy):
    """Tells each response how long it took."""

    name: ClassVar[str] = "timing"
    MISSING: ClassVar[Rule] = Rule(
        "timing.missing",
        Level.ERROR,
        "Without a timing header on every response, refusals included, slow requests "
        "cannot be told from a slow network.",
        "route every request through the app's edge; see that no proxy strips the header",
    )
    INSANE: ClassVar[Rule] = Rule(
        "timing.insane",
        Level.ERROR,
        "A time that is no number of seconds, or longer than the request took as seen "
        "from outside, was not measured by this app.",
        "see that one part alone sets the header",
    )

    header: HeaderName = "X-Process-Time"
    """The response header that carries the seconds."""
    server_timing: bool = False
    """Also send `Server-Timing: app;dur=MILLISECONDS`, which browsers show."""

    def act(self, around: Surroundings) -> Act:
        name = self.header.lower().encode()

        def response(
            exchange: Exchange, status: int, headers: list[Header], sent: dict[bytes, bytes]
        ) -> None:
            if name in sent:
                drop(headers, name)
            headers.append((name, b"%.6f" % (perf_counter() - exchange.began)))

        def both(
            exchange: Exchange, status: int, headers: list[Header], sent: dict[bytes, bytes]
        ) -> None:
            response(exchange, status, headers, sent)
            # Appended, never replaced: each hop may add a metric of its own.
            milliseconds = (perf_counter() - exchange.began) * 1000
            headers.append((b"server-timing", b"app;dur=%.3f" % milliseconds))

        return Act(response=both if self.server_timing else response, owns=frozenset({name}))

    def render(self, draft: Draft) -> None:
        if draft.target == "nginx":
            variable = self.header.lower().replace("-", "_")
            draft.say(
                "log",
                "rt=$request_time urt=$upstream_response_time",
                f"app=$upstream_http_{variable}",
                why="seconds as seen from here, from the upstream, and by the app itself",
            )

    def prove(self, site: Site) -> Iterator[Finding]:
        for path in ("/", "/seawall-probe-no-such-page"):
            reply = site.ask("GET", path)
            values = reply.all(self.header)
            if not values:
                yield self.MISSING(f"GET {path} has no {self.header} header")
                continue
            try:
                seconds = float(values[0])
            except ValueError:
                seconds = -1.0
            if len(values) > 1 or not 0 <= seconds <= reply.elapsed:
                yield self.INSANE(
                    f"GET {path} says {self.header}: {', '.join(values)}, "
                    f"and took {reply.elapsed:.6f} s"
                )
            if self.server_timing and "app;dur=" not in (reply.get("server-timing") or ""):
                yield self.MISSING(f"GET {path} has no Server-Timing header")
