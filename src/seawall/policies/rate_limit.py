"""How often a client may ask: rates kept by GCRA (see :mod:`seawall.policies.gcra`).

Guarantees: a request over the limit never reaches the app; what the app answers to the others
does not matter, so a flood of 404s counts as well; memory is bounded, however many clients
there are. Every answer tells the client where it stands (:mod:`seawall.policies.quota`).
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from time import monotonic, monotonic_ns
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from seawall.errors import Hinted
from seawall.findings import Finding, Level, Rule
from seawall.policies.client import identity
from seawall.policies.exchange import (
    ASGIApp,
    Exchange,
    Header,
    Message,
    Receive,
    Refusal,
    Scope,
    Send,
)
from seawall.policies.gcra import Rate
from seawall.policies.policy import Act, Audit, Draft, Policy, Site, Surroundings
from seawall.policies.prefix import Prefix, by_path, longest
from seawall.policies.quota import Quota
from seawall.policies.rate_store import SCHEMES, RedisStore
from seawall.policies.refusing import refuse
from seawall.policies.values import header_name
from seawall.section import Strings

_MARK = "seawall.rate_limit"
"""Where the scope tells the wrapper which rule a request falls under, and as whose."""
_MOST_ASKED = 1000


def _rates(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        Rate.parse(value)
    return values


Rates = Annotated[Strings, AfterValidator(_rates)]


def _by(value: str) -> str:
    kind, colon, name = value.partition(":")
    if colon and kind == "header":
        header_name(name)
    elif value != "client":
        raise Hinted(f"{value!r} does not tell clients apart", "write 'client' or 'header:NAME'")
    return value


def _store(value: str) -> str:
    if value != "memory" and urlsplit(value).scheme not in SCHEMES:
        # The value may hold a password, so it is not repeated.
        raise Hinted("that is no store", "write 'memory' or 'redis://host:6379/0'")
    return value


class RateLimit(Policy):
    """Limits how often a client may ask."""

    name: ClassVar[str] = "rate_limit"
    heavy: ClassVar[bool] = True
    HEADER: ClassVar[Rule] = Rule(
        "rate_limit.header",
        Level.NOTE,
        "Anyone can send a new value of the header with each request, and is then limited by "
        "nothing, unless values that the app does not know are refused somewhere in front.",
        "limit by client (rate_limit.by = 'client'), or check the value in front of the app",
    )
    PROXY: ClassVar[Rule] = Rule(
        "rate_limit.proxy",
        Level.WARNING,
        "Behind a proxy every visitor has the proxy's address, and all share one limit.",
        "leave the proxy policy on, and name the proxies in proxy.trusted",
    )
    MISSING: ClassVar[Rule] = Rule(
        "rate_limit.missing",
        Level.WARNING,
        "Without the RateLimit fields a client learns of the limit by running into it.",
        "see that the proxy passes the fields, and that requests reach the app",
    )
    UNLIMITED: ClassVar[Rule] = Rule(
        "rate_limit.unlimited",
        Level.ERROR,
        "The site answers more requests of one client than its settings say.",
        "see that every worker counts in one store (rate_limit.store = 'redis://...')",
    )
    RETRY: ClassVar[Rule] = Rule(
        "rate_limit.retry",
        Level.WARNING,
        "A client that is not told when to come back comes back at once.",
        "let the part that answers 429 send Retry-After",
    )

    enabled: bool = False
    """Whether the policy is on."""
    limits: Rates = ("100/minute",)
    """Rates that each client must keep, all of them: `COUNT/PERIOD` or `COUNT/PERIOD burst
    COUNT`, where PERIOD is second, minute, hour or day. So many may come at once; COUNT when no
    burst is given."""
    routes: dict[Prefix, Rates] = Field(default_factory=dict)
    """Path prefix to rates that hold there instead, counted on their own; the longest wins."""
    exempt: tuple[Prefix, ...] = ()
    """Path prefixes without a limit."""
    by: Annotated[str, AfterValidator(_by)] = "client"
    """What tells clients apart: `client` is the address (of IPv6 the /64 network), `header:NAME`
    the value of a header, and the address where it is missing."""
    clients: int = Field(default=100_000, ge=2)
    """How many clients are remembered, for each rule; beyond that, those not heard of for
    longest are forgotten. A client takes about 250 bytes."""
    store: Annotated[str, AfterValidator(_store)] = "memory"
    """`memory` counts in each worker process for itself; `redis://host:6379/0` counts for all
    (`pip install 'seawall[redis]'`)."""
    store_failure: Literal["open", "closed"] = "open"
    """What becomes of requests while Redis is away: `open` lets them pass, `closed` answers
    503."""

    @model_validator(mode="after")
    def _something_is_limited(self) -> "RateLimit":
        if self.enabled and not (self.limits or self.routes):
            raise Hinted("rate_limit is on, but limits nothing", "set rate_limit.limits")
        for prefix, rates in self.routes.items():
            if not rates:
                raise Hinted(f"no rate is given for {prefix}", "list it in rate_limit.exempt")
        return self

    def act(self, around: Surroundings) -> Act:
        size = self.clients
        rules = [Quota("", self.limits, size)] if self.limits else []
        table: dict[str, int | None] = dict.fromkeys(self.exempt)
        for prefix, rates in self.routes.items():
            table[prefix] = len(rules)
            rules.append(Quota(prefix, rates, size))
        rule_of = by_path(table, 0 if self.limits else None)
        client_of = identity(self.by)
        owns = frozenset({b"ratelimit", b"ratelimit-policy"})

        def look(exchange: Exchange) -> tuple[int, str | bytes] | None:
            """Under which rule a request falls, and as whose."""
            number = rule_of(exchange.scope)
            return None if number is None else (number, client_of(exchange))

        if self.store != "memory":
            wrap = _shared(RedisStore(self.store), rules, self.store_failure == "open", around)

            def hand_on(exchange: Exchange) -> None:
                exchange.scope[_MARK] = look(exchange)

            return Act(http=hand_on, websocket=hand_on, wrap=wrap, owns=owns)

        def request(exchange: Exchange) -> Refusal | None:
            exchange.counted = counted = look(exchange)
            if counted is None:
                return None
            number, client = counted
            rule, now = rules[number], monotonic_ns()
            if rule.limiter.hit(client, now):
                return None
            return rule.refusal(rule.limiter.ahead(client, now))

        def response(
            exchange: Exchange, status: int, headers: list[Header], sent: dict[bytes, bytes]
        ) -> None:
            if exchange.counted is not None:
                number, client = exchange.counted
                rule = rules[number]
                headers += rule.fields(rule.limiter.ahead(client, monotonic_ns()))

        return Act(http=request, websocket=request, response=response, owns=owns)

    def render(self, draft: Draft) -> None:
        if draft.target != "nginx" or not self.enabled:
            return
        key = "$binary_remote_addr"
        if self.by != "client":
            name = self.by.partition(":")[2].lower().replace("-", "_")
            key = "$rate_limit_client"
            draft.say(
                "http",
                f"map $http_{name} {key} {{",
                '    "" $binary_remote_addr;',
                f"    default $http_{name};",
                "}",
                why="Who is limited: a header's value, or the address where it is missing.",
            )
        others = [*self.routes, *self.exempt]
        zones, limits = [], []
        for number, (prefix, rates) in enumerate([("", self.limits), *self.routes.items()]):
            inner = [one for one in others if one != prefix and one.startswith(f"{prefix}/")]
            zone_key = key
            if rates and (inner or prefix):
                zone_key = f"$rate_limit_{number}"
                rest = '""' if prefix else key
                draft.say(
                    "http",
                    f"map $uri {zone_key} {{",
                    *(f'    "{_covers(one)}" "";' for one in sorted(inner, key=len, reverse=True)),
                    *([f'    "{_covers(prefix)}" {key};'] if prefix else ()),
                    f"    default {rest};",
                    "}",
                    why=f"What is limited by {', '.join(rates)}: an empty key is not counted.",
                )
            for index, rate in enumerate(map(Rate.parse, rates)):
                zone = f"rate_{number}_{index}"
                burst = f" burst={rate.burst - 1} nodelay" if rate.burst > 1 else ""
                zones.append(f"limit_req_zone {zone_key} zone={zone}:10m rate={_nginx(rate)};")
                limits.append(f"limit_req zone={zone}{burst};")
        draft.say(
            "http",
            *zones,
            why="The app's own limits. IPv6 addresses are counted one by one here, and rates are "
            "1r/m at least: there the app is the stricter one.",
        )
        draft.say("app", *limits, "limit_req_status 429;")

    def audit(self, audit: Audit) -> Iterator[Finding]:
        if not self.enabled:
            return
        if self.by != "client":
            yield self.HEADER(
                f"clients are told by {self.by}", source=audit.origin("rate_limit.by")
            )
        elif not audit.on("proxy"):
            yield self.PROXY(
                "clients are told apart by address, and the proxy policy is off",
                source=audit.origin("proxy.enabled"),
            )

    def prove(self, site: Site) -> Iterator[Finding]:
        path = "/seawall-probe-no-such-page"
        others = dict.fromkeys((*self.routes, *self.exempt), True)
        if not self.enabled or not self.limits or longest(others, False)(path):
            return
        if site.active:
            yield from self._flood(site, path)
        elif not site.ask("GET", path).get("ratelimit-policy"):
            yield self.MISSING(f"GET {path} answers without RateLimit-Policy")

    def _flood(self, site: Site, path: str) -> Iterator[Finding]:
        """Asks until it is refused, or must have been."""
        rate = min(map(Rate.parse, self.limits), key=lambda rate: rate.burst)
        began = monotonic()
        for asked in range(1, _MOST_ASKED + 1):
            reply = site.ask("GET", path)
            if reply.status == 429:
                if not reply.get("retry-after"):
                    yield self.RETRY(f"GET {path} answers 429 without Retry-After")
                return
            earned = (monotonic() - began) * rate.count / rate.period
            if asked > rate.burst + earned + 1:
                yield self.UNLIMITED(
                    f"{asked} requests of one client within {monotonic() - began:.1f} s were "
                    f"answered; the limit is {rate.text}"
                )
                return


def _shared(
    store: RedisStore, rules: list[Quota], fail_open: bool, around: Surroundings
) -> Callable[[ASGIApp], ASGIApp]:
    """Counts in Redis, which must be awaited, and so cannot be done in a hook."""
    away = Refusal(503, "Requests cannot be counted just now", ((b"retry-after", b"1"),))

    def wrap(app: ASGIApp) -> ASGIApp:
        def limited(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            mark = scope.pop(_MARK, None)
            if mark is None:
                return app(scope, receive, send)
            return counted(mark, scope, receive, send)

        async def counted(
            mark: tuple[int, str | bytes], scope: Scope, receive: Receive, send: Send
        ) -> None:
            number, client = mark
            rule = rules[number]
            who = client if isinstance(client, str) else client.hex()
            said = await store.hit(f"{rule.name}:{who}", rule.limiter.rates)
            if said is None:
                if fail_open:
                    await app(scope, receive, send)
                else:
                    await refuse(scope, receive, send, away, around.refuse)
                return
            fine, ahead = said
            if not fine:
                await refuse(scope, receive, send, rule.refusal(ahead), around.refuse)
                return

            def telling(message: Message) -> Awaitable[None]:
                if message["type"].endswith(".response.start"):
                    headers = [*message.get("headers", ()), *rule.fields(ahead)]
                    message = {**message, "headers": headers}
                return send(message)

            await app(scope, receive, telling)

        return limited

    return wrap


def _covers(prefix: str) -> str:
    """A prefix as nginx's regular expressions have it."""
    return f"~^{re.escape(prefix)}(?:/|$)"


def _nginx(rate: Rate) -> str:
    """nginx has whole requests a second or a minute."""
    if rate.count % rate.period == 0:
        return f"{rate.count // rate.period}r/s"
    return f"{-(-rate.count * 60 // rate.period)}r/m"
