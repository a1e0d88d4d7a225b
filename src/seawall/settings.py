"""The one settings tree: where values come from, which one wins, and who said it.

From strongest to weakest:

1. a Python argument or command-line flag,
2. the environment (``SEAWALL_SECTION__KEY``; also the bare ``PORT`` and ``WEB_CONCURRENCY``),
3. an env file (``--env-file``),
4. ``seawall.toml``, or ``[tool.seawall]`` in ``pyproject.toml``,
5. middleware that the app itself added and Seawall absorbed,
6. the default.

Each value keeps its source, so that ``seawall config`` can print it and an error can
name it. (That is why the sources are read here and not by pydantic-settings, which
forgets where a value came from and overlooks environment names it does not know.)
"""

import difflib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar, cast

from dotenv import dotenv_values
from pydantic import PrivateAttr, ValidationError, create_model
from pydantic_core import ErrorDetails

from seawall.errors import Hinted, SettingsError, SettingsErrors
from seawall.policies import POLICIES, Policy
from seawall.render.settings import NginxSettings
from seawall.section import Section
from seawall.serve.settings import ServeSettings
from seawall.tasks.settings import TasksSettings

PREFIX = "SEAWALL_"
BARE = {"PORT": "serve.port", "WEB_CONCURRENCY": "serve.workers"}
"""Environment names of other tools that mean one of our settings."""

_P = TypeVar("_P", bound=Policy)


class Tree(Section):
    """What every settings tree has; :data:`Settings` adds one section a policy."""

    app: str = ""
    """The application, `module:attribute`; empty looks in the usual places."""
    tasks: TasksSettings = TasksSettings()
    serve: ServeSettings = ServeSettings()
    nginx: NginxSettings = NginxSettings()

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    def origin(self, key: str) -> str:
        """Where the value of ``section.key`` came from; ``"default"`` when nobody set it."""
        return self._origins.get(key, "default")

    def policy(self, kind: type[_P]) -> _P:
        """The settings of one policy, switched on or off."""
        return cast(_P, getattr(self, kind.name))

    @property
    def policies(self) -> Mapping[str, Policy]:
        """Every policy by name, in order, switched on or off."""
        return MappingProxyType({kind.name: getattr(self, kind.name) for kind in POLICIES})

    def items(self) -> Iterator[tuple[str, Any, str]]:
        """Every setting: dotted key, value, source."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if not isinstance(value, Section):
                yield name, value, self.origin(name)
                continue
            for key in type(value).model_fields:
                dotted = f"{name}.{key}"
                yield dotted, getattr(value, key), self.origin(dotted)


Settings = create_model(
    "Settings",
    __base__=Tree,
    **{kind.name: (kind, kind()) for kind in POLICIES},  # type: ignore[call-overload]
)
"""The tree: ``app``, one section a policy, and ``tasks``, ``serve``, ``nginx``."""

SECTIONS: Mapping[str, type[Section]] = MappingProxyType(
    {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
)


def load(
    arguments: Mapping[str, Any] | None = None,
    *,
    flags: Mapping[str, tuple[Any, str]] | None = None,
    directory: Path | str = ".",
    env_file: Path | str | None = None,
    environ: Mapping[str, str] | None = None,
    absorbed: Mapping[str, tuple[Any, str]] | None = None,
) -> Tree:
    """Reads every source and returns the settings that result.

    ``arguments`` is what Python code said (``{"cors": {...}, "https": True}``); ``flags``
    and ``absorbed`` map dotted keys to (value, source). Raises :class:`SettingsError`
    (or :class:`SettingsErrors`, several at once) naming key, value, source and remedy.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    layers: tuple[dict[str, tuple[Any, str]], ...] = (
        dict(absorbed or {}),
        _project(Path(directory)),
        _env_file(env_file),
        _environment(environ),
        dict(flags or {}),
        _flatten(arguments or {}, "argument"),
    )
    faults: list[SettingsError] = []
    for layer in layers:
        for key, (value, source) in layer.items():
            fault = _unknown(key, source)
            if fault is not None:
                faults.append(fault)
                continue
            _place(values, origins, key, value, source)
    if faults:
        _raise(faults)
    _switch_on(values, origins)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        _raise([_explain(fault, origins) for fault in error.errors()])
    settings._origins.update(origins)
    return settings


def validated(kind: type[_P], options: Mapping[str, Any], source: str) -> _P:
    """One policy from options given in code, its errors told as settings errors."""
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        details = [{**fault, "loc": (kind.name, *fault["loc"])} for fault in error.errors()]
        origins = {f"{kind.name}.{key}": source for key in options}
        _raise([_explain(cast(ErrorDetails, fault), origins) for fault in details])


def _raise(faults: list[SettingsError]) -> NoReturn:
    if len(faults) == 1:
        raise faults[0]
    raise SettingsErrors(tuple(faults))


def _place(
    values: dict[str, Any], origins: dict[str, str], key: str, value: Any, source: str
) -> None:
    section, _, name = key.partition(".")
    if not name:
        if section in SECTIONS:
            # `cors = true`: everything said before about it stands.
            values.setdefault(section, {})["enabled"] = value
            origins[f"{section}.enabled"] = source
        else:
            values[section] = value
            origins[section] = source
        return
    values.setdefault(section, {})[name] = value
    origins[key] = source


