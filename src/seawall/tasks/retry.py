"""When a failed job is tried again: exponential back-off with jitter.

The jitter keeps jobs that failed together (a mail server was down) from coming back
together. Half of each delay is fixed, half is drawn at random.
"""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retry:
    """Delays of ``base``, twice that, four times that, ... but never over ``cap`` seconds."""

    base: float = 1.0
    cap: float = 300.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after the given number of failures (1, 2, ...)."""
        # A large exponent would overflow a float long after the cap has won.
        full = min(self.cap, self.base * 2.0 ** min(failures - 1, 62))
        return full / 2 + random.uniform(0, full / 2)  # noqa: S311 - spread, not secrecy
