"""What a browser must not do with this site's pages: the headers of OWASP's list.

OWASP Secure Headers Project; HSTS is the https policy's. Guarantees: a header that the app
itself set stands; headers that browsers heed on secure pages alone are not sent over plain
http; a nonce is fresh in each response; refusals carry the headers too.

On by default with headers that break no page. A Content-Security-Policy breaks any page with
an inline script, so it is sent only when asked for, and ``check`` recommends it.
"""

import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from secrets import token_hex
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, ValidationError, model_validator

from seawall.errors import Hinted
from seawall.findings import Finding, Level, Rule
from seawall.policies.csp import DOCS, NONCE, meant
from seawall.policies.exchange import Exchange, Header, Scope, drop
from seawall.policies.headers import Compiled, Headers, compiled, without_nonce
from seawall.policies.paths import local
from seawall.policies.policy import Act, Audit, Draft, Policy, Site, Surroundings
from seawall.policies.values import Path, Tokens

_nonce: ContextVar[str] = ContextVar("seawall_csp_nonce", default="")


def csp_nonce() -> str:
    """The nonce of the request being served in this context; ``""`` when the CSP has none."""
    return _nonce.get()


def _overrides(value: dict[str, Any]) -> dict[str, Any]:
    return {path.rstrip("/"): _override(options) for path, options in value.items()}


def _override(options: dict[str, Any]) -> dict[str, Any]:
    for key in options:
        if key not in Headers.model_fields:
            raise Hinted(f"{key!r} is not a header here", meant(key, Headers.model_fields))
    try:
        return Headers.model_validate(options).model_dump(exclude_unset=True)
    except ValidationError as error:
        fault = error.errors()[0]
        reason = fault.get("ctx", {}).get("error")
        raise (reason if isinstance(reason, Hinted) else Hinted(fault["msg"])) from None


