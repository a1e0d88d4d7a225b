"""Where jobs may live: one table, from URL scheme to engine.

A new engine is one file here, one line in ``ENGINES``, and the contract suite.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from seawall.errors import Hinted
from seawall.tasks.engine import Engine
from seawall.tasks.engines.sqlite import SqliteEngine

ENGINES: Mapping[str, Callable[[str], Engine]] = MappingProxyType({"sqlite": SqliteEngine})


def create(url: str) -> Engine:
    """The engine for a store URL, not opened yet.

    Raises :class:`seawall.errors.Hinted` for a URL that no engine understands.
    """
    scheme, colon, _ = url.partition(":")
    if not colon or scheme not in ENGINES:
        # Not the whole URL: it may hold a password.
        raise Hinted(
            f"no task store is called {scheme[:40]!r}" if colon else "not a URL",
            f"known: {', '.join(f'{known}:///PATH' for known in ENGINES)}",
        )
    return ENGINES[scheme](url)
