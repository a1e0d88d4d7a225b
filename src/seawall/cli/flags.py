"""Command-line flags, derived from the settings tree: nothing about a setting is said twice.

A command that is decorated with :func:`settings` takes a flag for each field of a section
(``keep_alive`` -> ``--keep-alive``), ``--set section.key=value`` for every other setting and
``--env-file``, and receives them as one :class:`Given`. A flag that is not given says
nothing, so that the environment and the project file are heard.
"""

import inspect
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import NoneType, UnionType
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin

import typer
from dotenv import dotenv_values
from pydantic.fields import FieldInfo

from seawall.cli import output
from seawall.cli.values import shown
from seawall.errors import SettingsError
from seawall.settings import PREFIX, SECTIONS, load

App = Annotated[
    str,
    typer.Argument(
        metavar="APP",
        help="`module:attribute`, a module or a file; looked for when left out.",
        show_default=False,
    ),
]
Factory = Annotated[bool, typer.Option("--factory", help="APP is a function that returns the app.")]
Form = Annotated[output.Format, typer.Option("--format", help="For people, or for programs.")]

_SET, _ENV_FILE = "--set", "--env-file"


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line said about settings."""

    flags: dict[str, tuple[Any, str]]
    """Dotted key -> value, and the flag it came by."""
    env_file: str | None = None

    def with_app(self, app: str) -> "Given":
        """The same, and the APP argument."""
        named = {"app": (app, "argument")} if app else {}
        return Given({**self.flags, **named}, self.env_file)

    def load(self) -> Any:
        """The settings, with every source heard; raises ``SettingsError``."""
        return load(flags=self.flags, env_file=self.env_file)

    def export(self) -> dict[str, str]:
        """Says the same in the environment; returns each name's true source.

        That is where a ``Seawall(app)`` in the app's own code, and worker processes, hear
        of it. Call it after :meth:`load`, which tells faults by their true source.
        """
        told: dict[str, str] = {}
        for name, text in dotenv_values(self.env_file).items() if self.env_file else ():
            if text is not None and name not in os.environ:
                os.environ[name] = text
                told[name] = f"{self.env_file}: {name}"
        for key, (value, source) in self.flags.items():
            # `cors` alone means `cors.enabled`, and must win over that spelling too.
            dotted = f"{key}.enabled" if key in SECTIONS else key
            name = PREFIX + dotted.upper().replace(".", "__")
            os.environ[name] = value if isinstance(value, str) else json.dumps(value)
            told[name] = source
        return told


def settings(section: str = "") -> Callable[[Callable[..., int]], Callable[..., NoReturn]]:
    """Gives a command the flags of a section (or none), ``--set`` and ``--env-file``.

    The command has a keyword parameter ``given: Given`` and returns its exit code.
    """
    fields = SECTIONS[section].model_fields if section else {}

    def decorate(command: Callable[..., int]) -> Callable[..., NoReturn]:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.annotation is not Given]
        derived = [_parameter(name, field) for name, field in fields.items()]
        parameters = [*own, *derived, *_general()]

        @wraps(command)
        def run(**values: Any) -> NoReturn:
            said = {name: values.pop(name) for name in fields}
            flags = {
                f"{section}.{name}": (value, spelled(name))
                for name, value in said.items()
                if value is not None
            }
            for text in values.pop("set_"):
                key, value = _assignment(text)
                flags[key] = (value, _SET)
            given = Given(flags, values.pop("env_file"))
            raise typer.Exit(command(**values, given=given))

        del run.__wrapped__  # whose signature is not ours
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def spelled(field: str) -> str:
    """A field as a flag: ``keep_alive`` -> ``--keep-alive``."""
    return f"--{field.replace('_', '-')}"


def kind(field: FieldInfo) -> type:
    """The plain type of a field, what may be unset or constrained included."""
    annotation: Any = field.annotation
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(one for one in get_args(annotation) if one is not NoneType)
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation if isinstance(annotation, type) else str


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    flag, is_bool = spelled(name), kind(field) is bool
    default = field.get_default(call_default_factory=True)
    text = default if isinstance(default, str) else shown(default)
    usual = f" [default: {text}]" if default not in ("", False, None, ()) else ""
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if is_bool else flag,
        help=" ".join((field.description or "").split()) + usual,
        metavar=None if is_bool else _METAVARS.get(kind(field), "TEXT"),
        show_default=False,
    )
    # Text stays text: the settings themselves judge it, and name the flag when it is wrong.
    annotation: Any = bool | None if is_bool else str | None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation, option]
    )


_METAVARS = {int: "INTEGER", float: "SECONDS"}


def _general() -> list[inspect.Parameter]:
    every = typer.Option(
        _SET, metavar="SECTION.KEY=VALUE", help="Any other setting; may be repeated."
    )
    file = typer.Option(_ENV_FILE, metavar="PATH", help="Read the environment from a file first.")
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter("set_", keyword, default=[], annotation=Annotated[list[str], every]),
        inspect.Parameter(
            "env_file", keyword, default=None, annotation=Annotated[str | None, file]
        ),
    ]


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(
            f"{text!r} has no '='", source=_SET, hint=f"write {_SET} cors.max_age=600"
        )
    if value.lstrip().startswith("{"):
        try:
            return key.strip(), json.loads(value)
        except ValueError as error:
            raise SettingsError(
                f"not JSON: {error}", key=key.strip(), source=_SET, hint="quote it for the shell"
            ) from error
    return key.strip(), value
