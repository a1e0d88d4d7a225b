"""One line that takes an app to production: ``Seawall(app)``.

It reads the settings, takes over the middleware it knows, puts the edge outside
everything else the app has (Starlette's ServerErrorMiddleware included), and makes
background tasks durable. Nothing of the app's own code changes.
"""

import logging
from collections.abc import Mapping
from typing import Any, cast

from starlette.applications import Starlette

from seawall.absorb import absorb
from seawall.closed import closed
from seawall.edge import Edge
from seawall.errors import SeawallError, SettingsError, StoreError
from seawall.handlers import install as install_handlers
from seawall.policies import Problems
from seawall.policies.exchange import ASGIApp
from seawall.settings import load
from seawall.tasks import Tasks
from seawall.tasks.durable import install as install_durable

_MARK = "_seawall"

log = logging.getLogger("seawall")


class Seawall:
    """Puts an app (FastAPI or Starlette) behind Seawall.

    Keyword arguments are settings, strongest of all sources: ``Seawall(app,
    cors={"allow_origins": ["https://example.com"]}, https=True, tasks=False)``.

    Raises :class:`seawall.errors.SettingsError` for a wrong setting and
    :class:`seawall.errors.StoreError` for a task store that cannot be used, both
    at once, before a request is served.
    """

    def __init__(
        self,
        app: Starlette,
        *,
        env_file: str | None = None,
        flags: Mapping[str, tuple[Any, str]] | None = None,
        **settings: Any,
    ) -> None:
        if not isinstance(app, Starlette):
            raise SettingsError(
                f"Seawall(app) takes a FastAPI or Starlette app, not {type(app).__name__}",
                hint="wrap any other ASGI app: seawall.Edge(app, policies)",
            )
        if getattr(app, _MARK, None) is not None:
            raise SettingsError("this app has a Seawall already", hint="remove the second line")
        if app.middleware_stack is not None:
            raise SettingsError("this app has served already", hint="call Seawall(app) earlier")
        self.app = app
        self._arguments = settings
        self._env_file = env_file
        self._flags = flags
        self._absorbed: dict[str, tuple[Any, str]] = {}
        # Read twice on purpose: here, so that a wrong setting stops the import, and when
        # the stack is built, when the app's own middleware is known too.
        self.settings = self._load()
        self.tasks = Tasks(self.settings.tasks) if self.settings.tasks.enabled else None
        if self.tasks is not None:
            self._open(self.tasks)
        self._reported = ""
        self._build = app.build_middleware_stack
        app.build_middleware_stack = self._build_stack  # type: ignore[method-assign]
        setattr(app, _MARK, self)

    @staticmethod
    def of(app: Any) -> "Seawall | None":
        """The Seawall around an app, if it has one."""
        return cast("Seawall | None", getattr(app, _MARK, None))

    def absorb(self, assumed: Mapping[str, tuple[Any, str]] | None = None) -> None:
        """Takes over the middleware it knows, and reads the settings again with what it said.

        ``assumed`` maps dotted keys to (value, source): what holds where nobody says otherwise.
        """
        absorbed, left = absorb(self.app.user_middleware)
        if absorbed or assumed:
            self._absorbed = {**(assumed or {}), **self._absorbed, **absorbed}
            # In this order: what cannot be said as settings must not vanish from the app.
            self.settings = self._load()
            self.app.user_middleware[:] = left

    def _load(self) -> Any:
        flags, absorbed = self._flags, self._absorbed
        return load(self._arguments, env_file=self._env_file, flags=flags, absorbed=absorbed)

    def _build_stack(self) -> ASGIApp:
        try:
            return self._stack()
        except SeawallError as error:
            # Raised here, it would reach a server that takes an app without lifespan for
            # granted, and serves on. Nothing is served instead.
            log.critical("%s", error)
            return closed(str(error))

    def _stack(self) -> ASGIApp:
        self.absorb()
        problems = self.settings.policy(Problems)
        if problems.enabled:
            install_handlers(self.app, problems)
        if self.tasks is not None:
            install_durable(self.app, self.tasks)
        inner = self._build()
        lifespan = None if self.tasks is None else self.tasks.lifespan(inner)
        policies = self.settings.policies.values()
        return Edge(inner, policies, ready=self._not_ready, lifespan=lifespan).run

    def _open(self, tasks: Tasks) -> None:
        try:
            tasks.open()
        except StoreError as error:
            source = self.settings.origin("tasks.url")
            if source == "default":
                raise
            raise type(error)(f"{error.message} [from {source}]", hint=error.hint) from error

    def _not_ready(self) -> str:
        trouble = "" if self.tasks is None else self.tasks.trouble
        if trouble and trouble != self._reported:
            log.error("not ready: %s", trouble)
        self._reported = trouble
        # Strangers may ask; the whole truth names files.
        return "the task store cannot be used" if trouble else ""
