"""The servers, by the name that ``serve.server`` gives them."""

from collections.abc import Mapping
from types import MappingProxyType

from seawall.serve.server import Server
from seawall.serve.servers.uvicorn import Uvicorn

SERVERS: Mapping[str, Server] = MappingProxyType({"uvicorn": Uvicorn()})

__all__ = ["SERVERS"]
