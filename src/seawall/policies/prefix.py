"""Settings that differ by path: a table of prefixes, of which the longest wins.

A prefix covers whole segments: ``/login`` is ``/login`` and ``/login/again``, never
``/logins``. Looking up takes as many steps as the deepest prefix has segments, however
many prefixes there are and however long a stranger's path is.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar

from pydantic import AfterValidator

from seawall.errors import Hinted
from seawall.policies.exchange import Scope
from seawall.policies.paths import local
from seawall.policies.values import Path

_T = TypeVar("_T")


def _prefix(value: str) -> str:
    if value == "/":
        raise Hinted("the prefix '/' covers every path", "set it for all paths instead")
    return value.rstrip("/")


Prefix = Annotated[Path, AfterValidator(_prefix)]
"""A path that covers itself and all below it; ``/api/`` is the same as ``/api``."""


def longest(table: Mapping[str, _T], default: _T) -> Callable[[str], _T]:
    """A function from a path to the value of the longest prefix that covers it."""
    if not table:
        return lambda _: default
    found = dict(table)
    parts = max(prefix.count("/") for prefix in found) + 1
    missing = object()

    def look_up(path: str) -> _T:
        head = "/".join(path.split("/", parts)[:parts])
        while head:
            value = found.get(head, missing)
            if value is not missing:
                return value  # type: ignore[return-value]
            head = head.rpartition("/")[0]
        return default

    return look_up


def by_path(table: Mapping[str, _T], default: _T) -> Callable[[Scope], _T]:
    """The same for a request, by its path as the app knows it."""
    if not table:
        return lambda _: default
    look_up = longest(table, default)
    return lambda scope: look_up(local(scope))
