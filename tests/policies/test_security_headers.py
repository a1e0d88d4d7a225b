import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient

from seawall import Edge, Seawall, csp_nonce
from seawall.errors import SettingsError
from seawall.policies import Hosts, SecurityHeaders, Static
from seawall.policies.csp import DOCS
from seawall.policies.policy import Audit
from seawall.settings import load, validated
from tests.asgi import Seen, call, hello, http
from tests.serve.running import serving

DEFAULTS = {
    "referrer-policy": "strict-origin-when-cross-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "cross-origin-resource-policy": "same-site",
    "x-permitted-cross-domain-policies": "none",
}
SECURE = {
    "cross-origin-opener-policy": "same-origin-allow-popups",
    "origin-agent-cluster": "?1",
}


def policy(**options: Any) -> SecurityHeaders:
    return validated(SecurityHeaders, options, "test")


async def ask(*, app: Any = hello, scheme: str = "https", path: str = "/", **options: Any) -> Seen:
    return await call(Edge(app, [policy(**options)]), http(path=path, scheme=scheme))


async def csp(path: str = "/", scheme: str = "https", **options: Any) -> str | None:
    seen = await ask(path=path, scheme=scheme, **options)
    return seen.get("content-security-policy")


def sending(*headers: tuple[bytes, bytes]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b""})

    return app


async def test_the_defaults_break_no_page() -> None:
    secure = dict((await ask(app=sending())).headers)
    assert secure == DEFAULTS | SECURE


async def test_nothing_over_http_that_browsers_only_heed_on_https() -> None:
    seen = await ask(app=sending(), scheme="http", content_security_policy=True)
    assert dict(seen.headers).keys() == {*DEFAULTS, "content-security-policy"}
    assert "upgrade-insecure-requests" not in (seen.get("content-security-policy") or "")
    assert "upgrade-insecure-requests" in (await csp(content_security_policy=True) or "")


async def test_every_header_can_be_left_out() -> None:
    off: dict[str, Any] = {name.replace("-", "_"): False for name in (*DEFAULTS, *SECURE)}
    seen = await ask(app=sending(), **off)
    assert seen.headers == []


async def test_an_apps_own_header_stands_and_its_server_goes() -> None:
    app = sending((b"x-frame-options", b"DENY"), (b"server", b"x/1"), (b"x-powered-by", b"y"))
    seen = await ask(app=app)
    assert seen.all("x-frame-options") == ["DENY"]
    assert seen.get("server") is seen.get("x-powered-by") is None
    assert seen.get("x-content-type-options") == "nosniff"
    assert (await ask(app=app, remove=[])).get("server") == "x/1"


async def test_refusals_carry_the_headers() -> None:
    app = Edge(hello, [policy(), Hosts(enabled=True, allowed_hosts=("other.example",))])
    seen = await call(app, http())
    assert seen.status == 400
    assert seen.get("x-content-type-options") == "nosniff"


