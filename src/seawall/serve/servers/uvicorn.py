"""uvicorn: HTTP/1.1 and websockets; the default.

A single process serves in this one. Several workers and the reloader are uvicorn's own
supervisors, over the socket that is already bound.
"""

import copy
import math
import os
import signal
import socket
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seawall.errors import ServeError

if TYPE_CHECKING:
    import uvicorn

    from seawall.serve.settings import ServeSettings


class Uvicorn:
    """See :class:`seawall.serve.server.Server`."""

    def version(self) -> str:
        return version("uvicorn")

    def run(self, app: Any, entry: str, settings: "ServeSettings", listener: socket.socket) -> None:
        # Imported late: every command reads the table of servers, one needs the server.
        from uvicorn.supervisors import ChangeReload

        if settings.reload:
            config = _config(entry, settings)
            ChangeReload(config, target=_server(config).run, sockets=[listener]).run()
        elif settings.workers > 1:
            _several(_config(entry, settings), listener)
        else:
            _one(_config(app, settings), listener)


def _config(app: Any, settings: "ServeSettings") -> "uvicorn.Config":
    import uvicorn

    # `seawall serve` says these things itself, so uvicorn must not read the environment.
    return uvicorn.Config(
        app,
        workers=settings.workers,
        reload=settings.reload,
        reload_dirs=[str(Path.cwd())] if settings.reload else None,
        proxy_headers=False,
        server_header=False,
        # The access_log policy writes one, the same on every server.
        access_log=False,
        lifespan="auto",
        ws="auto",
        timeout_keep_alive=settings.keep_alive,
        # Rounded up: zero would cancel requests at once.
        timeout_graceful_shutdown=math.ceil(settings.drain),
        log_config=_logging(),
        use_colors=_colours(),
    )


def _server(config: "uvicorn.Config") -> "uvicorn.Server":
    import uvicorn

    return uvicorn.Server(config)


def _one(config: "uvicorn.Config", listener: socket.socket) -> None:
    server = _server(config)
    # uvicorn raises the signal again when it is done; met by its own handler, that does
    # no harm, and the process ends with 0 instead of dying of the signal.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    try:
        server.run(sockets=[listener])
    except SystemExit as end:
        if end.code:
            raise _unstarted() from None


def _several(config: "uvicorn.Config", listener: socket.socket) -> None:
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    supervisor = Multiprocess(config, sockets=[listener])
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise _unstarted()


def _unstarted() -> ServeError:
    return ServeError("the app did not start", hint="the log above says why")


def _logging() -> dict[str, Any]:
    """uvicorn's own logging, all of it on stderr, and Seawall's in the same dress."""
    from uvicorn.config import LOGGING_CONFIG

    logging = copy.deepcopy(LOGGING_CONFIG)
    logging["handlers"]["access"]["stream"] = "ext://sys.stderr"
    logging["loggers"]["seawall"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return logging


def _colours() -> bool | None:
    """What NO_COLOR and FORCE_COLOR ask for; ``None`` leaves it to the terminal."""
    if os.environ.get("FORCE_COLOR"):
        return True
    return False if os.environ.get("NO_COLOR") else None
