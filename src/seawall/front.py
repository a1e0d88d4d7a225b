"""Puts an app that was located behind Seawall, if its own code did not.

The same for the process that ``seawall serve`` runs in and for the workers it starts.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from seawall.absorb import absorb
from seawall.app import Seawall
from seawall.edge import Edge
from seawall.locate import Located, locate
from seawall.policies.exchange import ASGIApp
from seawall.settings import load

VARIABLE = "_SEAWALL_ENTRY"
"""How workers hear which app to import. Not ``SEAWALL_``: every such name is a setting."""

Flags = Mapping[str, tuple[Any, str]]

SERVED = {"access_log.enabled": (True, "seawall serve")}
"""What a server behind Seawall assumes: it keeps no log of its own, so the policy must."""


def stand(app: Any, *, flags: Flags | None = None, env_file: str | None = None) -> ASGIApp:
    """What a server calls: the app itself when it has a Seawall, else one put around it.

    An app that is neither FastAPI nor Starlette gets the edge alone, without tasks. The
    app's own middleware is absorbed now, so that a wrong setting stops the start.
    """
    if Seawall.of(app) is None:
        if not isinstance(app, Starlette):
            settings = load(flags=flags, env_file=env_file, absorbed=SERVED)
            return Edge(app, settings.policies.values())
        Seawall(app, flags=flags, env_file=env_file)
    wall = Seawall.of(app)
    if wall is not None:
        wall.absorb(SERVED)
    return app  # type: ignore[no-any-return]


def settings_of(app: Any, *, flags: Flags | None = None, env_file: str | None = None) -> Any:
    """The settings that an app is served with, without opening a task store for it."""
    wall = Seawall.of(app)
    if wall is not None:
        wall.absorb()
        return wall.settings
    absorbed = None
    if isinstance(app, Starlette):
        absorbed, app.user_middleware[:] = absorb(app.user_middleware)
    return load(flags=flags, env_file=env_file, absorbed=absorbed)


def announce(located: Located, *, factory: bool) -> None:
    """Tells the processes started from here on which app to import."""
    word = {
        "name": located.name,
        "directory": str(located.directory),
        "factory": factory,
        "parent": os.getpid(),
    }
    os.environ[VARIABLE] = json.dumps(word)


def announced() -> tuple[Located, int]:
    """The app that the parent process announced, imported, and the parent's id."""
    word = json.loads(os.environ[VARIABLE])
    directory = Path(word["directory"])
    return locate(word["name"], factory=word["factory"], directory=directory), word["parent"]
