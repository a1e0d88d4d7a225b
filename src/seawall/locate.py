"""Finds the application and imports it.

Named: ``module:attribute``, ``module`` alone, or a file, ``examples/shop/main.py``. Not
named: the usual places, of which only files that bind a likely name are imported, so
that no unrelated script runs. Whatever goes wrong is one line that points into the
user's own code; errors that Seawall itself raised there pass through as they are.
"""

import ast
import difflib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from seawall.errors import AppError, SeawallError

PLACES = ("main", "app", "asgi", "api", "manage", "app.main", "app.app", "app.asgi", "app.api")
"""Modules looked at when the app is not named, here and below ``src/``."""
ATTRIBUTES = ("app", "application", "api")
"""Names an app usually has."""
FACTORIES = ("create_app", "make_app", "get_app")
"""Names a function that makes the app usually has."""

_HOW = "name it: main:app, a module and its attribute"


@dataclass(frozen=True, slots=True)
class Located:
    """An application that was imported."""

    app: Any
    name: str
    """``module:attribute``."""
    source: str
    """Who named it: ``argument``, ``pyproject.toml``, ``found main.py``."""
    directory: Path
    """What ``module`` is relative to; with ``name``, it locates the app again."""


@dataclass(frozen=True, slots=True)
class _Place:
    directory: Path
    module: str
    attribute: str


def locate(
    name: str = "",
    source: str = "argument",
    *,
    factory: bool = False,
    directory: Path | str = ".",
) -> Located:
    """Imports the app called ``name``, or the one found in ``directory``.

    ``factory`` calls the attribute, without arguments, for the app. Raises
    :class:`seawall.errors.AppError`; a :class:`seawall.errors.SeawallError` raised by the
    app's own module passes through.
    """
    directory = Path(directory).resolve()
    if not name:
        found = discover(directory, factory=factory)
        if found is None:
            raise AppError(f"no app found in {directory}", hint=_HOW)
        return found
    place = _place(name, directory)
    module = _import(place)
    attribute, app = _pick(module, place, factory)
    return Located(app, f"{place.module}:{attribute}", source, place.directory)


def discover(directory: Path | str = ".", *, factory: bool = False) -> Located | None:
    """Imports the app from the usual places; ``None`` when there is none.

    Raises as :func:`locate` does when a likely file is there but broken.
    """
    directory = Path(directory).resolve()
    for root in (directory, directory / "src"):
        for module in PLACES:
            file = _file(root, module)
            if file is None or not _binds(file, FACTORIES if factory else ATTRIBUTES):
                continue
            place = _Place(root, module, "")
            imported = _import(place)
            if factory or any(_is_asgi(found) for _, found in _candidates(imported)):
                attribute, app = _pick(imported, place, factory)
                shown = file.relative_to(directory)
                return Located(app, f"{module}:{attribute}", f"found {shown}", root)
    return None


def _place(name: str, directory: Path) -> _Place:
    target, _, attribute = name.partition(":")
    if not (target.endswith(".py") or "/" in target):
        return _Place(directory, target, attribute)
    path = (directory / target).resolve()
    if path.is_dir():
        path /= "__init__.py"
    path = path.with_suffix(".py")
    if not path.is_file():
        raise AppError(f"{name}: there is no file {path}", hint=_HOW)
    parts = [] if path.stem == "__init__" else [path.stem]
    root = path.parent
    # A module of a package is imported by its full name, or its relative imports fail.
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    return _Place(root, ".".join(parts), attribute)


def _file(root: Path, module: str) -> Path | None:
    stem = root.joinpath(*module.split("."))
    files = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _binds(file: Path, names: tuple[str, ...]) -> bool:
    """Whether a module's text binds one of the names; a file that cannot be read counts."""
    try:
        body = ast.parse(file.read_bytes()).body
    except (SyntaxError, ValueError, OSError):
        return True
    bound: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name for alias in node.names}
        else:
            bound |= {
                inner.id
                for inner in ast.walk(node)
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
            }
    return not bound.isdisjoint({*names, "*"})


