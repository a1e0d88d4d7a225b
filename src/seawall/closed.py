"""What stands in for an app that cannot be put behind its policies: nothing gets in."""

from seawall.policies.exchange import ASGIApp, Receive, Scope, Send
from seawall.policies.problems import MEDIA_TYPE, problem


def closed(reason: str) -> ASGIApp:
    """An app whose start-up fails with the reason, and that answers 500 where none is asked for."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.startup.failed", "message": reason})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1011, "reason": ""})
        else:
            # The reason is in the log; a stranger has no use for it.
            headers = [(b"content-type", MEDIA_TYPE)]
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            await send({"type": "http.response.body", "body": problem(500)})

    return app
