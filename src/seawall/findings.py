"""What ``seawall check`` and ``seawall probe`` have to say: one type for both.

A :class:`Rule` is the documented, stable part (id, level, why, fix); calling it
with what was seen makes a :class:`Finding`. The reference page of rules is
generated from the rules themselves.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    """Broken or unsafe as it stands."""
    WARNING = "warning"
    """Works, but a known way to get hurt."""
    NOTE = "note"
    """Worth knowing; never decides the exit code."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, where it comes from, and how to mend it."""

    id: str
    level: Level
    message: str
    hint: str
    source: str = ""

    def as_dict(self) -> dict[str, str]:
        return {key: str(value) for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Rule:
    """The documented half of a finding.

    ``id`` is ``<policy>.<what-is-wrong>`` and never changes once released;
    ``why`` is one or two sentences for the reference page; ``fix`` the default hint.
    """

    id: str
    level: Level
    why: str
    fix: str

    def __call__(self, message: str, *, source: str = "", hint: str = "") -> Finding:
        return Finding(self.id, self.level, message, hint or self.fix, source)
