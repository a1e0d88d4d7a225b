"""Security headers, compression and files, proven from outside on a real nginx.

One misconfiguration at a time is planted in the rendered file; the id that names it is found.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from seawall.findings import Finding
from seawall.probe import Door, run
from seawall.settings import load
from tests.probe.test_mutations import Mutation, in_site
from tests.servers.authority import Authority
from tests.servers.deployment import Deployment, deployment
from tests.servers.raw import ask

CSP = {"script-src": ["nonce", "strict-dynamic"], "object-src": ["none"]}

MUTATIONS: dict[str, Mutation] = {
    "a header stripped": Mutation(
        "security_headers.missing", *in_site("proxy_hide_header X-Frame-Options;")
    ),
    "a header doubled": Mutation(
        "security_headers.doubled", *in_site("add_header X-Content-Type-Options nosniff always;")
    ),
    "a version told": Mutation(
        "security_headers.tells", *in_site("add_header X-Powered-By Thing/1.2 always;")
    ),
    "a nonce that stays": Mutation(
        "security_headers.nonce",
        *in_site(
            "proxy_hide_header Content-Security-Policy;",
            "add_header Content-Security-Policy \"script-src 'nonce-abc'\" always;",
        ),
    ),
    "no word to caches": Mutation(
        "static.uncached", "        add_header Cache-Control $static_cache;\n", ""
    ),
    "another word to caches": Mutation("static.uncached", '"max-age=3600"', '"no-cache"'),
    "no tags": Mutation("static.uncached", "if_modified_since before;", "etag off;"),
    "files not served": Mutation("static.uncached", "try_files $uri =404;", "return 404;"),
    "a location without its slash": Mutation(
        "static.escapes", "location ^~ /static/ {", "location ^~ /static {"
    ),
    "everyone gets gzip": Mutation(
        "compression.refused",
        "gzip off;",
        "gzip off;\n    proxy_set_header Accept-Encoding gzip;",
    ),
    "Vary stripped": Mutation("compression.vary", *in_site("proxy_hide_header Vary;")),
}


@pytest.fixture(scope="module")
def site(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("headers")
    (directory / "static").mkdir()
    (directory / "static" / "app.css").write_text("a {}")
    (directory / "main.py").write_text(APP)
    made = deployment(
        directory,
        authority,
        SEAWALL_STATIC__MOUNTS=json.dumps({"/static": str(directory / "static")}),
        SEAWALL_NGINX__SERVER_NAME="example.com",
        SEAWALL_HTTPS="true",
        SEAWALL_TASKS="false",
        SEAWALL_COMPRESSION="true",
        SEAWALL_SECURITY_HEADERS__CONTENT_SECURITY_POLICY=json.dumps(CSP),
    )
    with made.app():
        yield made


APP = """
from fastapi import FastAPI
app = FastAPI()

@app.get("/")
async def root() -> str:
    return "sea wall " * 200
"""


def probed(site: Deployment, text: str) -> list[Finding]:
    settings = load(directory=site.directory, environ=site.environ)
    door = Door("127.0.0.1", site.https)
    with site.nginx(text):
        return run(site.url, settings, connect=door, cafile=str(site.ca))


def test_the_good_deployment_raises_nothing(site: Deployment) -> None:
    assert probed(site, site.rendered()) == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_misconfiguration_is_named(site: Deployment, name: str) -> None:
    mutation, text = MUTATIONS[name], site.rendered()
    assert mutation.old in text
    found = {one.id for one in probed(site, text.replace(mutation.old, mutation.new))}
    assert mutation.id in found
    assert "probe.crashed" not in found


def test_what_nginx_answers_itself_has_the_headers_once(site: Deployment, tmp_path: Path) -> None:
    with site.nginx():
        for path, status in (("/static/app.css", 200), ("/static/x", 404), ("/", 200)):
            answer = ask(site.https, "GET", path, ca=site.ca)
            assert answer.status == status
            assert answer["X-Content-Type-Options"] == "nosniff"
            assert answer["Cross-Origin-Opener-Policy"] == "same-origin-allow-popups"
            said = answer["Content-Security-Policy"]
            if path == "/":
                assert said.startswith("script-src 'nonce-")
            else:
                assert said == "script-src 'strict-dynamic'; object-src 'none'"
    # Nobody behind it: the error is nginx's own.
    moved = site.rendered().replace(str(site.socket), str(tmp_path / "gone.sock"))
    with site.nginx(moved):
        answer = ask(site.https, ca=site.ca)
        assert answer.status == 502
        assert answer["X-Frame-Options"] == "SAMEORIGIN"
