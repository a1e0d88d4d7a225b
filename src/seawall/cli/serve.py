"""``seawall serve``: the app, behind Seawall, on a server."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from socket import socket
from typing import Any

from seawall.app import Seawall
from seawall.cli import output
from seawall.cli.flags import App, Factory, Given, settings
from seawall.cli.values import masked
from seawall.errors import ServeError
from seawall.front import SERVED, announce, stand
from seawall.locate import Located, locate
from seawall.policies.metrics import Metrics, shared
from seawall.serve.listener import address, listening
from seawall.serve.servers import SERVERS
from seawall.serve.settings import ServeSettings
from seawall.settings import load


@settings("serve")
def serve(app: App = "", *, factory: Factory = False, given: Given) -> int:
    """Serves the app, behind Seawall.

    Until SIGTERM or Ctrl-C; then requests and tasks may finish. The app is imported first,
    so that what is wrong with it is told before anything listens. An app without a
    `Seawall(app)` line gets one.
    """
    given = given.with_app(app)
    said = given.load()
    told = given.export()
    located = locate(said.app, said.origin("app"), factory=factory)
    asgi = stand(located.app, flags=given.flags, env_file=given.env_file)
    wall = Seawall.of(located.app)
    if wall is None:
        tree = load(flags=given.flags, env_file=given.env_file, absorbed=SERVED)
    else:
        tree = wall.settings
    # What was typed for this run wins over Seawall(app, serve=...) in the code.
    typed = [key.removeprefix("serve.") for key in given.flags if key.startswith("serve.")]
    how = tree.serve.model_copy(update={key: getattr(said.serve, key) for key in typed})
    server = SERVERS[how.server]

    def origin(key: str) -> str:
        source = (said if key in typed else tree).origin(f"serve.{key}")
        return told.get(source, source)

    with (
        _listening(how, origin) as listener,
        shared(tree.policy(Metrics), how.workers),
    ):
        announce(located, factory=factory)
        where = f"{how.server} {server.version()}, {address(listener)}"
        for line in summary(located, tree, how, where, tasks=wall is not None):
            output.note(line)
        server.run(asgi, "seawall.entry:app", how, listener)
    return output.CLEAN


@contextmanager
def _listening(how: ServeSettings, origin: Callable[[str], str]) -> Iterator[socket]:
    """As :func:`listening`; of a place that cannot be had it says who asked for it."""
    with ExitStack() as stack:
        try:
            listener = stack.enter_context(listening(how))
        except ServeError as error:
            sources = dict.fromkeys(map(origin, ("uds",) if how.uds else ("host", "port")))
            said = ", ".join(one for one in sources if one != "default")
            if not said:
                raise
            raise ServeError(f"{error.message} [from {said}]", hint=error.hint) from error
        yield listener


def summary(
    located: Located, tree: Any, how: ServeSettings, where: str, *, tasks: bool
) -> list[str]:
    """What is about to be served, a line a fact."""
    count = f"{how.workers} worker{'s' if how.workers > 1 else ''}"
    on = " ".join(name for name, policy in tree.policies.items() if policy.enabled)
    return [
        f"app       {located.name} ({located.source})",
        f"server    {where}, {'reloads on change' if how.reload else count}",
        f"policies  {on or 'none'}",
        f"tasks     {_tasks(tree.tasks, tasks)}",
    ]


def _tasks(tasks: Any, possible: bool) -> str:
    if not possible:
        return "none: only FastAPI and Starlette apps have them"
    if not tasks.enabled:
        return "off: background tasks run in the process, and die with it"
    worker = "worker in the web process" if tasks.worker else "no worker here"
    return f"{masked('tasks.url', tasks.url)} (durable; {worker})"
