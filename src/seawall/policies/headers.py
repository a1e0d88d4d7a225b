"""The security headers of a response: each a value, or ``false`` to leave it out.

The defaults are those of OWASP's Secure Headers Project that break no page; where OWASP is
stricter, the looser word is the default: ``same-origin-allow-popups`` keeps sign-in windows
working, ``same-site`` the images of a sub-domain, ``strict-origin-when-cross-origin`` those
who check a form's Referer.
"""

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from seawall.errors import Hinted
from seawall.policies.csp import MARK, Directives, Features, csp, meant, permissions, switch
from seawall.policies.exchange import Header
from seawall.section import Section

_SECURE_ONLY = (
    "Cross-Origin-Opener-Policy",
    "Cross-Origin-Embedder-Policy",
    "Origin-Agent-Cluster",
)
"""Browsers heed these in secure contexts alone, and complain of them elsewhere (HTML standard)."""


def _one_of(kind: Any) -> BeforeValidator:
    """A word of a ``Literal``, in any case; ``false`` for none."""
    words = [word for word in get_args(kind) if isinstance(word, str)]

    def check(value: Any) -> Any:
        if switch(value) is False:
            return False
        for word in words:
            if str(value).strip().lower() == word.lower():
                return word
        raise Hinted(f"{value!r} is not a value of this header", meant(str(value), words))

    return BeforeValidator(check)


_Referrer = Literal[
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
    False,
]
_Options = Literal["nosniff", False]
_Frames = Literal["DENY", "SAMEORIGIN", False]
_Opener = Literal[
    "same-origin", "same-origin-allow-popups", "noopener-allow-popups", "unsafe-none", False
]
_Resource = Literal["same-origin", "same-site", "cross-origin", False]
_Embedder = Literal["require-corp", "credentialless", "unsafe-none", False]
_Domains = Literal["none", "master-only", "by-content-type", "by-ftp-filename", "all", False]
_Prefetch = Literal["on", "off", False]


def _endpoints(value: dict[str, str]) -> dict[str, str]:
    for name, url in value.items():
        if not re.fullmatch(r"[a-z*][a-z0-9_.*-]*", name):
            raise Hinted(f"{name!r} is not an endpoint's name", "lower-case letters, like 'csp'")
        if not re.fullmatch(r"(https://|/)[!#-;=?-\[\]-~]*", url) or "$" in url:
            raise Hinted(f"{url!r} is not where reports can go", "an https URL, or a path")
    return value


class Headers(Section):
    """The headers of a response."""

    content_security_policy: Directives = False
    """What a page may load, as a table of directive to sources; `true` is a sound start."""
    report_only: bool = False
    """Send the CSP as Content-Security-Policy-Report-Only: tell, and forbid nothing."""
    reporting_endpoints: Annotated[dict[str, str], AfterValidator(_endpoints)] = Field(
        default_factory=dict
    )
    """Reporting-Endpoints: names that `report-to` may use, and their URLs."""
    permissions_policy: Features = False
    """Browser features by who may use them; `true` denies camera, geolocation and the like."""
    referrer_policy: Annotated[_Referrer, _one_of(_Referrer)] = "strict-origin-when-cross-origin"
    """What other sites learn of where a visitor came from."""
    x_content_type_options: Annotated[_Options, _one_of(_Options)] = "nosniff"
    """Whether a browser must keep to the declared Content-Type."""
    x_frame_options: Annotated[_Frames, _one_of(_Frames)] = "SAMEORIGIN"
    """Who may put a page into a frame."""
    cross_origin_opener_policy: Annotated[_Opener, _one_of(_Opener)] = "same-origin-allow-popups"
    """Whether other sites' windows keep a handle on this one; sent over https alone."""
    cross_origin_resource_policy: Annotated[_Resource, _one_of(_Resource)] = "same-site"
    """Whose pages may embed what is served here, where CORS does not decide."""
    cross_origin_embedder_policy: Annotated[_Embedder, _one_of(_Embedder)] = False
    """Whether embedded resources must agree to it; sent over https alone."""
    x_permitted_cross_domain_policies: Annotated[_Domains, _one_of(_Domains)] = "none"
    """Whether Adobe's clients may read across origins."""
    x_dns_prefetch_control: Annotated[_Prefetch, _one_of(_Prefetch)] = False
    """Whether names of links are resolved before a click."""
    origin_agent_cluster: bool = True
    """Ask for a process of its own (`?1`); sent over https alone."""

    def values(self, *, secure: bool = True) -> dict[str, str]:
        """Header name to value, for https or for plain http."""
        table = self.content_security_policy
        name = "Content-Security-Policy" + ("-Report-Only" if self.report_only else "")
        said: dict[str, str | Literal[False]] = {
            name: csp(table, secure=secure) if table else False,
            "Reporting-Endpoints": ", ".join(
                f'{key}="{url}"' for key, url in self.reporting_endpoints.items()
            ),
            "Permissions-Policy": permissions(self.permissions_policy or {}),
            "Referrer-Policy": self.referrer_policy,
            "X-Content-Type-Options": self.x_content_type_options,
            "X-Frame-Options": self.x_frame_options,
            "Cross-Origin-Opener-Policy": self.cross_origin_opener_policy,
            "Cross-Origin-Resource-Policy": self.cross_origin_resource_policy,
            "Cross-Origin-Embedder-Policy": self.cross_origin_embedder_policy,
            "X-Permitted-Cross-Domain-Policies": self.x_permitted_cross_domain_policies,
            "X-DNS-Prefetch-Control": self.x_dns_prefetch_control,
            "Origin-Agent-Cluster": "?1" if self.origin_agent_cluster else False,
        }
        return {
            key: value
            for key, value in said.items()
            if value and (secure or key not in _SECURE_ONLY)
        }


Pieces = dict[bytes, list[bytes]]
Compiled = dict[bool, tuple[tuple[Header, ...], Pieces]]
"""For https and for http: the fixed headers, and those that a nonce goes between."""


def compiled(headers: Headers) -> Compiled:
    """The headers as bytes, ready to send."""
    found = {}
    for secure in (True, False):
        fixed: list[Header] = []
        pieces: Pieces = {}
        for name, value in headers.values(secure=secure).items():
            raw = (name.lower().encode(), value.encode("ascii"))
            if b"\0" in raw[1]:
                pieces[raw[0]] = raw[1].split(b"\0")
            else:
                fixed.append(raw)
        found[secure] = (tuple(fixed), pieces)
    return found


def without_nonce(value: str) -> str:
    """A policy for what has no nonce, such as a file."""
    parts = [part.replace(f" {MARK}", "") for part in value.split("; ")]
    return "; ".join(f"{part} 'none'" if part in _BARE else part for part in parts)


_BARE = ("default-src", "script-src", "script-src-elem", "style-src", "style-src-elem")
