"""Arrival times kept in Redis, for a site that several machines serve.

The algorithm is that of :mod:`seawall.policies.gcra`, in one script: all rates of a request
are looked at and counted in a single step and round trip, by the clock of the Redis server,
so that machines whose clocks differ still agree. The ``limits`` library opens the URL.
"""

import logging
from collections.abc import Sequence
from time import monotonic
from typing import Any

from seawall.errors import MissingDependency, SettingsError
from seawall.policies.gcra import Rate

SCHEMES = ("redis", "rediss", "redis+unix")

_log = logging.getLogger("seawall.rate_limit")

_TIMEOUT = 0.5
"""Seconds that Redis may take; a limiter that makes a site slow has failed at its job."""
_REST = 1.0
"""Seconds for which a Redis that failed is not asked again."""

# Times in microseconds: a Lua number holds them exactly, which it would not nanoseconds.
_SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local ahead, fine = {}, 1
for i, key in ipairs(KEYS) do
  ahead[i] = math.max((tonumber(redis.call('GET', key)) or now) - now, 0)
  if ahead[i] > tonumber(ARGV[2 * i]) then fine = 0 end
end
if fine == 1 then
  for i, key in ipairs(KEYS) do
    ahead[i] = ahead[i] + tonumber(ARGV[2 * i - 1])
    redis.call('SET', key, string.format('%.0f', now + ahead[i]),
               'PX', math.ceil(ahead[i] / 1000))
  end
end
return {fine, unpack(ahead)}
"""


class RedisStore:
    """A Redis at a URL such as ``redis://:password@host:6379/0``; connects when first asked.

    Raises :class:`MissingDependency` without the extra, and :class:`SettingsError` for a URL
    that cannot be one.
    """

    def __init__(self, url: str) -> None:
        try:
            from limits.aio.storage import RedisStorage
            from limits.errors import ConfigurationError
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError as error:
            raise MissingDependency(
                "rate limits in Redis need the packages limits and redis",
                hint="pip install 'seawall[redis]'",
            ) from error
        # One more try, at once: a connection from the pool may have died while it rested.
        options: dict[str, Any] = {
            "socket_timeout": _TIMEOUT,
            "socket_connect_timeout": _TIMEOUT,
            "retry": Retry(NoBackoff(), 1),
        }
        try:
            storage = RedisStorage(f"async+{url}", implementation="redispy", **options)
        except (ConfigurationError, ValueError) as error:
            raise SettingsError(
                "not the URL of a Redis",
                key="rate_limit.store",
                hint="write it like 'redis://localhost:6379/0'",
            ) from error
        bridge: Any = storage.bridge
        self._connection = bridge.get_connection()
        self._script = self._connection.register_script(_SCRIPT)
        self._resting = 0.0
        self._down = False

    async def hit(self, name: str, rates: Sequence[Rate]) -> tuple[bool, list[int]] | None:
        """Counts one request of a client: whether it may pass, and how far each rate's arrival
        time runs ahead, in nanoseconds. ``None`` when Redis did not say."""
        if monotonic() < self._resting:
            return None
        keys = [f"seawall:rate:{name}:{index}" for index in range(len(rates))]
        limits: list[int] = []
        for rate in rates:
            interval = rate.interval // 1000
            limits += (interval, (rate.burst - 1) * interval)
        try:
            fine, *ahead = await self._script(keys=keys, args=limits)
        except Exception as error:
            self._fail(error)
            return None
        if self._down:
            self._down = False
            _log.warning("Redis counts requests again")
        return bool(fine), [time * 1000 for time in ahead]

    async def close(self) -> None:
        """Closes the connections."""
        await self._connection.aclose()

    def _fail(self, error: Exception) -> None:
        self._resting = monotonic() + _REST
        if not self._down:
            self._down = True
            # The class alone: some messages repeat the URL, and with it the password.
            _log.warning("Redis does not count requests: %s", type(error).__name__)
