"""How the app is served."""

import difflib
import os
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from seawall.errors import Hinted
from seawall.section import Section
from seawall.serve.servers import SERVERS


def _workers(value: Any) -> Any:
    return (os.cpu_count() or 1) if value == "auto" else value


def _server(value: str) -> str:
    if value not in SERVERS:
        close = difflib.get_close_matches(value, SERVERS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(SERVERS)}"
        raise Hinted(f"{value!r} is no server that Seawall knows", hint)
    return value


class ServeSettings(Section):
    """How ``seawall serve`` serves; each is a flag too: ``keep_alive`` is ``--keep-alive``."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` is every IPv4 interface."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    uds: str = ""
    """Unix socket to listen on instead of host and port."""
    workers: Annotated[int, BeforeValidator(_workers)] = Field(default=1, ge=1, le=4096)
    """Processes that serve requests; `auto` for one a CPU."""
    reload: bool = False
    """Restart when a Python file changes; for development, one worker only."""
    server: Annotated[str, AfterValidator(_server)] = "uvicorn"
    """The ASGI server."""
    keep_alive: int = Field(default=75, ge=0, le=86400)
    """Seconds an idle connection stays open; longer than the proxy's own (nginx: 60)."""
    drain: float = Field(default=30.0, ge=0, le=86400)
    """Seconds that requests in flight get to finish after SIGTERM."""

    @field_validator("reload")
    @classmethod
    def _reloads_one(cls, reload: bool, info: ValidationInfo) -> bool:
        workers = info.data.get("workers", 1)
        if reload and workers > 1:
            raise Hinted(f"cannot reload {workers} workers", "set serve.workers = 1")
        return reload
