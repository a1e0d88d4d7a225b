"""Seawall takes a FastAPI (or any ASGI) app to production. Say it once."""

from seawall.app import Seawall
from seawall.edge import Edge
from seawall.errors import SeawallError
from seawall.policies.request_id import request_id, trace_id
from seawall.policies.security_headers import csp_nonce

__version__ = "0.1.0"

__all__ = ["Edge", "Seawall", "SeawallError", "__version__", "csp_nonce", "request_id", "trace_id"]
