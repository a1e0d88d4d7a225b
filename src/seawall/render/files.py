"""Rendered files on disk: written whole or not at all, and never over someone's changes."""

import difflib
import os
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp

from seawall.errors import RenderError


def difference(path: Path, text: str) -> str:
    """A unified diff from the file to what would be rendered; ``""`` when they are the same.

    Raises :class:`RenderError` when the file cannot be read.
    """
    if not _stands(path):
        raise RenderError(f"{path}: there is no such file", hint="write it: --output")
    try:
        old = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RenderError(f"{path} cannot be read: {_reason(error)}") from error
    return "".join(
        difflib.unified_diff(
            old.splitlines(keepends=True),
            text.splitlines(keepends=True),
            str(path),
            "rendered from the settings",
        )
    )


def write(path: Path, text: str, *, force: bool = False) -> bool:
    """Writes the file; ``False`` when it stands like that already.

    Raises :class:`RenderError` when another text stands there (unless ``force``), or
    when the file cannot be written.
    """
    if _stands(path):
        if not difference(path, text):
            return False
        if not force:
            raise RenderError(
                f"{path} differs from what would be rendered, so it was left as it is",
                hint=f"see how: --check {path}; overwrite it: --force",
            )
    try:
        _replace(path, text)
    except OSError as error:
        raise RenderError(f"{path} cannot be written: {_reason(error)}") from error
    return True


def _stands(path: Path) -> bool:
    """Whether a file stands there; what would block or swallow the text is refused."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise RenderError(f"{path} cannot be read: {_reason(error)}") from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise RenderError(
            f"{path} is not a regular file", hint="leave --output out to write to stdout"
        )
    return True


def _replace(path: Path, text: str) -> None:
    """Puts the text there in one step, so that nginx never reads half a file."""
    path = path.resolve()
    descriptor, name = mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner may read.
        Path(name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8"