def _import(place: _Place) -> ModuleType:
    root = str(place.directory)
    if root not in sys.path:
        sys.path.insert(0, root)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(place.module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if place.module == missing or place.module.startswith(f"{missing}."):
            close = _close(missing.rpartition(".")[2], _modules(place))
            raise AppError(
                f"there is no module {missing!r} in {place.directory}", hint=close or _HOW
            ) from None
        raise _broken(place, error) from error
    except (TypeError, ValueError) as error:
        if _in_importlib(error):
            raise AppError(f"{place.module!r} is not the name of a module", hint=_HOW) from None
        raise _broken(place, error) from error
    except SeawallError:
        raise
    except (Exception, SystemExit) as error:
        raise _broken(place, error) from error


def _in_importlib(error: BaseException) -> bool:
    """Whether the import failed before any code of the module ran."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    return all("importlib" in frame.filename for frame in frames)


def _modules(place: _Place) -> list[str]:
    folder = place.directory.joinpath(*place.module.split(".")[:-1])
    return sorted(file.stem for file in folder.glob("*.py")) if folder.is_dir() else []


def _close(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def _broken(place: _Place, error: BaseException, doing: str = "imported") -> AppError:
    """The error in one line: where in the user's own code, and what."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        what = f"imports {error.name!r}, which is not installed"
        hint = "install it, or correct the import"
    elif isinstance(error, SystemExit):
        what = f"ended the process while it was {doing}"
        hint = 'put what a script does under: if __name__ == "__main__"'
    else:
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        what = f"{type(error).__name__}: {' '.join(said.split())}".rstrip(": ")
        what = what if len(what) <= 300 else f"{what[:297]}..."
        hint = ""
    return AppError(f"{_where(place, error)}: {what}", hint=hint)


def _where(place: _Place, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(error.filename)}, line {error.lineno}"
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(place.directory)
        and "site-packages" not in frame.filename
    ]
    if not own:
        return place.module
    return f"{_shown(own[-1].filename)}, line {own[-1].lineno}"


def _shown(file: str) -> str:
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        return file


def _candidates(module: ModuleType) -> Iterator[tuple[str, Any]]:
    for name in ATTRIBUTES:
        if hasattr(module, name):
            yield name, getattr(module, name)


def _pick(module: ModuleType, place: _Place, factory: bool) -> tuple[str, Any]:
    """The attribute's name and the app itself."""
    if place.attribute:
        attribute, found = place.attribute, _attribute(module, place)
    else:
        wanted = (*FACTORIES, *ATTRIBUTES) if factory else ATTRIBUTES
        attribute = next((name for name in wanted if hasattr(module, name)), "")
        if not attribute:
            looks = ", ".join(_looking_asgi(module))
            hint = f"name it: {place.module}:{looks}" if looks else _HOW
            raise AppError(f"{place.module} has no {' or '.join(wanted)}", hint=hint)
        found = getattr(module, attribute)
    name = f"{place.module}:{attribute}"
    if factory:
        found = _made(found, name, place)
    if not _is_asgi(found):
        raise AppError(f"{name} is {_kind(found)}, not an ASGI app", hint=_remedy(found, module))
    return attribute, found


def _attribute(module: ModuleType, place: _Place) -> Any:
    found: Any = module
    for part in place.attribute.split("."):
        if not hasattr(found, part):
            looks = _looking_asgi(module)
            hint = _close(part, looks) or (f"it has: {', '.join(looks)}" if looks else _HOW)
            raise AppError(f"{place.module} has no attribute {place.attribute!r}", hint=hint)
        found = getattr(found, part)
    return found


def _made(factory: Any, name: str, place: _Place) -> Any:
    if not callable(factory) or not _takes(factory, 0):
        raise AppError(
            f"{name} is no factory: it cannot be called without arguments",
            hint="leave --factory out" if _is_asgi(factory) else "give its arguments defaults",
        )
    try:
        return factory()
    except SeawallError:
        raise
    except (Exception, SystemExit) as error:
        raise _broken(place, error, "making the app") from error


def _looking_asgi(module: ModuleType) -> list[str]:
    # Functions and classes that the module imported take three arguments by chance.
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and _is_asgi(value)
        and getattr(value, "__module__", module.__name__)
        in (module.__name__, type(value).__module__)
    )


def _is_asgi(value: Any) -> bool:
    return callable(value) and not isinstance(value, type | ModuleType) and _takes(value, 3)


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        # Written in C, and it does not say.
        return True
    return True


def _kind(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return "a function"
    if callable(value) and _takes(value, 2):
        return f"a WSGI app ({type(value).__name__})"
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _remedy(value: Any, module: ModuleType) -> str:
    if not isinstance(value, type) and callable(value) and _takes(value, 0):
        return "if it makes the app: --factory"
    if not isinstance(value, type) and callable(value) and _takes(value, 2):
        return "wrap it: a2wsgi.WSGIMiddleware(app)"
    looks = _looking_asgi(module)
    return f"did you mean {looks[0]!r}?" if looks else _HOW
