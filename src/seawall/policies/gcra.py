"""Rates, and the Generic Cell Rate Algorithm that keeps them.

GCRA is the virtual scheduling algorithm of ITU-T I.371 and the ATM Forum's Traffic
Management 4.1 (section 4.4.2): each client has one number, its *theoretical arrival time*,
which every request moves on by one emission interval, and which may run ahead of the clock
by no more than the burst. It is a token bucket that needs no refilling.

All times here are whole nanoseconds, so that nothing is rounded.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from seawall.errors import Hinted

SECOND = 1_000_000_000
PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}

_SHAPE = re.compile(r"(\d+)/([a-zA-Z]+)(?: burst (\d+))?", re.ASCII)
_EXAMPLE = "write '100/minute' or '10/second burst 20'"
_FASTEST = 1_000_000


@dataclass(frozen=True)
class Rate:
    """So many requests a period, of which ``burst`` may come at once.

    Written ``COUNT/PERIOD`` or ``COUNT/PERIOD burst COUNT``; the period is second, minute,
    hour or day, and the burst is COUNT when it is left out.
    """

    text: str
    count: int
    period: int
    """In seconds."""
    burst: int

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Reads a rate. Raises :class:`seawall.errors.Hinted`."""
        match = _SHAPE.fullmatch(text)
        if match is None:
            raise Hinted(f"{text!r} is not a rate", _EXAMPLE)
        count, word, burst = match.groups()
        if word not in PERIODS:
            close = difflib.get_close_matches(word.lower(), PERIODS, n=1, cutoff=0.3)
            meant = close[0] if close else "minute"
            raise Hinted(
                f"{text!r}: {word!r} is not a period",
                f"did you mean '{text.replace(f'/{word}', f'/{meant}')}'?"
                f" Periods are {', '.join(PERIODS)}",
            )
        rate = cls(text, int(count), PERIODS[word], int(burst or count))
        if not rate.count or not rate.burst:
            raise Hinted(f"{text!r} lets no request through", "count from 1")
        if rate.count > _FASTEST * rate.period or rate.burst > _FASTEST:
            raise Hinted(f"{text!r} limits nothing", f"stay below {_FASTEST} a second")
        return rate

    @cached_property
    def interval(self) -> int:
        """From one request to the next at the steady rate (T in the standards)."""
        return self.period * SECOND // self.count

    @cached_property
    def capacity(self) -> int:
        """How far ahead of the clock a client's arrival time may run, with the last request."""
        return self.burst * self.interval

    @property
    def window(self) -> int:
        """Seconds in which a client that used up the burst has all of it again, rounded up."""
        return -(-self.capacity // SECOND)

    def standing(self, ahead: int) -> tuple[int, int]:
        """What a client has whose arrival time runs ``ahead`` of the clock: requests that it
        may send now, and nanoseconds until it may send one more than that (0 when it has
        them all)."""
        if ahead <= 0:
            return self.burst, 0
        left, part = divmod(self.capacity - ahead, self.interval)
        return left, self.interval - part


class Table:
    """Theoretical arrival times, by client; at most ``size`` of them.

    Two generations: who is heard of moves into the young one, and when that is half of
    ``size``, the old one is dropped as a whole. So the table never searches for something
    to evict. What is dropped were the clients not heard of for longest; if their time had
    not run out, which takes more than half of ``size`` clients within one window, they
    start afresh. A full table forgets, it never refuses a client for its own sake.
    """

    __slots__ = ("half", "old", "turned", "window", "young")

    def __init__(self, size: int, rates: Sequence[Rate]) -> None:
        self.half = max(size // 2, 1)
        self.window = max(rate.capacity for rate in rates)
        self.young: dict[str | bytes, list[int]] = {}
        self.old: dict[str | bytes, list[int]] = {}
        self.turned = 0

    def get(self, client: str | bytes, now: int) -> list[int] | None:
        """The arrival times of a client, one a rate, to change in place."""
        found = self.young.get(client)
        if found is None:
            found = self.old.pop(client, None)
            if found is not None:
                self._keep(client, found, now)
        return found

    def add(self, client: str | bytes, times: list[int], now: int) -> None:
        """Remembers a client that ``get`` did not find."""
        self._keep(client, times, now)

    def _keep(self, client: str | bytes, times: list[int], now: int) -> None:
        # After one window all that was not heard of since has run out, and can go as well.
        if len(self.young) >= self.half or now - self.turned > self.window:
            self.old, self.young, self.turned = self.young, {}, now
        self.young[client] = times

    def __len__(self) -> int:
        return len(self.young) + len(self.old)


class Limiter:
    """Counts the requests of every client against rates that must all be kept."""

    __slots__ = ("_one", "_steps", "rates", "table")

    def __init__(self, rates: Sequence[Rate], size: int) -> None:
        self.rates = tuple(rates)
        self.table = Table(size, rates)
        self._steps = tuple((rate.interval, rate.capacity - rate.interval) for rate in rates)
        self._one = self._steps[0] if len(self._steps) == 1 else None

    def hit(self, client: str | bytes, now: int) -> bool:
        """Counts one request; ``False``, and nothing counted, when it is one too many."""
        times = self.table.young.get(client) or self.table.get(client, now)
        if times is None:
            self.table.add(client, [now + interval for interval, _ in self._steps], now)
            return True
        if self._one is not None:
            # The loop below, for the one rate that most have.
            interval, tolerance = self._one
            time = times[0]
            if time - now > tolerance:
                return False
            times[0] = (time if time > now else now) + interval
            return True
        for time, (_, tolerance) in zip(times, self._steps, strict=True):
            if time - now > tolerance:
                return False
        for index, (interval, _) in enumerate(self._steps):
            time = times[index]
            times[index] = (time if time > now else now) + interval
        return True

    def ahead(self, client: str | bytes, now: int) -> list[int]:
        """How far a client's arrival times run ahead of the clock."""
        times = self.table.young.get(client) or self.table.get(client, now)
        return [0] * len(self.rates) if times is None else [time - now for time in times]
