"""The edge: every policy of an app, compiled into one pass."""

from seawall.edge.edge import Edge

__all__ = ["Edge"]
