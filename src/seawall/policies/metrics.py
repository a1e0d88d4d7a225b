"""Prometheus metrics of every request, by the prometheus-client package.

- ``seawall_request_seconds``: histogram of the time to the last byte, by method, route
  template and status class;
- ``seawall_response_body_bytes_total``: bytes of bodies, by the same;
- ``seawall_requests_in_flight``: requests that have no last byte yet.

Guarantees: labels are bounded, whatever strangers send: methods not known are ``OTHER``, the
route is the app's own template or empty, the status one of five. Health checks are not
measured. The page is closed to the world: it takes the token, or a peer of a trusted network
that connects directly; a request that came through a proxy is never one.

The page shows the process's default registry, too. With several workers all of them count in
files of one directory, ``PROMETHEUS_MULTIPROC_DIR``, which `seawall serve` makes.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from hmac import compare_digest
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path as File
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, SecretStr, model_validator

from seawall.errors import Hinted, MissingDependency
from seawall.findings import Finding, Level, Rule
from seawall.policies.exchange import Answer, Exchange, Outcome, Refusal
from seawall.policies.policy import Act, Audit, Draft, Policy, Site, Surroundings, direct
from seawall.policies.route import template
from seawall.policies.values import Path
from seawall.section import Strings

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus-client keeps the counts of several processes, and how it is told."""

METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "TRACE", "CONNECT")
)

_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-real-ip", b"via")

log = logging.getLogger("seawall.metrics")


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            ip_network(value)
        except ValueError as error:
            raise Hinted(
                f"{value!r} is not a network", "write an address, or a network like '10.0.0.0/8'"
            ) from error
    return values


def _hard(token: SecretStr | None) -> SecretStr | None:
    # The token itself must not be in the message.
    if token is not None and not re.fullmatch(r"[!-~]{16,}", token.get_secret_value()):
        raise Hinted(
            "the token is too easy, or cannot stand in a header",
            "16 characters or more, no spaces: `openssl rand -hex 32`",
        )
    return token


class Metrics(Policy):
    """Measures requests for Prometheus."""

    name: ClassVar[str] = "metrics"
    OPEN: ClassVar[Rule] = Rule(
        "metrics.open",
        Level.ERROR,
        "Metrics tell every route, how often it fails and when the site is busy.",
        "name the networks that Prometheus asks from, or set metrics.token",
    )
    EXPOSED: ClassVar[Rule] = Rule(
        "metrics.exposed",
        Level.ERROR,
        "A stranger can read the metrics: every route, how often it fails, how busy the site is.",
        "let the proxy in front refuse the path (`seawall render nginx` does)",
    )

    enabled: bool = False
    """Whether the policy is on; needs `pip install 'seawall[metrics]'`."""
    path: Path = "/metrics"
    """Where Prometheus reads them."""
    token: Annotated[SecretStr | None, AfterValidator(_hard)] = None
    """Who sends it, as `Authorization: Bearer TOKEN`, may read them from anywhere."""
    trusted: Annotated[Strings, AfterValidator(_networks)] = ("127.0.0.0/8", "::1")
    """Addresses and networks that may read them without the token, if they connect directly."""
    routes: int = Field(default=1000, ge=1)
    """Route templates that are told apart; requests for further ones count as of no route."""

    @model_validator(mode="after")
    def _installed(self) -> "Metrics":
        # Looked for and not imported: it reads its environment when it is.
        if self.enabled and find_spec("prometheus_client") is None:
            raise MissingDependency(
                "metrics need the package prometheus-client", hint="pip install 'seawall[metrics]'"
            )
        return self

    def act(self, around: Surroundings) -> Act:
        meters = Meters(self.routes)
        may_read, page = self._reader(), self.path
        closed = Refusal(403, "Metrics are not for everyone", ((b"cache-control", b"no-store"),))
        refused = Refusal(405, "Metrics are GET or HEAD", ((b"allow", b"GET, HEAD"),))
        begin, end, measure = meters.begin, meters.end, meters.measure

        def request(exchange: Exchange) -> Answer | Refusal | None:
            scope = exchange.scope
            if scope["path"] != page:
                begin()
                return None
            if not may_read(exchange):
                return closed
            if scope["method"] not in ("GET", "HEAD"):
                return refused
            return meters.page(exchange.get(b"accept", b"").decode("latin-1"))

        def finish(exchange: Exchange, outcome: Outcome) -> None:
            scope = exchange.scope
            if scope["type"] != "http":
                return
            end()
            if "seawall.health" not in scope:
                measure(scope["method"], template(scope), outcome)

        return Act(http=request, finish=finish)

    def _reader(self) -> Callable[[Exchange], bool]:
        """A function that says whether a request may read the metrics."""
        secret = self.token.get_secret_value().encode("ascii") if self.token else None
        networks = [ip_network(value) for value in self.trusted]

        @lru_cache(maxsize=64)
        def trusts(peer: str) -> bool:
            try:
                address = ip_address(peer)
            except ValueError:
                return False
            mapped = getattr(address, "ipv4_mapped", None)
            return any((mapped or address) in network for network in networks)

        def may_read(exchange: Exchange) -> bool:
            scheme, _, given = exchange.get(b"authorization", b"").partition(b" ")
            if secret and scheme.lower() == b"bearer" and compare_digest(given.strip(), secret):
                return True
            client = exchange.scope.get("client")
            # A proxy on this machine is a peer of this machine for all the world.
            if client is None or any(name in exchange for name in _FORWARDED):
                return False
            return trusts(client[0])

        return may_read

    def render(self, draft: Draft) -> None:
        if draft.target == "nginx" and self.enabled and self.token is None:
            draft.say(
                "anywhere",
                f"location = {self.path} {{",
                "    return 403;",
                "}",
                why="Metrics are read from the app directly, past this server.",
            )

    def audit(self, audit: Audit) -> Iterator[Finding]:
        if self.enabled and any(ip_network(value).prefixlen == 0 for value in self.trusted):
            yield self.OPEN(
                "every address may read the metrics", source=audit.origin("metrics.trusted")
            )

    def prove(self, site: Site) -> Iterator[Finding]:
        if direct(site):
            return
        reply = site.ask("GET", self.path)
        if reply.status == 200 and re.search(rb"^# TYPE ", reply.body, re.M):
            yield self.EXPOSED(f"GET {self.path} shows metrics to anyone")