async def test_a_policy_is_built_from_a_table() -> None:
    table = {
        "default_src": ["self"],
        "script-src": ["self", "'unsafe-inline'", "https://cdn.example:*", "sha256-AbC="],
        "img-src": "self data: *.example.com",
        "object-src": [],
        "sandbox": ["allow-forms"],
        "require-trusted-types-for": ["script"],
        "upgrade-insecure-requests": True,
        "media-src": False,
    }
    said = (
        "default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.example:* "
        "'sha256-AbC='; img-src 'self' data: *.example.com; object-src 'none'; "
        "sandbox allow-forms; require-trusted-types-for 'script'; upgrade-insecure-requests"
    )
    assert await csp(content_security_policy=table) == said
    assert await csp(content_security_policy=said) == said
    seen = await ask(content_security_policy=said, report_only=True)
    assert seen.get("content-security-policy-report-only") == said
    assert seen.get("content-security-policy") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"content_security_policy": {"scirpt-src": ["self"]}}, "did you mean 'script-src'"),
        ({"content_security_policy": {"script-src": ["slef"]}}, "did you mean 'self'"),
        ({"content_security_policy": {"script-src": ["unsafe_inline"]}}, "'unsafe-inline'"),
        ({"content_security_policy": {"script-src": ["a.example; img-src *"]}}, "not a source"),
        ({"content_security_policy": {"script-src": ["a.example\r\nX: 1"]}}, "not a source"),
        ({"content_security_policy": {"script-src": ["a.example,b.example"]}}, "not a source"),
        ({"content_security_policy": {"report-uri": ["/a$b"]}}, "not a source"),
        ({"content_security_policy": {"script-src": ["none", "self"]}}, "means nothing"),
        ({"content_security_policy": {"script-src": ["nonce-abc"]}}, "write 'nonce'"),
        ({"content_security_policy": {"script-src": 5}}, "not a list"),
        ({"content_security_policy": {"upgrade-insecure-requests": ["self"]}}, "no value"),
        ({"x_frame_options": "SAMEORIGN"}, "did you mean"),
        ({"referrer_policy": "no-referer"}, "did you mean 'no-referrer'"),
        ({"permissions_policy": {"camara": []}}, "did you mean 'camera'"),
        ({"permissions_policy": {"camera": ["a.example"]}}, "not an origin"),
        ({"reporting_endpoints": {"csp": 'https://a.example/"'}}, "not where reports"),
        ({"report_only": True}, "without a policy"),
        ({"paths": {"/a": {"x_frame_option": "DENY"}}}, "did you mean 'x_frame_options'"),
        ({"paths": {"/a": {"x_frame_options": "DENI"}}}, "not a value"),
        ({"paths": {"a": {}}}, "not a path"),
    ],
)
def test_what_is_wrong_is_told_with_the_right_spelling(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        policy(**options)


async def test_permissions_and_endpoints() -> None:
    seen = await ask(
        permissions_policy={"camera": [], "fullscreen": ["self", "https://a.example"], "usb": "*"},
        reporting_endpoints={"csp": "https://a.example/r"},
    )
    said = 'camera=(), fullscreen=(self "https://a.example"), usb=*'
    assert seen.get("permissions-policy") == said
    assert seen.get("reporting-endpoints") == 'csp="https://a.example/r"'
    assert "geolocation=()" in (
        (await ask(permissions_policy=True)).get("permissions-policy") or ""
    )


def test_a_nonce_reaches_templates_and_is_never_the_same() -> None:
    app = FastAPI()
    table = {"script-src": ["nonce", "strict-dynamic"], "style-src": ["self", "nonce"]}
    Seawall(app, tasks=False, security_headers={"content_security_policy": table})

    @app.get("/")
    def page(request: Request) -> dict[str, str]:
        return {"state": request.state.csp_nonce, "context": csp_nonce()}

    client = TestClient(app)
    seen = set()
    for path in ("/", "/", "/nowhere"):
        reply = client.get(path)
        said = reply.headers["content-security-policy"]
        nonce = re.findall("'nonce-([^']+)'", said)[0]
        assert said == (
            f"script-src 'nonce-{nonce}' 'strict-dynamic'; style-src 'self' 'nonce-{nonce}'"
        )
        if path == "/":
            assert reply.json() == {"state": nonce, "context": nonce}
        seen.add(nonce)
    assert len(seen) == 3
    assert min(map(len, seen)) >= 22


async def test_paths_differ_and_the_longest_prefix_wins() -> None:
    options: dict[str, Any] = {
        "content_security_policy": True,
        "paths": {
            "/embed": {"x_frame_options": False, "content_security_policy": {"img-src": ["*"]}},
            "/embed/not/": {"x_frame_options": "DENY"},
        },
    }
    assert await csp("/embed/x", **options) == "img-src *"
    assert (await ask(path="/embed", **options)).get("x-frame-options") is None
    assert (await ask(path="/embed/not/a", **options)).get("x-frame-options") == "DENY"
    assert (await ask(path="/embedded", **options)).get("x-frame-options") == "SAMEORIGIN"
    app = Edge(sending(), [policy(**options)])
    seen = await call(app, http(path="/root/embed", root_path="/root", scheme="https"))
    assert seen.get("content-security-policy") == "img-src *"


class Loads(HTMLParser):
    """What a page loads: (directive, URL or ``inline``)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        said = dict(attributes)
        if tag == "script":
            self.found.append(("script-src", said.get("src") or "unsafe-inline"))
        elif tag == "style":
            self.found.append(("style-src", "unsafe-inline"))
        elif tag == "link":
            kind = "style-src" if said.get("rel") == "stylesheet" else "img-src"
            self.found.append((kind, said.get("href") or ""))


def docs_app() -> FastAPI:
    app = FastAPI()
    Seawall(app, tasks=False, security_headers={"content_security_policy": True})

    @app.get("/page")
    def page() -> HTMLResponse:
        return HTMLResponse("<title>no</title><script>document.title = 'ran'</script>")

    return app


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect"])
def test_the_docs_may_load_what_they_load(path: str) -> None:
    reply = TestClient(docs_app()).get(path)
    said = reply.headers["content-security-policy"]
    directives = {name: rest for name, *rest in (part.split() for part in said.split("; "))}
    loads = Loads(reply.text).found
    assert loads
    for directive, what in loads:
        parts = urlsplit(what)
        source = f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"'{what}'"
        assert source in directives[directive], what
    elsewhere = TestClient(docs_app()).get("/page").headers["content-security-policy"]
    assert "unsafe-inline" not in elsewhere


def test_the_docs_of_ones_own_policy_come_first() -> None:
    one = policy(
        content_security_policy=True, paths={"/docs": {"content_security_policy": "img-src *"}}
    )
    assert one.places()["/docs"].content_security_policy == {"img-src": ("*",)}
    assert one.places()["/redoc"].content_security_policy == DOCS
    assert set(policy().places()) == {""}


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    return found


APP = """
from tests.policies.test_security_headers import docs_app
app = docs_app()
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("docs")
    (directory / "main.py").write_text(APP)
    root = str(Path(__file__).parents[2])
    with serving("main:app", "--port", "0", cwd=directory, env={"PYTHONPATH": root}) as served:
        yield served.address


def browse(chromium: str, url: str, profile: Path) -> tuple[str, str]:
    """The page after its scripts ran, and what the browser said of it."""
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        # No name is looked up: what is loaded from elsewhere fails, but is not refused.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--enable-logging=stderr",
        f"--user-data-dir={profile}",
        "--dump-dom",
        url,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


REFUSED = "violates the following Content Security Policy directive"


def test_a_browser_runs_the_docs_and_no_other_inline_script(
    chromium: str, site: str, tmp_path: Path
) -> None:
    page, said = browse(chromium, f"{site}/page", tmp_path)
    assert "<title>no</title>" in page
    assert REFUSED in said
    _, said = browse(chromium, f"{site}/docs", tmp_path)
    # The inline script ran: it looked for what the CDN, out of reach here, would have brought.
    assert "SwaggerUIBundle is not defined" in said
    assert REFUSED not in said


CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "default": ({}, []),
    "sound": ({"content_security_policy": True}, []),
    "off": ({"enabled": False}, ["off"]),
    "weak": (
        {
            "x_content_type_options": False,
            "x_frame_options": False,
            "referrer_policy": "unsafe-url",
        },
        ["weak", "weak", "weak"],
    ),
    "inline": ({"csp": {"script-src": ["self", "unsafe-inline"]}}, ["unsafe-inline"]),
    "inline for old browsers": (
        {"csp": {"script-src": ["nonce", "strict-dynamic", "https:", "unsafe-inline"]}},
        [],
    ),
    "eval": ({"csp": {"script-src": ["self", "unsafe-eval"]}}, ["unsafe-eval"]),
    "anywhere": ({"csp": {"script-src": ["https:", "*"]}}, ["wildcard", "wildcard"]),
    "reports": ({"report_only": True, "csp": {}}, ["no-reports"]),
    "unknown endpoint": ({"csp": {"report-to": ["csp"]}}, ["no-reports"]),
    "nothing said": (
        {"content_security_policy": {"img-src": ["self"]}},
        ["missing-directive"] * 5,
    ),
    "by path": (
        {
            "content_security_policy": True,
            "paths": {"/a": {"content_security_policy": {"default-src": ["*"]}}},
        },
        ["wildcard", *["missing-directive"] * 3],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_audits(case: str) -> None:
    options, ids = dict(CASES[case][0]), CASES[case][1]
    more = options.pop("csp", None)
    if more is not None:
        sound = {"base-uri": ["self"], "form-action": ["self"], "frame-ancestors": ["none"]}
        options["content_security_policy"] = {"default-src": ["self"], **sound, **more}
    found = list(policy(**options).audit(Audit(origin=lambda key: f"from {key}")))
    assert [one.id for one in found] == [f"security_headers.{name}" for name in ids]
    assert all(one.source.startswith("from security_headers.") for one in found)


def test_a_policy_is_recommended_to_those_who_serve_pages() -> None:
    def found(app: Any = None, **policies: Any) -> list[str]:
        return [one.id for one in policy().audit(Audit(app=app, policies=policies))]

    api, pages, files = FastAPI(), FastAPI(), FastAPI()
    api.get("/")(lambda: 1)
    pages.get("/", response_class=HTMLResponse)(lambda: "")
    files.mount("/static", StaticFiles(directory="/"))
    assert found() == found(api) == []
    for said in (found(pages), found(files), found(static=Static(mounts={"/static": "x"}))):
        assert said == ["security_headers.no-csp"]


def test_the_environment_can_say_it() -> None:
    environ = {
        "SEAWALL_SECURITY_HEADERS__CONTENT_SECURITY_POLICY": '{"default-src": ["self"]}',
        "SEAWALL_SECURITY_HEADERS__X_FRAME_OPTIONS": "false",
        "SEAWALL_SECURITY_HEADERS__PERMISSIONS_POLICY": "true",
    }
    one = load(directory="/", environ=environ).policy(SecurityHeaders)
    assert one.content_security_policy == {"default-src": ("self",)}
    assert one.x_frame_options is False
    assert one.permissions_policy
