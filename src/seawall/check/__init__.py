"""``seawall check``: what is wrong before anyone is served."""

from seawall.check.check import OWN, rules, run

__all__ = ["OWN", "rules", "run"]
