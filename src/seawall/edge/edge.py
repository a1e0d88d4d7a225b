"""Compiles policies into one ASGI callable (ASGI 3.0).

It behaves exactly as if each policy were a middleware of its own, nested in the
order of :data:`seawall.policies.POLICIES`, the first outermost: a request passes
the policies from first to last, the response headers from last to first, and an
answer given by a policy passes only the policies outside it. But there is one
layer: no stack of coroutines, no streams, no tasks. ``receive`` and every
message other than a response start go through untouched.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from time import perf_counter

from seawall.policies import POLICIES
from seawall.policies.exchange import (
    Answer,
    ASGIApp,
    Exchange,
    Message,
    Receive,
    Refusal,
    Scope,
    Send,
    text,
)
from seawall.policies.policy import Act, Policy, ResponseHook, Surroundings


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
        self._other = app if lifespan is None else lifespan
        self.policies = ordered(policies)
        acts = [policy.act(Surroundings(ready=ready)) for policy in self.policies]
        for act in reversed(acts):
            if act.wrap is not None:
                app = act.wrap(app)
        self.app = app
        self._refuse = next((act.refuse for act in acts if act.refuse), lambda _, no: text(no))
        self._failed = next((act.failed for act in acts if act.failed), None)
        self._response = responses(acts)
        # An answer passes only the response hooks outside the policy that gave it.
        outside = [(act, responses(acts[:index])) for index, act in enumerate(acts)]
        self._http = tuple((act.http, outer) for act, outer in outside if act.http)
        self._websocket = tuple((act.websocket, outer) for act, outer in outside if act.websocket)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            hooks, start = self._http, "http.response.start"
        elif kind == "websocket":
            hooks, start = self._websocket, "websocket.http.response.start"
        else:
            await self._other(scope, receive, send)
            return

        raw = scope["headers"]
        exchange = Exchange(raw)
        exchange.scope = scope
        exchange.repeats = len(exchange) != len(raw)
        exchange.began = perf_counter()
        for hook, outer in hooks:
            answer = hook(exchange)
            if answer is not None:
                await self._answer(exchange, answer, outer, receive, send)
                return

        response = self._response
        started = False

        # Not a coroutine function: it hands on the server's own awaitable, which saves
        # a coroutine for every message.
        def forward(message: Message) -> Awaitable[None]:
            nonlocal started
            if message["type"] == start:
                started = True
                # Copies: an app may send the same message and list for every request.
                headers = list(message.get("headers", ()))
                sent = dict(headers)
                status = message["status"]
                for edit in response:
                    edit(exchange, status, headers, sent)
                message = {**message, "headers": headers}
            return send(message)

        try:
            await self.app(scope, receive, forward)
        except Exception:
            if self._failed is not None and not started and kind == "http":
                await self._failed(exchange, forward)
            # The server logs it; the client already has its answer.
            raise

    async def _answer(
        self,
        exchange: Exchange,
        answer: Answer | Refusal,
        outer: tuple[ResponseHook, ...],
        receive: Receive,
        send: Send,
    ) -> None:
        if isinstance(answer, Refusal):
            answer = self._refuse(exchange, answer)
        scope = exchange.scope
        prefix = "http.response"
        if scope["type"] == "websocket":
            # A server finishes the handshake only after it was asked to connect.
            await receive()
            if "websocket.http.response" not in (scope.get("extensions") or {}):
                await send({"type": "websocket.close", "code": 1008, "reason": ""})
                return
            prefix = "websocket.http.response"
        headers = list(answer.headers)
        if answer.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(answer.body)))
        sent = dict(headers)
        for edit in outer:
            edit(exchange, answer.status, headers, sent)
        body = b"" if scope.get("method") == "HEAD" else answer.body
        await send({"type": f"{prefix}.start", "status": answer.status, "headers": headers})
        await send({"type": f"{prefix}.body", "body": body})


def responses(acts: Sequence[Act]) -> tuple[ResponseHook, ...]:
    """The response hooks, innermost first."""
    return tuple(act.response for act in reversed(acts) if act.response)


def ordered(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """The policies that are on, outermost first."""
    given: dict[type[Policy], Policy] = {}
    for policy in policies:
        if type(policy) in given:
            raise ValueError(f"the {policy.name} policy is given twice")
        given[type(policy)] = policy
    return tuple(given[kind] for kind in POLICIES if kind in given and given[kind].enabled)
