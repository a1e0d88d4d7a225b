"""Seawall takes a FastAPI (or any ASGI) app to production. Say it once."""

from seawall.app import Seawall
from seawall.edge import Edge
from seawall.errors import SeawallError
from seawall.policies.request_id import request_id

__version__ = "0.1.0"

__all__ = ["Edge", "Seawall", "SeawallError", "__version__", "request_id"]
