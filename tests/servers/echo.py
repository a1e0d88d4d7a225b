"""An app that tells what it sees, streams on demand, and speaks websockets."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

from seawall import Seawall

app = FastAPI()
Seawall(app)
go_on = asyncio.Event()


@app.api_route("/echo/{path:path}", methods=["GET", "POST"])
async def echo(request: Request) -> dict[str, Any]:
    server: tuple[str, int | None] | None = request.scope.get("server")
    return {
        "headers": request.headers.items(),
        "client": request.client.host if request.client else None,
        "scheme": request.url.scheme,
        "raw_path": request.scope["raw_path"].decode("ascii"),
        "query": request.scope["query_string"].decode("ascii"),
        "server": list(server) if server else None,
    }


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        yield "first\n"
        # The second part is sent only when the reader says that the first arrived.
        await go_on.wait()
        yield "second\n"

    return StreamingResponse(parts(), media_type="text/plain")


@app.post("/go-on")
async def release() -> None:
    go_on.set()


@app.websocket("/ws")
async def websocket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(f"{socket.url.scheme} {await socket.receive_text()}")
    await socket.close()