class Meters:
    """The meters of one edge, each label's own found once and then kept.

    Nothing is created for a label before it was used, and at most ``routes`` templates are
    told apart.
    """

    def __init__(self, routes: int) -> None:
        import prometheus_client as prometheus

        self._prometheus: Any = prometheus
        self._directory = os.environ.get(VARIABLE)
        if bool(self._directory) != prometheus.values.ValueClass._multiprocess:
            log.warning("%s was set after prometheus_client was imported: it is too late", VARIABLE)
        registry = self._registry = prometheus.CollectorRegistry()
        labels = ("method", "route", "status")
        self._seconds = prometheus.Histogram(
            "seawall_request_seconds", "Time to the last byte.", labels, registry=registry
        )
        self._bytes = prometheus.Counter(
            "seawall_response_body_bytes", "Bytes of response bodies.", labels, registry=registry
        )
        flying = prometheus.Gauge(
            "seawall_requests_in_flight",
            "Requests that have no last byte yet.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.begin: Callable[[], None] = flying.inc
        self.end: Callable[[], None] = flying.dec
        self._limit = routes
        self._routes = {""}
        self._known: dict[tuple[str, str, int], tuple[Callable[..., None], Callable[..., None]]]
        self._known = {}

    def measure(self, method: str, route: str, outcome: Outcome) -> None:
        """Counts one request that is over."""
        # Who answered nothing, but failed, is told 500 by the server.
        status = outcome.status or (500 if outcome.error else 0)
        key = (method, route, status // 100)
        known = self._known.get(key)
        observe, add = self._learn(*key) if known is None else known
        observe(outcome.seconds)
        if outcome.size:
            add(outcome.size)

    def _learn(
        self, method: str, route: str, status: int
    ) -> tuple[Callable[..., None], Callable[..., None]]:
        if method not in METHODS:
            method = "OTHER"
        if route not in self._routes and len(self._routes) > self._limit:
            route = ""
        self._routes.add(route)
        # Kept under the bounded labels, never under what was sent.
        labels = (method, route, f"{status}xx" if 1 <= status <= 5 else "none")
        observe, add = self._seconds.labels(*labels).observe, self._bytes.labels(*labels).inc
        self._known[method, route, status] = observe, add
        return observe, add

    def page(self, accept: str) -> Answer:
        """What Prometheus reads, in the format that it takes."""
        from prometheus_client import REGISTRY
        from prometheus_client.exposition import choose_encoder

        encode, media_type = choose_encoder(accept)
        if self._directory:
            _forget_the_dead(self._directory)
            registry = self._prometheus.CollectorRegistry()
            # It finds what every registry of every worker has counted.
            _multiprocess().MultiProcessCollector(registry, self._directory)
        else:
            registry = _Both(self._registry, REGISTRY)
        body = encode(registry)
        headers = ((b"content-type", media_type.encode("latin-1")), (b"cache-control", b"no-store"))
        return Answer(200, headers, body)


class _Both:
    """Two registries as one."""

    def __init__(self, *registries: Any) -> None:
        self._registries = registries

    def collect(self) -> Iterator[Any]:
        for registry in self._registries:
            yield from registry.collect()


def _forget_the_dead(directory: str) -> None:
    """A worker that was killed has no requests in flight any more."""
    for file in File(directory).glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not File(f"/proc/{pid}").exists():
            _multiprocess().mark_process_dead(int(pid), directory)


def _multiprocess() -> Any:
    from prometheus_client import multiprocess

    return multiprocess


@contextmanager
def shared(metrics: Metrics, workers: int) -> Iterator[None]:
    """Lets processes that are started meanwhile count together, if there are several.

    A directory that the operator named stays theirs.
    """
    if not metrics.enabled or workers < 2 or os.environ.get(VARIABLE):
        yield
        return
    with TemporaryDirectory(prefix="seawall-metrics-") as directory:
        os.environ[VARIABLE] = directory
        try:
            yield
        finally:
            del os.environ[VARIABLE]
