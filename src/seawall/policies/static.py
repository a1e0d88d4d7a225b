"""Files that the server in front can hand out without asking the app.

A mount is a URL prefix and a directory: ``static = {mounts = {"/static" = "static"}}``.
The app keeps its own mount for development; the rendered server serves the same files.
"""

from collections.abc import Iterator
from pathlib import Path as File
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from seawall.errors import Hinted, RenderError
from seawall.findings import Finding, Level, Rule
from seawall.policies.policy import Audit, Draft, Policy
from seawall.policies.values import Path

_UNQUOTABLE = "\"'{};$\n\\"
"""What no quoting in nginx makes harmless: it even expands variables inside quotes."""


def _mounts(value: dict[Path, str]) -> dict[Path, str]:
    for prefix, directory in value.items():
        if prefix == "/":
            raise Hinted("a mount at '/' would hide the app", "mount at a prefix like '/static'")
        if any(c in directory for c in _UNQUOTABLE):
            raise Hinted(f"{directory!r} cannot stand in a configuration file", "rename it")
    return {prefix.rstrip("/"): directory for prefix, directory in value.items()}


class Static(Policy):
    """Names directories of static files."""

    name: ClassVar[str] = "static"
    MISSING: ClassVar[Rule] = Rule(
        "static.missing",
        Level.ERROR,
        "The server in front answers 404 for every file of the mount.",
        "create the directory, or correct static.mounts",
    )

    mounts: Annotated[dict[Path, str], AfterValidator(_mounts)] = Field(default_factory=dict)
    """URL prefix to directory, relative to the working directory."""
    max_age: int = Field(default=3600, ge=0)
    """Seconds that browsers may keep a file before they ask again."""

    def render(self, draft: Draft) -> None:
        if draft.target != "nginx":
            return
        for prefix, directory in self.mounts.items():
            where = str(File(directory).resolve())
            if any(c in where for c in _UNQUOTABLE):
                raise RenderError(
                    f"{where!r} cannot stand in a configuration file", hint="rename the directory"
                )
            draft.say(
                "locations",
                f"location ^~ {prefix}/ {{",
                f'    alias "{where}/";',
                f"    expires {self.max_age}s;",
                "",
                "    location ~ /\\. {",
                "        return 404;",
                "    }",
                "}",
                why="From disk, without asking the app; hidden files (.git, .env) are not there.",
            )

    def audit(self, audit: Audit) -> Iterator[Finding]:
        for prefix, directory in self.mounts.items():
            if not File(directory).is_dir():
                yield self.MISSING(
                    f"{prefix} is mounted on {directory}, which is no directory",
                    source=audit.origin("static.mounts"),
                )
