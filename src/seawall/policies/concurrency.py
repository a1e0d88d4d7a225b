"""How many requests are worked on at once: the rest wait a little, or are told to come back.

A server that takes on more than it can do answers everyone late, and in the end nobody in
time (load shedding; Google's *Site Reliability Engineering*, chapter 22). Guarantees: at most
``limit`` requests of one process are inside the app; those beyond it wait in the order in
which they came, at most ``queue`` of them and each at most ``wait`` seconds; all others get
503 with Retry-After at once. A place is given back however a request ends.

Counted is every HTTP request but health checks, from when it enters the app until the app has
ended, with the background tasks that run in the process. Websockets are not counted.
"""

from asyncio import CancelledError, Future, get_running_loop
from collections import OrderedDict
from collections.abc import Awaitable, Iterator
from math import ceil
from typing import ClassVar

from pydantic import Field, model_validator

from seawall.errors import Hinted
from seawall.findings import Finding, Level, Rule
from seawall.policies.exchange import ASGIApp, Receive, Refusal, Scope, Send
from seawall.policies.policy import Act, Audit, Draft, Policy, Surroundings
from seawall.policies.prefix import Prefix, by_path
from seawall.policies.refusing import refuse

_PATIENT = 30


class Concurrency(Policy):
    """Sheds load that the process cannot carry."""

    name: ClassVar[str] = "concurrency"
    WAIT: ClassVar[Rule] = Rule(
        "concurrency.wait",
        Level.WARNING,
        "Who waits so long has left, or asks again and makes the queue longer still.",
        "let them wait a few seconds at most: concurrency.wait = 1",
    )

    enabled: bool = False
    """Whether the policy is on."""
    limit: int = Field(default=100, ge=1)
    """Requests that one worker process works on at once."""
    queue: int = Field(default=100, ge=0)
    """Requests that wait for a place; 0 refuses at once."""
    wait: float = Field(default=1.0, ge=0, le=3600)
    """Seconds that a request waits for its place."""
    exempt: tuple[Prefix, ...] = ()
    """Path prefixes that are not counted, such as those of long event streams."""

    @model_validator(mode="after")
    def _queue_has_time(self) -> "Concurrency":
        if self.queue and not self.wait:
            raise Hinted("a queue in which nobody waits", "set concurrency.wait, or queue = 0")
        return self

    def act(self, around: Surroundings) -> Act:
        places = Places(self.limit, self.queue, self.wait)
        spared = by_path(dict.fromkeys(self.exempt, True), False)
        after = b"%d" % max(1, ceil(self.wait))
        busy = Refusal(503, "Too busy just now; come back in a moment", ((b"retry-after", after),))

        def wrap(app: ASGIApp) -> ASGIApp:
            def bounded(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
                if scope["type"] != "http" or spared(scope):
                    return app(scope, receive, send)
                return placed(scope, receive, send)

            async def placed(scope: Scope, receive: Receive, send: Send) -> None:
                if places.free:
                    places.free -= 1
                elif not await places.turn():
                    await refuse(scope, receive, send, busy, around.refuse)
                    return
                try:
                    await app(scope, receive, send)
                finally:
                    places.give_back()

            return bounded

        return Act(wrap=wrap)

    def render(self, draft: Draft) -> None:
        """Only the time that a request may wait: nginx cannot say the rest. Its ``limit_conn``
        counts by key and does not queue, its ``max_conns`` answers 502."""
        if draft.target == "nginx" and self.enabled and self.queue:
            draft.say("patience", f"concurrency {self.wait}")

    def audit(self, audit: Audit) -> Iterator[Finding]:
        if self.enabled and self.queue and self.wait > _PATIENT:
            yield self.WAIT(
                f"requests wait up to {self.wait:g} s for a place",
                source=audit.origin("concurrency.wait"),
            )


class Places:
    """Places in the app, and those who wait for one, first come, first served.

    ``free`` is the number of places that nobody has; while it is not 0, nobody waits.
    """

    __slots__ = ("free", "queue", "wait", "waiting")

    def __init__(self, limit: int, queue: int, wait: float) -> None:
        self.free = limit
        self.queue = queue
        self.wait = wait
        self.waiting: OrderedDict[Future[bool], None] = OrderedDict()

    async def turn(self) -> bool:
        """Waits for a place; ``False`` when there was none in time, or no room to wait."""
        if len(self.waiting) >= self.queue:
            return False
        loop = get_running_loop()
        mine: Future[bool] = loop.create_future()
        self.waiting[mine] = None
        alarm = loop.call_later(self.wait, self._leave, mine)
        try:
            return await mine
        except CancelledError:
            self.waiting.pop(mine, None)
            # Handed a place in the very moment in which the request ended?
            if not mine.cancelled() and mine.result():
                self.give_back()
            raise
        finally:
            alarm.cancel()

    def give_back(self) -> None:
        """Hands a place to the first who waits, and is not just being cancelled."""
        while self.waiting:
            first, _ = self.waiting.popitem(last=False)
            if not first.done():
                first.set_result(True)
                return
        self.free += 1

    def _leave(self, one: "Future[bool]") -> None:
        self.waiting.pop(one, None)
        if not one.done():
            one.set_result(False)
