"""Compiles policies into one ASGI callable (ASGI 3.0).

It behaves exactly as if each policy were a middleware of its own, nested in the
order of :data:`seawall.policies.POLICIES`, the first outermost: a request passes
the policies from first to last, the response headers from last to first, and an
answer given by a policy passes only the policies outside it. But there is one
layer: no stack of coroutines, no streams, no tasks. ``receive`` and every
message other than a response start go through untouched.

What some policies say depends on nothing but method, scheme, Host and Origin, of
which a site sees few combinations. They are asked once for each, and what they said
is remembered; from then on the request path only looks it up (:mod:`seawall.edge.memory`).
"""

from collections.abc import Callable, Iterable

from seawall.edge.memory import Memory
from seawall.edge.plan import Plan
from seawall.edge.run import fused
from seawall.policies import POLICIES
from seawall.policies.exchange import ASGIApp, Receive, Scope, Send
from seawall.policies.policy import Policy, Surroundings


class Edge:
    """An ASGI app with policies around it.

    ``policies`` may come in any order; each kind at most once. Policies that are
    switched off are left out. ``ready`` says why the app cannot serve yet, or ``""``;
    ``lifespan`` is the app to which lifespan scopes go, when it is not ``app`` itself.

    Raises :class:`ValueError` when a policy is given twice.
    """

    def __init__(
        self,
        app: ASGIApp,
        policies: Iterable[Policy] = (),
        *,
        ready: Callable[[], str] = lambda: "",
        lifespan: ASGIApp | None = None,
    ) -> None:
        self.policies = ordered(policies)
        around = Surroundings(ready, lambda exchange, refusal: self.plan.refuse(exchange, refusal))
        acts = [policy.act(around) for policy in self.policies]
        other = app if lifespan is None else lifespan
        for act in reversed(acts):
            if act.wrap is not None:
                app = act.wrap(app)
        self.app = app
        self.plan = Plan(acts)
        self.memory = Memory(self.plan.settled)
        self.run = fused(app, other, self.plan, self.memory)
        """The same callable as a plain function, which a caller in a hurry may prefer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.run(scope, receive, send)


def ordered(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """The policies that are on, outermost first."""
    given: dict[type[Policy], Policy] = {}
    for policy in policies:
        if type(policy) in given:
            raise ValueError(f"the {policy.name} policy is given twice")
        given[type(policy)] = policy
    return tuple(given[kind] for kind in POLICIES if kind in given and given[kind].enabled)
