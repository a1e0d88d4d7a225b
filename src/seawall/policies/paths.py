"""Paths as an app knows them."""

from seawall.policies.exchange import Scope


def local(scope: Scope) -> str:
    """The path below ``root_path``, which servers leave in ``path`` (ASGI HTTP)."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path
