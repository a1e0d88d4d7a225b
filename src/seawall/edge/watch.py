"""Looks at one response on its way to the server, and tells the policies how it ended.

Used only where some policy wants to hear it (:attr:`seawall.policies.policy.Act.finish`).
"""

from collections.abc import Awaitable, Sequence
from time import perf_counter
from typing import Self

from seawall.policies.exchange import Exchange, Message, Outcome, Send
from seawall.policies.policy import Finish

_BY_SERVER = ("http.response.pathsend", "http.response.zerocopysend")
"""Messages that leave the reading of the body to the server."""


class Watch:
    """Stands between the edge and the server's ``send``, for one exchange.

    Nothing that passes is changed, and nothing is awaited but the server itself.
    """

    __slots__ = ("error", "exchange", "first", "hooks", "sending", "size", "status")

    def __init__(self, exchange: Exchange, hooks: Sequence[Finish], send: Send) -> None:
        self.exchange = exchange
        self.hooks = hooks
        self.sending = send
        self.status = 0
        self.size: int | None = 0
        self.first: float | None = None
        self.error = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.error = kind.__qualname__
        self.end()

    def send(self, message: Message) -> Awaitable[None]:
        if not self.hooks:
            # All was said, or nobody asked: an open websocket may have much to say.
            return self.sending(message)
        kind = message["type"]
        if kind == "http.response.body" or kind == "websocket.http.response.body":
            if self.size is not None:
                self.size += len(message.get("body", b""))
            if not message.get("more_body", False):
                return self._last(message)
        elif kind == "http.response.start" or kind == "websocket.http.response.start":
            self.status = message["status"]
            self.first = perf_counter() - self.exchange.began
        elif kind in _BY_SERVER:
            self.size = None
            if not message.get("more_body", False):
                return self._last(message)
        elif kind == "websocket.accept":
            self.hooks = ()
        elif kind == "websocket.close":
            # Before it was accepted: servers answer 403 (ASGI, "Close - send event").
            self.status = 403
            self.first = perf_counter() - self.exchange.began
            return self._last(message)
        return self.sending(message)

    async def _last(self, message: Message) -> None:
        await self.sending(message)
        self.end(complete=True)

    def end(self, *, complete: bool = False) -> None:
        """Tells the hooks, the first time; what comes after is no part of the exchange."""
        hooks, self.hooks = self.hooks, ()
        if hooks:
            exchange = self.exchange
            size = 0 if exchange.scope.get("method") == "HEAD" else self.size
            seconds = perf_counter() - exchange.began
            outcome = Outcome(self.status, size, self.first, seconds, complete, self.error)
            for hook in hooks:
                hook(exchange, outcome)
