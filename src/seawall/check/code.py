"""What can be seen in the source of an app's handlers and dependencies.

Names are looked up in each function's own module, never run, so an alias
(``from time import sleep as nap``) is seen for what it is.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from seawall.errors import UndurableTask
from seawall.findings import Finding, Level, Rule
from seawall.tasks import arguments

BLOCKING = Rule(
    "app.blocking",
    Level.WARNING,
    "A blocking call in an `async def` stops every request of the process while it waits.",
    "declare the handler with `def`, or await an asynchronous equivalent",
)
UNDURABLE = Rule(
    "tasks.undurable",
    Level.WARNING,
    "A background task that cannot be named and imported cannot be written to the store: it "
    "runs in the process and dies with it.",
    "pass a function of a module, with plain data as arguments",
)
RULES = (BLOCKING, UNDURABLE)

_BLOCKING = {
    "time": {"sleep"},
    "os": {"system", "wait", "waitpid"},
    "subprocess": {"run", "call", "check_call", "check_output", "getoutput", "getstatusoutput"},
    "urllib.request": {"urlopen", "urlretrieve"},
    "socket": {"create_connection", "getaddrinfo", "gethostbyname"},
    "requests.api": {"request", "get", "post", "put", "patch", "delete", "head", "options"},
    "httpx._api": {"request", "get", "post", "put", "patch", "delete", "head", "options", "stream"},
}
"""Module in which a function is defined -> its name."""

_OWN_NAMES = {"posix": "os", "nt": "os", "_socket": "socket"}


def audit(app: Any) -> Iterator[Finding]:
    """Blocking calls in coroutines, and tasks that cannot be durable; nothing for ``None``."""
    seen: set[Any] = set()
    for function in _functions(getattr(app, "routes", ())):
        function = inspect.unwrap(function)
        if inspect.isfunction(function) and function not in seen:
            seen.add(function)
            yield from _function(function)


def _functions(routes: Any) -> Iterator[Callable[..., Any]]:
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from _functions(included.routes)
        elif (dependant := getattr(route, "dependant", None)) is not None:
            yield from _dependant(dependant)
        elif hasattr(route, "endpoint"):
            yield route.endpoint
        else:
            yield from _functions(getattr(route, "routes", None) or ())


def _dependant(dependant: Any) -> Iterator[Callable[..., Any]]:
    if dependant.call is not None:
        yield dependant.call
    for inner in dependant.dependencies:
        yield from _dependant(inner)


def _function(function: Any) -> Iterator[Finding]:
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines))).body[0]
    except (OSError, SyntaxError, TypeError, IndexError):
        return  # made by exec, or a part of a line: there is no source to read
    if not isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    inner = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node is not tree
    }
    # Handlers of FastAPI itself are not the user's to mend.
    if function.__module__.partition(".")[0] in ("fastapi", "starlette", "seawall"):
        return
    for call in _calls(tree):
        where = f"{inspect.getsourcefile(function)}:{first + call.lineno - 1}"
        if isinstance(tree, ast.AsyncFunctionDef) and (name := _blocking(call.func, function)):
            yield BLOCKING(f"{function.__qualname__} calls {name}", source=where)
        if reason := _undurable(call, function, inner):
            yield UNDURABLE(f"{function.__qualname__} adds a task: {reason}", source=where)


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that run in the function itself, not in one defined inside it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, ast.Call):
            yield node
        yield from _calls(node)


def _blocking(called: ast.expr, function: Any) -> str:
    found = _looked_up(called, function)
    module = getattr(found, "__module__", None) or ""
    module = _OWN_NAMES.get(module, module)
    name = getattr(found, "__name__", "")
    return f"{module}.{name}()" if name in _BLOCKING.get(module, ()) else ""


def _undurable(call: ast.Call, function: Any, inner: set[str]) -> str:
    """Why ``tasks.add_task(f, ...)`` cannot be durable, as far as the source tells."""
    if not (isinstance(call.func, ast.Attribute) and call.func.attr == "add_task" and call.args):
        return ""
    task = call.args[0]
    if isinstance(task, ast.Lambda):
        return "it is a lambda"
    if isinstance(task, ast.Name) and task.id in inner:
        return f"{task.id} is defined inside another function"
    found = _looked_up(task, function)
    if not callable(found):
        return ""
    try:
        arguments.name_of(found)
    except UndurableTask as error:
        return error.message
    return ""


def _looked_up(expression: ast.expr, function: Any) -> Any:
    """The object that a dotted name stands for; ``None`` if it is not one of the module's."""
    if isinstance(expression, ast.Name):
        local = expression.id in function.__code__.co_varnames
        return None if local else function.__globals__.get(expression.id)
    if isinstance(expression, ast.Attribute):
        holder = _looked_up(expression.value, function)
        # Modules and classes only: an attribute of an object may be a property that runs.
        if inspect.ismodule(holder) or inspect.isclass(holder):
            return getattr(holder, expression.attr, None)
    return None