def _switch_on(values: dict[str, Any], origins: dict[str, str]) -> None:
    """Options without a word about ``enabled`` mean that the policy is wanted."""
    for kind in POLICIES:
        options = values.get(kind.name)
        if options and "enabled" not in options:
            options["enabled"] = True
            first = next(iter(options))
            origins[f"{kind.name}.enabled"] = origins.get(f"{kind.name}.{first}", "default")


def _flatten(tree: Mapping[str, Any], source: str) -> dict[str, tuple[Any, str]]:
    flat: dict[str, tuple[Any, str]] = {}
    for section, options in tree.items():
        if isinstance(options, Section):
            options = options.model_dump(exclude_unset=True) or {"enabled": True}
        if section in SECTIONS and isinstance(options, Mapping):
            flat |= {f"{section}.{key}": (value, source) for key, value in options.items()}
            if not options:
                flat[section] = (True, source)
        else:
            flat[section] = (options, source)
    return flat


def _project(directory: Path) -> dict[str, tuple[Any, str]]:
    """The nearest ``seawall.toml`` or ``pyproject.toml`` with a ``[tool.seawall]``, upward."""
    try:
        start = directory.resolve()
    except OSError as error:
        raise _unreadable(directory, error) from error
    for folder in (start, *start.parents):
        for name in ("seawall.toml", "pyproject.toml"):
            table = _table(folder / name)
            if table is not None:
                return _flatten(table, _shown(folder / name))
    return {}


def _table(path: Path) -> dict[str, Any] | None:
    """What one project file says about Seawall; ``None`` when it says nothing, or is none."""
    try:
        if not path.is_file():
            return None
        table: Any = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise _unreadable(path, error) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"not valid TOML: {error}", source=_shown(path), hint="mend the file"
        ) from error
    way = ("tool", "seawall") if path.name == "pyproject.toml" else ()
    for depth, name in enumerate(way, 1):
        table = table.get(name)
        if table is None:
            return None
        if not isinstance(table, dict):
            key = ".".join(way[:depth])
            raise SettingsError(
                f"{_clip(table)} is no table",
                key=key,
                source=_shown(path),
                hint=f"write a table: [{'.'.join(way)}]",
            )
    return cast(dict[str, Any], table)


def _unreadable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"cannot be read: {error.strerror or error}",
        key=str(path),
        hint="see what it is, and who may read it",
    )


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _env_file(path: Path | str | None) -> dict[str, tuple[Any, str]]:
    if path is None:
        return {}
    try:
        if not Path(path).is_file():
            raise SettingsError("there is no such env file", key=str(path), hint="check --env-file")
        values = {key: value for key, value in dotenv_values(path).items() if value is not None}
    except OSError as error:
        raise _unreadable(Path(path), error) from error
    except UnicodeDecodeError as error:
        raise SettingsError("it is not UTF-8", key=str(path), hint="save it as UTF-8") from error
    if any("\0" in text for item in values.items() for text in item):
        raise SettingsError(
            "it holds a zero byte, which no environment can", key=str(path), hint="mend the file"
        )
    read = _environment(values)
    return {key: (value, f"{path}: {name}") for key, (value, name) in read.items()}


def _environment(environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {}
    for name, key in BARE.items():
        if environ.get(name):
            found[key] = (environ[name], name)
    for name, text in sorted(environ.items()):
        if name.startswith(PREFIX):
            key = name.removeprefix(PREFIX).lower().replace("__", ".")
            found[key] = (_read(text), name)
    return found


def _read(text: str) -> Any:
    """Environment text; JSON objects are read, all else is left to the field's own type."""
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _unknown(key: str, source: str) -> SettingsError | None:
    section, dot, name = key.partition(".")
    if section not in Settings.model_fields:
        return SettingsError(
            "no such setting", key=key, source=source, hint=_meant(section, Settings.model_fields)
        )
    if not dot:
        fields = SECTIONS[section].model_fields if section in SECTIONS else {"enabled": None}
        if "enabled" not in fields:
            hint = f"it is a table of: {', '.join(fields)}"
            return SettingsError("cannot be switched on or off", key=key, source=source, hint=hint)
        return None
    known = SECTIONS[section].model_fields if section in SECTIONS else {}
    if name in known:
        return None
    hint = _meant(name, known) if known else f"set {section} itself"
    return SettingsError("no such setting", key=key, source=source, hint=hint)


def _meant(word: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def _explain(fault: ErrorDetails, origins: Mapping[str, str]) -> SettingsError:
    loc = [str(part) for part in fault["loc"]]
    key = ".".join(loc[:2])
    source = origins.get(key) or next(
        (said for name, said in origins.items() if name.startswith(f"{loc[0]}.")), "default"
    )
    reason = fault.get("ctx", {}).get("error")
    if isinstance(reason, Hinted):
        return SettingsError(str(reason), key=key, source=source, hint=reason.hint)
    message = fault["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return SettingsError(f"{_clip(fault['input'])}: {message}", key=key, source=source)


def _clip(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
