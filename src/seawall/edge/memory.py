"""What the settled policies said, by method, scheme, Host and Origin.

Only a request that all of them let through is remembered, as the headers that they add to
its response. Bounded: hosts and origins come from strangers.
"""

from collections.abc import Sequence

from seawall.edge.plan import Outside, hooked, responses
from seawall.policies.exchange import Exchange, Header
from seawall.policies.policy import Act

Facts = tuple[str, str, bytes | None, bytes | None]
"""Method, scheme, Host, Origin."""

LIMIT = 1024
"""Combinations remembered; the next one starts afresh."""
LONGEST = 512
"""Bytes of Host and Origin together; longer ones are no browser's, and are not remembered."""


class Memory(dict[Facts, tuple[Header, ...]]):
    """Facts to the response headers that follow from them.

    ``hooks`` are the request hooks to ask about facts not met before.
    """

    __slots__ = ("_edits", "hooks")

    def __init__(self, settled: Sequence[tuple[Act, Outside]]) -> None:
        super().__init__()
        acts = [act for act, _ in settled]
        self.hooks = hooked(settled)
        self._edits = responses(acts)

    def learn(self, exchange: Exchange) -> tuple[Header, ...] | None:
        """Remembers a request that the hooks let through; ``None`` if it must not be."""
        scope = exchange.scope
        if scope["method"] == "OPTIONS" or len(exchange) != len(scope["headers"]):
            return None
        host, origin = exchange.get(b"host"), exchange.get(b"origin")
        if len(host or b"") + len(origin or b"") > LONGEST:
            return None
        headers: list[Header] = []
        for edit in self._edits:
            edit(exchange, 200, headers, {})
        if len(self) >= LIMIT:
            self.clear()
        self[scope["method"], scope["scheme"], host, origin] = found = tuple(headers)
        return found
