"""Audits settings and app: each policy audits itself, and what no policy owns is checked here.

Nothing is started; the settings, the app object and the source of its handlers are looked at.
"""

from collections.abc import Callable, Iterator
from typing import Any

from seawall.check import app, code
from seawall.findings import Finding, Level, Rule
from seawall.policies import POLICIES
from seawall.policies.policy import Audit

TASKS_OFF = Rule(
    "tasks.off",
    Level.NOTE,
    "Background tasks that are not durable are lost when the process stops or dies.",
    "set tasks = true",
)
TASKS_IDLE = Rule(
    "tasks.idle",
    Level.NOTE,
    "With no worker in the web process, tasks wait until a worker runs elsewhere.",
    "set tasks.worker = true",
)
TASKS_VOLATILE = Rule(
    "tasks.volatile",
    Level.WARNING,
    "What is kept under /tmp, /run or /dev/shm is gone after a reboot, accepted tasks too.",
    'keep the store on a disk: tasks.url = "sqlite:////var/lib/app/seawall.db"',
)
KEEP_ALIVE = Rule(
    "serve.keep-alive",
    Level.WARNING,
    "A server that closes idle connections before the proxy in front does answers some "
    "requests with 502. nginx keeps upstream connections 60 s, balancers as long.",
    "set serve.keep_alive = 75",
)
RELOAD = Rule(
    "serve.reload",
    Level.WARNING,
    "The reloader is for development: it restarts the app when a file changes.",
    "say --reload on the command line instead",
)

OWN = (
    *app.RULES,
    *code.RULES,
    TASKS_OFF,
    TASKS_IDLE,
    TASKS_VOLATILE,
    KEEP_ALIVE,
    RELOAD,
)
"""The rules that belong to no policy."""

_VOLATILE = ("/tmp/", "/run/", "/var/run/", "/dev/shm/", "/var/tmp/")  # noqa: S108 - refused here


def rules() -> tuple[Rule, ...]:
    """Every rule of the policies, audited or proven, and then those of no policy."""
    return tuple(rule for kind in POLICIES for rule in kind.rules()) + OWN


def run(
    settings: Any, application: Any = None, *, origin: Callable[[str], str] | None = None
) -> list[Finding]:
    """Everything found wrong or worth knowing.

    ``settings`` is the whole tree; ``application`` the app, its known middleware absorbed,
    or ``None`` when there is none to look at; ``origin`` tells a dotted key's source, where
    it is not ``settings.origin``.
    """
    audit = Audit(origin or settings.origin, settings.policies, application)
    found = [finding for policy in audit.policies.values() for finding in policy.audit(audit)]
    return [
        *found,
        *app.audit(application),
        *code.audit(application),
        *_tasks(settings, audit),
        *_serve(settings, audit),
    ]


def _tasks(settings: Any, audit: Audit) -> Iterator[Finding]:
    tasks = settings.tasks
    if not tasks.enabled:
        yield TASKS_OFF("background tasks are not durable", source=audit.origin("tasks.enabled"))
        return
    if not tasks.worker:
        yield TASKS_IDLE("the web process runs no tasks", source=audit.origin("tasks.worker"))
    path = tasks.url.removeprefix("sqlite:///")
    if path != tasks.url and path.startswith(_VOLATILE):
        yield TASKS_VOLATILE(f"tasks are kept in {path}", source=audit.origin("tasks.url"))


def _serve(settings: Any, audit: Audit) -> Iterator[Finding]:
    serve = settings.serve
    if serve.keep_alive <= 60:
        yield KEEP_ALIVE(
            f"idle connections are closed after {serve.keep_alive} s",
            source=audit.origin("serve.keep_alive"),
        )
    if serve.reload:
        yield RELOAD("serve.reload is set for every start", source=audit.origin("serve.reload"))
