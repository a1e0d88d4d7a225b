"""Everything that can be rendered: a new target is one file, and one line here."""

from seawall.render.targets import nginx
from seawall.render.targets.target import Target

TARGETS: dict[str, Target] = {target.name: target for target in (nginx.TARGET,)}

__all__ = ["TARGETS", "Target"]
