"""The terminal: results on stdout, notes on stderr, one fact a line, no decoration.

This module alone knows about colour, width and streams.
"""

import json
import os
import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TextIO

from seawall.errors import SeawallError, SettingsErrors
from seawall.findings import Finding, Level

CLEAN, FINDINGS, USAGE = 0, 1, 2
"""Exit codes: nothing found; something found; wrong use, or Seawall could not go on."""

_COLOURS = {Level.ERROR: "31", Level.WARNING: "33", Level.NOTE: "36"}


class Format(StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSON = "json"


def say(line: str = "") -> None:
    """A result, on stdout."""
    print(line)  # noqa: T201


def write(text: str) -> None:
    """A result as it stands, on stdout."""
    print(text, end="")  # noqa: T201


def finish() -> None:
    """Hands stdout what it has not got yet. Raises OSError when it does not take it."""
    if sys.stdout is not None:
        sys.stdout.flush()


def abandon() -> None:
    """Gives stdout up, so that the interpreter does not try again when it ends."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def unwritten(error: OSError | UnicodeError) -> SeawallError:
    """Why something could not be written or read, for people."""
    if isinstance(error, UnicodeEncodeError):
        text = ascii(error.object[error.start : error.end])
        hint = "use a UTF-8 locale, or PYTHONIOENCODING=utf-8"
        return SeawallError(f"stdout is {error.encoding}, which has no {text}", hint=hint)
    if isinstance(error, OSError):
        return SeawallError(f"{error.filename or 'stdout'}: {error.strerror or error}")
    return SeawallError(str(error))


def note(line: str) -> None:
    """Something to know, on stderr."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def dump(value: Any) -> None:
    """A result as indented JSON, on stdout."""
    say(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def fail(error: SeawallError) -> None:
    """What went wrong, one line each, on stderr."""
    errors = error.errors if isinstance(error, SettingsErrors) else (error,)
    for one in errors:
        note(f"{paint('error', '31', sys.stderr)}: {one}")


def findings(found: Iterable[Finding], form: Format) -> int:
    """Prints findings, the gravest first, and returns the exit code they deserve."""
    order = list(Level)
    found = sorted(found, key=lambda one: (order.index(one.level), one.id))
    if form is Format.JSON:
        dump([one.as_dict() for one in found])
    else:
        for one in found:
            level = paint(one.level.value, _COLOURS[one.level], sys.stdout)
            where = f" [from {one.source}]" if one.source else ""
            say(f"{level}: {one.id}: {one.message}{where}")
            say(f"  fix: {one.hint}")
    return FINDINGS if any(one.level is not Level.NOTE for one in found) else CLEAN


def paint(text: str, colour: str, stream: TextIO) -> str:
    """Text in an ANSI colour, where the stream and NO_COLOR / FORCE_COLOR allow it."""
    forced = bool(os.environ.get("FORCE_COLOR"))
    wanted = forced or (stream.isatty() and not os.environ.get("NO_COLOR"))
    return f"\x1b[{colour}m{text}\x1b[0m" if wanted else text
