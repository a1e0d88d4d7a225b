"""What a target is: one deployment file, written from the settings."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from textwrap import fill

from jinja2 import Environment, PackageLoader, StrictUndefined

from seawall.errors import RenderError
from seawall.policies.policy import Draft
from seawall.section import Section
from seawall.settings import Tree

_WIDTH = 96


@dataclass(frozen=True, slots=True)
class Target:
    """One deployment file."""

    name: str
    """The word on the command line; also the settings section it reads, and its flags."""
    help: str
    """One line for the command line."""
    section: type[Section]
    """The settings of its own, beyond the policies."""
    render: Callable[[Tree], str]
    """The whole file as text. Raises :class:`seawall.errors.RenderError`."""


def drafted(target: str, settings: Tree) -> Draft:
    """What the policies that are on say to a target.

    Raises :class:`RenderError` when a policy's line holds a control character, which
    could end a line of the file early.
    """
    draft = Draft(target)
    for policy in settings.policies.values():
        if policy.enabled:
            policy.render(draft)
    for said in draft.sections.values():
        for line in (line for _, lines in said for line in lines):
            if not line.isprintable():
                raise RenderError(
                    f"{line!r} cannot stand in a configuration file",
                    hint="take the control character out of the setting it comes from",
                )
    return draft


@cache
def templates() -> Environment:
    """The packaged templates; an undefined name in one is an error, never empty text.

    Filters: ``comment(indent)`` wraps text as ``#`` lines, ``lines(indent)`` writes a
    section of a draft, each of its parts under its own comment.
    """
    environment = Environment(
        loader=PackageLoader("seawall.render"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 -- configuration files, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["comment"] = comment
    environment.filters["lines"] = lines
    return environment


def comment(text: str, indent: int = 0) -> str:
    """Text as comment lines of at most 96 columns."""
    margin = " " * indent + "# "
    return fill(text, _WIDTH, initial_indent=margin, subsequent_indent=margin)


def lines(said: Iterable[tuple[str, tuple[str, ...]]], indent: int = 0) -> str:
    """A section of a draft, indented; a blank line parts what has a comment of its own."""
    parts = []
    for why, body in said:
        text = "\n".join(" " * indent + line if line else "" for line in body)
        parts.append(f"{comment(why, indent)}\n{text}" if why else text)
    return "\n\n".join(parts)
