"""Every policy, in the one order in which requests pass them: the first is outermost.

Why this order: the proxy policy decides who is asking, so all others may trust the
client and scheme; ids, the log, timing and metrics cover every answer; health checks are
answered for any host; security headers are on every page and refusal; cross-origin
answers carry their headers even when the host or scheme is refused; an unknown host is
refused before a redirect could repeat it; then load is limited, the cheapest check
first: how often a client asks, how many are at work (who waits for a place is not timed
yet), how much it sends, how long it takes; unhandled errors become problems inside all
of these, so that every header is on them; static files are sent as they lie; policies
that transform the body stand innermost, where its length is known.
"""

from seawall.policies.access_log import AccessLog
from seawall.policies.body_limit import BodyLimit
from seawall.policies.compression import Compression
from seawall.policies.concurrency import Concurrency
from seawall.policies.cors import Cors
from seawall.policies.health import Health
from seawall.policies.hosts import Hosts
from seawall.policies.https import Https
from seawall.policies.metrics import Metrics
from seawall.policies.policy import Policy
from seawall.policies.problems import Problems
from seawall.policies.proxy import Proxy
from seawall.policies.rate_limit import RateLimit
from seawall.policies.request_id import RequestId
from seawall.policies.security_headers import SecurityHeaders
from seawall.policies.static import Static
from seawall.policies.timeout import Timeout
from seawall.policies.timing import Timing

POLICIES: tuple[type[Policy], ...] = (
    Proxy,
    RequestId,
    AccessLog,
    Timing,
    Metrics,
    Health,
    SecurityHeaders,
    Cors,
    Hosts,
    Https,
    RateLimit,
    Concurrency,
    BodyLimit,
    Timeout,
    Problems,
    Static,
    Compression,
)

__all__ = [
    "POLICIES",
    "AccessLog",
    "BodyLimit",
    "Compression",
    "Concurrency",
    "Cors",
    "Health",
    "Hosts",
    "Https",
    "Metrics",
    "Policy",
    "Problems",
    "Proxy",
    "RateLimit",
    "RequestId",
    "SecurityHeaders",
    "Static",
    "Timeout",
    "Timing",
]
