"""What Seawall asks of an ASGI server. One file in ``servers/`` and one line in its table each."""

import socket
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from seawall.serve.settings import ServeSettings


class Server(Protocol):
    """An ASGI server, driven by our settings alone.

    Its own ideas about proxies are switched off: the proxy policy is the only one that
    decides who is asking. It names neither itself nor its version to strangers.
    """

    def version(self) -> str:
        """The installed version; raises :class:`seawall.errors.MissingDependency`."""

    def run(self, app: Any, entry: str, settings: "ServeSettings", listener: socket.socket) -> None:
        """Serves until SIGTERM or SIGINT, and returns once requests in flight are answered.

        One process serves ``app``; several import it as ``entry`` (``module:attribute``).
        ``listener`` is bound and listening. Raises :class:`seawall.errors.ServeError` when
        the app does not start.
        """