class SecurityHeaders(Policy, Headers):
    """Tells browsers what they must not do with the site's pages."""

    name: ClassVar[str] = "security_headers"
    OFF: ClassVar[Rule] = Rule(
        "security_headers.off",
        Level.WARNING,
        "Without these headers browsers guess content types, and let other sites frame the pages.",
        "set security_headers = true",
    )
    WEAK: ClassVar[Rule] = Rule(
        "security_headers.weak",
        Level.WARNING,
        "Without nosniff an upload can run as a script; without a frame rule a page can be "
        "overlaid and clicked (clickjacking); unsafe-url tells other sites every address.",
        "leave the header at its default",
    )
    NO_CSP: ClassVar[Rule] = Rule(
        "security_headers.no-csp",
        Level.NOTE,
        "A Content-Security-Policy is the last defence against a script that got into a page. It "
        "is told of apps that serve files or HTML; an API can do without.",
        "set security_headers.content_security_policy = true, at first with report_only = true",
    )
    INLINE: ClassVar[Rule] = Rule(
        "security_headers.unsafe-inline",
        Level.WARNING,
        "With 'unsafe-inline' a script that got into a page runs: the policy guards nothing.",
        "use 'nonce' and seawall.csp_nonce() in templates",
    )
    EVAL: ClassVar[Rule] = Rule(
        "security_headers.unsafe-eval",
        Level.WARNING,
        "With 'unsafe-eval' text becomes code.",
        "replace eval(); for WebAssembly say 'wasm-unsafe-eval'",
    )
    WILDCARD: ClassVar[Rule] = Rule(
        "security_headers.wildcard",
        Level.WARNING,
        "A script source that anyone can host on lets anyone's script in.",
        "name the hosts, or use 'nonce' with 'strict-dynamic'",
    )
    MISSING_DIRECTIVE: ClassVar[Rule] = Rule(
        "security_headers.missing-directive",
        Level.WARNING,
        "base-uri, form-action and frame-ancestors do not fall back to default-src, and plug-ins "
        "run scripts.",
        "add the directive; content_security_policy = true has them all",
    )
    REPORTS: ClassVar[Rule] = Rule(
        "security_headers.no-reports",
        Level.WARNING,
        "A policy that only reports, to nobody, does nothing; nor does one to an endpoint unknown.",
        "set report-to, and the endpoint in security_headers.reporting_endpoints",
    )
    LOST: ClassVar[Rule] = Rule(
        "security_headers.missing",
        Level.ERROR,
        "A header that the settings promise does not reach the browser.",
        "see that no proxy strips it, and that every answer passes the app's edge or the "
        "rendered nginx",
    )
    DOUBLED: ClassVar[Rule] = Rule(
        "security_headers.doubled",
        Level.ERROR,
        "Of two values browsers take either none or the stricter: not what the settings say.",
        "let one part alone set the header: remove it from the proxy",
    )
    NONCE_KEPT: ClassVar[Rule] = Rule(
        "security_headers.nonce",
        Level.ERROR,
        "A nonce that comes twice can be guessed: a script that got into a page runs.",
        "do not cache pages that carry a nonce",
    )
    TELLS: ClassVar[Rule] = Rule(
        "security_headers.tells",
        Level.WARNING,
        "A version tells a stranger which holes to try.",
        "`server_tokens off` in nginx (the rendered file has it)",
    )

    paths: Annotated[dict[Path, dict[str, Any]], AfterValidator(_overrides)] = Field(
        default_factory=dict
    )
    """Path prefix to headers that differ there; the longest prefix wins."""
    docs: tuple[Path, ...] = ("/docs", "/redoc")
    """Paths of FastAPI's interactive docs: where there is a CSP, they get one they work with."""
    remove: Tokens = ("Server", "X-Powered-By")
    """Response headers of the app that are taken away."""

    @model_validator(mode="after")
    def _says_something(self) -> "SecurityHeaders":
        if self.report_only and not self.content_security_policy:
            raise Hinted(
                "report_only without a policy says nothing", "set content_security_policy = true"
            )
        return self

    def places(self) -> dict[str, Headers]:
        """Path prefix to all headers there, the longest first; ``""`` is everywhere else."""
        base = {key: getattr(self, key) for key in Headers.model_fields}
        overrides: dict[str, dict[str, Any]] = {"": {}}
        if self.content_security_policy or self.cross_origin_embedder_policy:
            for path in self.docs:
                overrides[path] = {
                    "content_security_policy": DOCS if self.content_security_policy else False,
                    "cross_origin_embedder_policy": False,
                }
        for path, options in self.paths.items():
            overrides[path] = {**overrides.get(path, {}), **options}
        return {
            path: Headers.model_validate({**base, **overrides[path]})
            for path in sorted(overrides, key=len, reverse=True)
        }

    def act(self, around: Surroundings) -> Act:
        places = {path: compiled(headers) for path, headers in self.places().items()}
        fallback = places.pop("")
        prefixes = tuple((path, f"{path}/", said) for path, said in places.items())
        everything = (fallback, *places.values())
        nonces = any(pieces for said in everything for _, pieces in said.values())
        unwanted = tuple(name.lower().encode() for name in self.remove)
        names = {name for said in everything for fixed, _ in said.values() for name, _ in fixed}
        names |= {name for said in everything for _, pieces in said.values() for name in pieces}

        def here(scope: Scope) -> Compiled:
            path = local(scope)
            for exact, below, said in prefixes:
                if path == exact or path.startswith(below):
                    return said
            return fallback

        def response(
            exchange: Exchange, status: int, headers: list[Header], sent: dict[bytes, bytes]
        ) -> None:
            scope = exchange.scope
            said = here(scope) if prefixes else fallback
            fixed, pieces = said[scope["scheme"] in ("https", "wss")]
            if pieces:
                nonce = scope["state"]["csp_nonce"].encode("ascii")
                fixed = (*fixed, *((name, nonce.join(parts)) for name, parts in pieces.items()))
            if sent:
                for name in unwanted:
                    if name in sent:
                        drop(headers, name)
                fixed = tuple(header for header in fixed if header[0] not in sent)
            headers += fixed

        def request(exchange: Exchange) -> None:
            state = exchange.scope.get("state")
            if state is None:
                state = exchange.scope["state"] = {}
            # 128 bits, as Content Security Policy Level 3, section 7.1 asks for.
            state["csp_nonce"] = nonce = token_hex(16)
            _nonce.set(nonce)

        return Act(
            http=request if nonces else None,
            websocket=request if nonces else None,
            response=response,
            owns=frozenset((*names, *unwanted)),
            settled=not (nonces or prefixes),
        )

    def render(self, draft: Draft) -> None:
        if draft.target != "nginx":
            return
        here = self.places()[""]
        plain, secure = here.values(secure=False), here.values()
        maps: list[str] = []
        headers: list[str] = []
        for name, value in secure.items():
            # Files have no nonce.
            said = {"on": without_nonce(value)}
            if plain.get(name) == value:
                said = {"(on)?": without_nonce(value)}
            elif name in plain:
                said[""] = without_nonce(plain[name])
            variable = f"${name.lower().replace('-', '_')}"
            maps += [f'map "$https:$upstream_header_time" {variable} {{']
            maps += [f'    "~^{scheme}:[-, ]*$" "{text}";' for scheme, text in said.items()]
            maps += ["}"]
            headers += [f"add_header {name} {variable} always;"]
        if maps:
            why = (
                "Headers for what nginx itself answers (files, errors): where no upstream sent a "
                "header. The app's own answers carry them already."
            )
            draft.say("http", *maps, why=why)
            draft.say("server", *headers)

    def audit(self, audit: Audit) -> Iterator[Finding]:
        if not self.enabled:
            source = audit.origin("security_headers.enabled")
            yield self.OFF("browsers are told nothing", source=source)
            return

        def origin(key: str) -> str:
            return audit.origin(f"security_headers.{key}")

        if not self.x_content_type_options:
            yield self.WEAK("nosniff is off", source=origin("x_content_type_options"))
        if not self.x_frame_options and "frame-ancestors" not in (
            self.content_security_policy or {}
        ):
            yield self.WEAK("any site may frame the pages", source=origin("x_frame_options"))
        if self.referrer_policy == "unsafe-url":
            yield self.WEAK("referrer_policy is 'unsafe-url'", source=origin("referrer_policy"))
        if not self.content_security_policy:
            pages = _pages(audit)
            if pages:
                message = f"no Content-Security-Policy is sent with the pages of {pages}"
                yield self.NO_CSP(message, source=origin("content_security_policy"))
        else:
            yield from self._audit_csp(
                self.content_security_policy, "", origin("content_security_policy")
            )
        for path, options in self.paths.items():
            table = options.get("content_security_policy")
            if table:
                yield from self._audit_csp(table, f" under {path}", origin("paths"))

    def _audit_csp(
        self, table: Mapping[str, tuple[str, ...]], where: str, source: str
    ) -> Iterator[Finding]:
        scripts = table.get("script-src", table.get("default-src"))
        guarded = scripts is not None and any(
            word in (NONCE, "strict-dynamic") or word.startswith("sha") for word in scripts
        )
        if scripts is None:
            message = f"neither script-src nor default-src{where}"
            yield self.MISSING_DIRECTIVE(message, source=source)
        elif "unsafe-inline" in scripts and not guarded:
            yield self.INLINE(f"scripts may be 'unsafe-inline'{where}", source=source)
        if "unsafe-eval" in (scripts or ()):
            yield self.EVAL(f"scripts may use 'unsafe-eval'{where}", source=source)
        if scripts and "strict-dynamic" not in scripts:
            for word in scripts:
                if word in ("*", "http:", "https:", "data:", "blob:", "http://*", "https://*"):
                    yield self.WILDCARD(f"scripts may come from {word}{where}", source=source)
        if not {"object-src", "default-src"} & set(table):
            yield self.MISSING_DIRECTIVE(f"no object-src{where}", source=source)
        for directive in ("base-uri", "form-action", "frame-ancestors"):
            if directive not in table:
                yield self.MISSING_DIRECTIVE(f"no {directive}{where}", source=source)
        told = table.get("report-to", ())
        if any(name not in self.reporting_endpoints for name in told):
            yield self.REPORTS(f"report-to {' '.join(told)} is no endpoint{where}", source=source)
        if self.report_only and not where and not (told or table.get("report-uri")):
            yield self.REPORTS("report_only, and no report-to", source=source)

    def prove(self, site: Site) -> Iterator[Finding]:
        secure = site.scheme == "https"
        everywhere = self.places()[""].values(secure=secure)
        replies = [site.ask("GET", path) for path in ("/", "/seawall-probe-no-such-page")]
        for path, reply in zip(("/", "/seawall-probe-no-such-page"), replies, strict=True):
            for name in everywhere:
                values = reply.all(name)
                if not values:
                    yield self.LOST(f"GET {path} has no {name} header")
                elif len(values) > 1:
                    yield self.DOUBLED(f"GET {path} has {len(values)} {name} headers")
            for name in ("server", "x-powered-by"):
                if re.search(r"/\d", reply.get(name) or ""):
                    yield self.TELLS(f"GET {path} says {name.title()}: {reply.get(name)}")
        nonces = [
            re.findall(r"'nonce-([^']+)'", reply.get(name) or "")
            for reply in (replies[0], site.ask("GET", "/"))
            for name in everywhere
            if name.startswith("Content-Security-Policy")
        ]
        if len(nonces) == 2 and nonces[0] and nonces[0] == nonces[1]:
            yield self.NONCE_KEPT("two answers to GET / carry the same nonce")


def _pages(audit: Audit) -> str:
    """Where the app serves pages, as far as can be seen; ``""`` for a mere API."""
    mounts = getattr(audit.policies.get("static"), "mounts", None)
    if mounts:
        return str(next(iter(mounts)))
    for route in getattr(audit.app, "routes", ()):
        kind = getattr(route, "response_class", None)
        # FastAPI wraps a class that nobody chose.
        html = getattr(getattr(kind, "value", kind), "media_type", None) == "text/html"
        if html or type(getattr(route, "app", None)).__name__ == "StaticFiles":
            return str(route.path)
    return ""
