"""``seawall serve``: the app, behind Seawall, on a server."""

from typing import Any

from seawall.app import Seawall
from seawall.cli import output
from seawall.cli.flags import App, Factory, Given, settings
from seawall.cli.values import masked
from seawall.front import announce, stand
from seawall.locate import Located, locate
from seawall.serve.listener import address, listening
from seawall.serve.servers import SERVERS
from seawall.serve.settings import ServeSettings


@settings("serve")
def serve(app: App = "", *, factory: Factory = False, given: Given) -> int:
    """Serves the app, behind Seawall.

    Until SIGTERM or Ctrl-C; then requests and tasks may finish. The app is imported first,
    so that what is wrong with it is told before anything listens. An app without a
    `Seawall(app)` line gets one.
    """
    given = given.with_app(app)
    said = given.load()
    given.export()
    located = locate(said.app, said.origin("app"), factory=factory)
    asgi = stand(located.app, flags=given.flags, env_file=given.env_file)
    wall = Seawall.of(located.app)
    tree = said if wall is None else wall.settings
    # What was typed for this run wins over Seawall(app, serve=...) in the code.
    typed = [key.removeprefix("serve.") for key in given.flags if key.startswith("serve.")]
    how = tree.serve.model_copy(update={key: getattr(said.serve, key) for key in typed})
    server = SERVERS[how.server]
    with listening(how) as listener:
        announce(located, factory=factory)
        where = f"{how.server} {server.version()}, {address(listener)}"
        for line in summary(located, tree, how, where, tasks=wall is not None):
            output.note(line)
        server.run(asgi, "seawall.entry:app", how, listener)
    return output.CLEAN


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
