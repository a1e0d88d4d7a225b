"""Which route answered, as its template: ``/items/{item_id}``.

Read from what the framework left in the scope, so it is known only once the app has begun
to answer. Templates are the app's own, never a stranger's, and so few.
"""

from seawall.policies.exchange import Scope


def template(scope: Scope) -> str:
    """The template of the route that was found; ``""`` when there was none.

    Starlette and FastAPI leave it in ``scope["route"]``. For routes of an included router
    FastAPI keeps the whole path beside it; for mounted apps it stands in ``root_path``.
    """
    route = scope.get("route")
    if route is None:
        return ""
    if "fastapi" in scope:
        context = scope["fastapi"].get("effective_route_context")
        if getattr(context, "original_route", None) is route:
            route = context
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    if not isinstance(path, str):
        return ""
    return path if "app_root_path" not in scope else _mount(scope, path) + path


def _mount(scope: Scope, path: str) -> str:
    """Where the app that has the route is mounted, its own parameters by name again."""
    prefix: str = scope["root_path"][len(scope["app_root_path"]) :]
    names = {
        str(value): f"{{{name}}}"
        for name, value in (scope.get("path_params") or {}).items()
        if f"{{{name}}}" not in path
    }
    if any("/" in value for value in names):
        # One that spans segments cannot be told from the mount's own path.
        return ""
    return "/".join(names.get(segment, segment) for segment in prefix.split("/"))
