"""``seawall config``: every setting, its value, and who said so."""

import difflib
from typing import Annotated, Any

import typer

from seawall.cli import output
from seawall.cli.flags import Factory, Form, Given, settings
from seawall.cli.project import project
from seawall.cli.values import masked, shown
from seawall.errors import SettingsError

_WIDEST = 40
"""Values are padded up to here; a long one pushes its own source to the right, no other."""


@settings()
def config(
    key: Annotated[
        str,
        typer.Argument(metavar="KEY", help="A setting, or a section of them.", show_default=False),
    ] = "",
    *,
    app: Annotated[
        str, typer.Option("--app", help="Whose settings; looked for when left out.")
    ] = "",
    factory: Factory = False,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only what is not the default.")
    ] = False,
    form: Form = output.Format.TEXT,
    given: Given,
) -> int:
    """Prints every setting and where it came from.

    The app is imported, since its code may set things too; without one, the rest is shown.
    Passwords and secrets are not printed.
    """
    at = project(given.with_app(app), factory=factory, needed=False)
    if at.trouble:
        output.note(f"note: settings made in the app's code are not shown: {at.trouble}")
    else:
        output.note(f"note: settings of {at.whose}")
    rows = [
        (name, masked(name, value), source)
        for name, value, source in at.items()
        if not key or name == key or name.startswith(f"{key}.")
    ]
    if not rows:
        raise _unknown(key, at.settings)
    if changed:
        rows = [row for row in rows if row[2] != "default"]
    if form is output.Format.JSON:
        output.dump({name: {"value": value, "source": source} for name, value, source in rows})
    else:
        _print(rows)
    return output.CLEAN


def _print(rows: list[tuple[str, Any, str]]) -> None:
    texts = [shown(value) for _, value, _ in rows]
    wide = max((len(name) for name, _, _ in rows), default=0)
    value_wide = max((len(text) for text in texts if len(text) <= _WIDEST), default=0)
    for (name, _, source), text in zip(rows, texts, strict=True):
        output.say(f"{name:<{wide}} = {text:<{value_wide}}  # {source}")


def _unknown(key: str, tree: Any) -> SettingsError:
    names = [name for name, _, _ in tree.items()]
    known = [*dict.fromkeys(name.partition(".")[0] for name in names), *names]
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "`seawall config` lists them all"
    return SettingsError("no such setting", key=key, source="argument", hint=hint)
