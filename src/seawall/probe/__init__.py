"""Proves from outside that a live site keeps what the settings promise."""

from seawall.probe.probe import CRASHED, RULES, Progress, run
from seawall.probe.site import Door, Site

__all__ = ["CRASHED", "RULES", "Door", "Progress", "Site", "run"]
