"""Every policy, in the one order in which requests pass them: the first is outermost.

Why this order: the proxy policy decides who is asking, so all others may trust
the client and scheme; ids and timing cover every answer; health checks are
answered for any host; cross-origin answers carry their headers even when the
host or scheme is refused; an unknown host is refused before a redirect could
repeat it; unhandled errors become problems inside all of these, so that every header is
on them; policies that transform the body stand innermost, where its length is known.
"""

from seawall.policies.compression import Compression
from seawall.policies.cors import Cors
from seawall.policies.health import Health
from seawall.policies.hosts import Hosts
from seawall.policies.https import Https
from seawall.policies.policy import Policy
from seawall.policies.problems import Problems
from seawall.policies.proxy import Proxy
from seawall.policies.request_id import RequestId
from seawall.policies.static import Static
from seawall.policies.timing import Timing

POLICIES: tuple[type[Policy], ...] = (
    Proxy,
    RequestId,
    Timing,
    Health,
    Cors,
    Hosts,
    Https,
    Problems,
    Compression,
    Static,
)

__all__ = [
    "POLICIES",
    "Compression",
    "Cors",
    "Health",
    "Hosts",
    "Https",
    "Policy",
    "Problems",
    "Proxy",
    "RequestId",
    "Static",
    "Timing",
]
