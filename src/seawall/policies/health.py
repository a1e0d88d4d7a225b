"""Is it alive, is it ready: ``/livez`` and ``/readyz``.

Guarantee: answered by the edge itself, for any host and scheme, so that a load
balancer that knows only an address can ask; never cached; says nothing about the
inside of the app but the reason why it is not ready.
"""

from collections.abc import Iterator
from typing import ClassVar

from seawall.findings import Finding, Level, Rule
from seawall.policies.exchange import Answer, Exchange, Refusal
from seawall.policies.policy import Act, Draft, Policy, Site, Surroundings
from seawall.policies.values import Path


class Health(Policy):
    """Answers health checks."""

    name: ClassVar[str] = "health"
    DOWN: ClassVar[Rule] = Rule(
        "health.down",
        Level.ERROR,
        "A balancer that cannot ask whether the app lives takes it out of service.",
        "see that the proxy passes the path to the app",
    )
    UNREADY: ClassVar[Rule] = Rule(
        "health.unready",
        Level.ERROR,
        "The app is up but says it cannot serve.",
        "the body of the answer says why",
    )

    live: Path = "/livez"
    """Answers 200 while the process serves at all."""
    ready: Path = "/readyz"
    """Answers 200 when the app can do its work, 503 with the reason otherwise."""

    def act(self, around: Surroundings) -> Act:
        headers = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
        fine = Answer(200, headers, b'{"status":"ok"}')
        refused = Refusal(405, "Health checks are GET or HEAD", ((b"allow", b"GET, HEAD"),))
        live, ready = self.live, self.ready
        paths = frozenset((live, ready))
        why_not = around.ready

        def request(exchange: Exchange) -> Answer | Refusal | None:
            path = exchange.scope["path"]
            if path not in paths:
                return None
            # For those who count or log requests, and leave these out.
            exchange.scope["seawall.health"] = True
            if exchange.scope["method"] not in ("GET", "HEAD"):
                return refused
            reason = why_not() if path == ready else ""
            return Refusal(503, reason, ((b"cache-control", b"no-store"),)) if reason else fine

        return Act(http=request)

    def render(self, draft: Draft) -> None:
        if draft.target == "nginx":
            why = "Health checks come by address and over plain http; they stay out of the log."
            for path in dict.fromkeys((self.live, self.ready)):
                draft.say(
                    "anywhere",
                    f"location = {path} {{",
                    "    access_log off;",
                    "    proxy_pass http://app;",
                    "}",
                    why=why,
                )
                why = ""

    def prove(self, site: Site) -> Iterator[Finding]:
        for path, rule in ((self.live, self.DOWN), (self.ready, self.UNREADY)):
            reply = site.ask("GET", path)
            if reply.status != 200:
                said = reply.body[:200].decode("utf-8", "replace") if reply.status == 503 else ""
                answer = f"answers {reply.status} {said}".rstrip() if reply.status else "is closed"
                yield rule(f"GET {path} {answer}")
