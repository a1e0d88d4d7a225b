"""A quota as clients see it: ``RateLimit``, ``RateLimit-Policy`` and ``Retry-After``.

The fields are those of draft-ietf-httpapi-ratelimit-headers-11, structured fields
of RFC 9651; a policy's name is the rate as the settings have it, after its path prefix.
"""

from collections.abc import Callable

from seawall.policies.exchange import Header, Refusal
from seawall.policies.gcra import SECOND, Limiter, Rate


class Quota:
    """The rates of one path prefix, who used how much of them, and how that looks in fields."""

    def __init__(self, prefix: str, rates: tuple[str, ...], size: int) -> None:
        self.name = prefix
        parsed = [Rate.parse(rate) for rate in rates]
        self.limiter = Limiter(parsed, size)
        names = [f'"{prefix} {rate.text}"' if prefix else f'"{rate.text}"' for rate in parsed]
        policies = (f"{n};q={r.burst};w={r.window}" for n, r in zip(names, parsed, strict=True))
        self._policy: Header = (b"ratelimit-policy", ", ".join(policies).encode())
        self._tellers = [_teller(n, r) for n, r in zip(names, parsed, strict=True)]

    def fields(self, ahead: list[int]) -> tuple[Header, Header]:
        """The fields for a client whose arrival times run so far ahead.

        ``r`` is what it may send at once, ``t`` in how many seconds that will be one more:
        the time within which it can use no more than ``r`` (section 4.1.2 of the draft).
        """
        if len(ahead) == 1:
            return self._policy, (b"ratelimit", self._tellers[0](ahead[0]))
        items = [tell(time) for tell, time in zip(self._tellers, ahead, strict=True)]
        return self._policy, (b"ratelimit", b", ".join(items))

    def refusal(self, ahead: list[int]) -> Refusal:
        """Says when the client may come back."""
        standing = [rate.standing(t) for rate, t in zip(self.limiter.rates, ahead, strict=True)]
        wait = max([whole_seconds(more) for left, more in standing if not left], default=1)
        headers = ((b"retry-after", b"%d" % wait), *self.fields(ahead))
        return Refusal(429, f"Too many requests; come back in {wait} s", headers)


def _teller(name: str, rate: Rate) -> Callable[[int], bytes]:
    """A function that writes the item of one rate, on every response."""
    interval, capacity = rate.interval, rate.capacity
    full = f"{name};r={rate.burst}".encode()
    used = f"{name.replace('%', '%%')};r=%d;t=%d".encode()

    def tell(ahead: int) -> bytes:
        # What ``rate.standing`` says, without the cost of asking it.
        if ahead <= 0:
            return full
        left, part = divmod(capacity - ahead, interval)
        return used % (left, whole_seconds(interval - part))

    return tell


def whole_seconds(nanoseconds: int) -> int:
    """Seconds, rounded up, as header fields want them."""
    return -(-nanoseconds // SECOND)
