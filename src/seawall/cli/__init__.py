"""The ``seawall`` command: one file a command, listed here."""

import sys

import typer

from seawall import __version__
from seawall.cli import check, config, output, probe, render, serve
from seawall.errors import SeawallError

app = typer.Typer(
    name="seawall",
    help="Takes a FastAPI (or any ASGI) app to production.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("serve")(serve.serve)
app.command("check")(check.check)
app.command("probe")(probe.probe)
app.add_typer(render.app, name="render")
app.command("config")(config.config)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        output.say(f"seawall {__version__}")
        raise typer.Exit


def main() -> None:
    """Runs the command line; exits 0 clean, 1 with findings, 2 on wrong use or failure."""
    try:
        app()
    except SeawallError as error:
        output.fail(error)
        sys.exit(output.USAGE)
