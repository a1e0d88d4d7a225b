"""``seawall render``: deployment files from the settings; one command for each target."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from seawall.cli import output
from seawall.cli.flags import Given, settings
from seawall.cli.project import project
from seawall.errors import RenderError
from seawall.render import files
from seawall.render.targets import TARGETS, Target

app = typer.Typer(
    help="Writes deployment files that agree with the settings.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="PATH", help="Write the file instead of stdout."),
]
Check = Annotated[
    Path | None,
    typer.Option("--check", metavar="PATH", help="Compare only; exit 1 with a diff when stale."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite a file that differs.")]
Of = Annotated[str, typer.Option("--app", help="Whose settings; looked for when left out.")]


def _command(target: Target) -> Callable[..., NoReturn]:
    def render(
        *,
        output_: Output = None,
        check: Check = None,
        force: Force = False,
        app: Of = "",
        given: Given,
    ) -> int:
        if check is not None and (output_ is not None or force):
            raise RenderError("--check writes nothing", hint="leave out --output and --force")
        at = project(given.with_app(app), needed=False)
        if at.trouble:
            output.note(f"note: settings made in the app's code are not heard: {at.trouble}")
        text = target.render(at.settings)
        if check is not None:
            return _check(check, text)
        if output_ is not None:
            written = files.write(output_, text, force=force)
            output.note(f"{output_}: {'written' if written else 'unchanged'}")
            return output.CLEAN
        output.write(text)
        return output.CLEAN

    render.__doc__ = target.help
    return settings(target.name)(render)


def _check(path: Path, text: str) -> int:
    difference = files.difference(path, text)
    if difference:
        output.write(difference)
        output.note(f"{path}: stale")
        return output.FINDINGS
    output.note(f"{path}: fresh")
    return output.CLEAN


for _target in TARGETS.values():
    app.command(_target.name)(_command(_target))


@app.callback()
def _targets() -> None:
    """Keeps ``render`` a group of commands while there is but one target."""
