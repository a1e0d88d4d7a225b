"""The project that a command is run in: its app, when there is one, and its settings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from seawall.cli.flags import Given
from seawall.errors import AppError
from seawall.front import settings_of
from seawall.locate import Located, discover, locate


@dataclass(frozen=True, slots=True)
class Project:
    """What the settings are once the app's own code had its say."""

    settings: Any
    located: Located | None = None
    told: Mapping[str, str] = field(default_factory=dict)
    """Sources that the settings know by another name."""
    trouble: str = ""
    """Why the app could not be asked."""

    @property
    def whose(self) -> str:
        """Whose settings these are, to say in a note."""
        if self.located is None:
            return "the project (no app was found)"
        return f"{self.located.name} ({self.located.source})"

    def origin(self, key: str) -> str:
        """Where the value of a dotted key came from."""
        source = self.settings.origin(key)
        return self.told.get(source, source)

    def items(self) -> Iterator[tuple[str, Any, str]]:
        """Every setting: dotted key, value, source."""
        for key, value, _ in self.settings.items():
            yield key, value, self.origin(key)


def project(given: Given, *, factory: bool = False, needed: bool = True) -> Project:
    """Reads the settings and imports the app, if there is one; opens no task store itself.

    Raises :class:`seawall.errors.AppError` for an app that is named or found but broken;
    with ``needed`` false, that is noted as the project's ``trouble``.
    """
    said = given.load()
    told = given.export()
    try:
        located = (
            locate(said.app, said.origin("app"), factory=factory)
            if said.app
            else discover(factory=factory)
        )
    except AppError as error:
        if needed:
            raise
        return Project(said, told=told, trouble=str(error))
    if located is None:
        return Project(said, told=told)
    tree = settings_of(located.app, flags=given.flags, env_file=given.env_file)
    return Project(tree, located, told)
