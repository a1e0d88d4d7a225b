"""How a policy that stands in the body stream says no: in messages, through the given send.

Its response passes the response hooks of every policy, for those stand outside.
"""

from seawall.policies.exchange import Exchange, Receive, Refusal, Scope, Send
from seawall.policies.policy import Refuse


async def refuse(
    scope: Scope, receive: Receive, send: Send, refusal: Refusal, look: Refuse
) -> None:
    """Sends a refusal, which ``look`` gives its body; a websocket handshake is denied."""
    prefix = "http.response"
    if scope["type"] == "websocket":
        # A server finishes the handshake only after it was asked to connect.
        await receive()
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        prefix = "websocket.http.response"
    exchange = Exchange(scope["headers"])
    exchange.scope = scope
    answer = look(exchange, refusal)
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    await send({"type": f"{prefix}.start", "status": answer.status, "headers": headers})
    body = b"" if scope.get("method") == "HEAD" else answer.body
    await send({"type": f"{prefix}.body", "body": body})
