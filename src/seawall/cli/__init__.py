"""The ``seawall`` command: one file a command, listed here."""

import errno
import sys
from contextlib import suppress

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
    # Where stderr takes nothing either, the exit code alone has to tell.
    with suppress(OSError):
        try:
            try:
                app()
            except SystemExit:
                # While a fault can still be told: at the interpreter's end it is a traceback.
                output.finish()
                raise
        except SeawallError as error:
            output.fail(error)
        except (OSError, UnicodeError) as error:
            output.abandon()
            # Whoever read the results has read enough, as `head` does.
            if not (isinstance(error, OSError) and error.errno == errno.EPIPE):
                output.fail(output.unwritten(error))
    sys.exit(output.USAGE)
