"""Redirects that repeat the request's target exactly."""

import re

from seawall.policies.exchange import Answer, Scope


def redirect(scope: Scope, authority: str, scheme: str = "", *, permanent: bool = True) -> Answer:
    """The same path and query on another host or scheme, spelled exactly as they came.

    GET and HEAD get 301, which every client knows; other methods 308, which keeps method
    and body (RFC 9110, sections 15.4.2 and 15.4.9). 307, if it is not permanent, keeps them too.
    """
    location = f"{scheme or scope.get('scheme', 'http')}://{authority}".encode("latin-1")
    location += target(scope)
    lasting = 301 if scope["method"] in ("GET", "HEAD") else 308
    status = lasting if permanent else 307
    return Answer(status, ((b"location", location),))


_unsafe = re.compile(rb"[^!-~]|[<>\"\\^`{|}]")


def target(scope: Scope) -> bytes:
    """Path and query as the client spelled them; what cannot stand in a URI is quoted."""
    path: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    if not scope.get("raw_path"):
        path = path.replace(b"%", b"%25").replace(b"?", b"%3F").replace(b"#", b"%23")
    if not path.startswith(b"/"):
        # '*', or the absolute form, whose authority must not be repeated.
        path = b"/" + re.sub(rb"^[A-Za-z][A-Za-z0-9+.-]*://[^/]*/?|^\*$", b"", path)
    query = scope.get("query_string", b"")
    whole = path + b"?" + query if query else path
    return _unsafe.sub(lambda match: b"%%%02X" % match[0][0], whole)
