"""The request path: one coroutine function over precomputed stages.

A closure and not a method, because a variable of an enclosing function costs less to
read than an attribute, and all of this together costs a request a few microseconds.
"""

from collections.abc import Awaitable, Iterable
from time import perf_counter

from seawall.edge.memory import Memory
from seawall.edge.plan import Outside, Plan
from seawall.edge.watch import Watch
from seawall.policies.exchange import (
    Answer,
    ASGIApp,
    Exchange,
    Header,
    Message,
    Receive,
    Refusal,
    Scope,
    Send,
)
from seawall.policies.policy import Refuse, ResponseHook

NOTHING: dict[bytes, bytes] = {}
NONE: tuple[Header, ...] | None = ()


def fused(app: ASGIApp, other: ASGIApp, plan: Plan, memory: Memory) -> ASGIApp:
    """``app`` behind the plan; scopes that are neither HTTP nor websocket go to ``other``."""
    before, after, websocket = plan.before, plan.after, plan.websocket
    every, lively, finish = plan.response, plan.lively, plan.finish
    refuse, failed = plan.refuse, plan.failed
    look_up, settled, learn = memory.get, memory.hooks, memory.learn
    owned, remembers = plan.owned, bool(plan.settled)

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind != "http":
            await (handshake if kind == "websocket" else other)(scope, receive, send)
            return

        exchange = Exchange(scope["headers"])
        exchange.scope = scope
        exchange.began = perf_counter()
        if "scheme" not in scope:
            scope["scheme"] = "http"  # the one fact that ASGI lets a server leave out
        for hook, outer in before:
            answer = hook(exchange)
            if answer is not None:
                await respond(exchange, answer, outer, refuse, send)
                return

        extras = NONE
        if remembers:
            extras = look_up(
                (scope["method"], scope["scheme"], exchange.get(b"host"), exchange.get(b"origin"))
            )
        if extras is None or len(exchange) != len(scope["headers"]):
            # Not met before; or a header came twice, and each policy must look for itself.
            for hook, outer in settled:
                answer = hook(exchange)
                if answer is not None:
                    await respond(exchange, answer, outer, refuse, send)
                    return
            extras = learn(exchange) if remembers else NONE
        for hook, outer in after:
            answer = hook(exchange)
            if answer is not None:
                await respond(exchange, answer, outer, refuse, send)
                return

        if finish:
            watch = Watch(exchange, finish, send)
            send = watch.send
        started = False

        # Not a coroutine function: it hands on the server's own awaitable, which saves
        # a coroutine for every message.
        def forward(message: Message) -> Awaitable[None]:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                # Copies: an app may send the same message and list for every request.
                headers = list(message.get("headers", ()))
                status = message["status"]
                sent = NOTHING
                edits = lively
                for header in headers:
                    if header[0] in owned:
                        sent = dict(headers)
                        edits = every
                        break
                else:
                    if extras is None:
                        edits = every
                    else:
                        headers += extras
                for edit in edits:
                    edit(exchange, status, headers, sent)
                message = {**message, "headers": headers}
            return send(message)

        try:
            await app(scope, receive, forward)
        except BaseException as error:
            if finish:
                watch.error = type(error).__qualname__
            if failed is not None and not started and isinstance(error, Exception):
                await failed(exchange, forward)
            # The server logs it; the client already has its answer.
            raise
        finally:
            if finish:
                watch.end()

    async def handshake(scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope["headers"])
        exchange.scope = scope
        exchange.began = perf_counter()
        if "scheme" not in scope:
            scope["scheme"] = "ws"
        for hook, outer in websocket:
            answer = hook(exchange)
            if answer is not None:
                await deny(exchange, answer, outer, refuse, receive, send)
                return

        with Watch(exchange, finish, send) as watch:

            def forward(message: Message) -> Awaitable[None]:
                if message["type"] == "websocket.http.response.start":
                    message = edited(exchange, message, every)
                return watch.send(message)

            await app(scope, receive, forward)

    return run


async def respond(
    exchange: Exchange,
    answer: Answer | Refusal,
    outer: Outside,
    refuse: Refuse,
    send: Send,
) -> None:
    """Sends what a policy answered, past the policies outside it."""
    if not outer.finish:
        await answered(exchange, answer, outer.response, refuse, send)
        return
    with Watch(exchange, outer.finish, send) as watch:
        await answered(exchange, answer, outer.response, refuse, watch.send)


async def answered(
    exchange: Exchange,
    answer: Answer | Refusal,
    edits: Iterable[ResponseHook],
    refuse: Refuse,
    send: Send,
    prefix: str = "http.response",
) -> None:
    """Sends a whole response, its headers edited."""
    if isinstance(answer, Refusal):
        answer = refuse(exchange, answer)
    headers = list(answer.headers)
    if answer.status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(answer.body)))
    start = {"type": f"{prefix}.start", "status": answer.status, "headers": headers}
    await send(edited(exchange, start, edits))
    body = b"" if exchange.scope.get("method") == "HEAD" else answer.body
    await send({"type": f"{prefix}.body", "body": body})


async def deny(
    exchange: Exchange,
    answer: Answer | Refusal,
    outer: Outside,
    refuse: Refuse,
    receive: Receive,
    send: Send,
) -> None:
    """Refuses a websocket handshake, with a response where the server can send one."""
    with Watch(exchange, outer.finish, send) as watch:
        # A server finishes the handshake only after it was asked to connect.
        await receive()
        if "websocket.http.response" in (exchange.scope.get("extensions") or {}):
            prefix = "websocket.http.response"
            await answered(exchange, answer, outer.response, refuse, watch.send, prefix)
        else:
            await watch.send({"type": "websocket.close", "code": 1008, "reason": ""})


def edited(exchange: Exchange, start: Message, edits: Iterable[ResponseHook]) -> Message:
    """A response start with its headers edited; the message itself stays as it was."""
    headers = list(start.get("headers", ()))
    sent = dict(headers)
    for edit in edits:
        edit(exchange, start["status"], headers, sent)
    return {**start, "headers": headers}
