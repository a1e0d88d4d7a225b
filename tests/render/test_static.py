"""One suite over both servers of the same mount: the app itself, and the rendered nginx."""

import gzip
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.serve.running import serving
from tests.servers.authority import Authority
from tests.servers.deployment import Deployment, deployment
from tests.servers.raw import Answer, ask

Ask = Callable[..., Answer]

BIG = os.urandom(700_000)
SCRIPT = b"console.log('sea wall');\n" * 40
WHEN = 1_700_000_000
MODIFIED = formatdate(WHEN, usegmt=True)
BEFORE, AFTER = formatdate(WHEN - 1, usegmt=True), formatdate(WHEN + 1, usegmt=True)
IMMUTABLE = "max-age=31536000, immutable"


def etag(size: int, when: int = WHEN) -> str:
    return f'"{when:x}-{size:x}"'


TAG = etag(10)


@dataclass(frozen=True)
class Case:
    """A request, and what either server answers."""

    path: str
    status: int = 200
    headers: tuple[str, ...] = ()
    method: str = "GET"
    body: bytes | None = None
    says: dict[str, str | None] = field(default_factory=dict)


def plain(*headers: str, status: int = 200, **said: str | None) -> Case:
    """A request for a file of ten bytes."""
    says = {name.replace("_", "-"): value for name, value in said.items()}
    body = b"0123456789" if status == 200 else None
    return Case("/static/ten.txt", status, headers, body=body, says=says)


CASES: dict[str, Case] = {
    "a file": plain(
        content_type="text/plain; charset=utf-8",
        content_length="10",
        etag=TAG,
        last_modified=MODIFIED,
        accept_ranges="bytes",
        cache_control="max-age=3600",
        content_encoding=None,
        vary=None,
    ),
    "head": Case(
        "/static/ten.txt", method="HEAD", body=b"", says={"content-length": "10", "etag": TAG}
    ),
    "a query": Case("/static/ten.txt?v=%2F", body=b"0123456789"),
    "below": Case("/static/sub/deep.json", says={"content-type": "application/json"}, body=b"{}"),
    "escaped": Case("/static/sub%20space/%c3%a9.svg", says={"content-type": "image/svg+xml"}),
    "no extension": Case("/static/LICENSE", says={"content-type": "application/octet-stream"}),
    "empty": Case("/static/empty.css", body=b"", says={"content-length": "0"}),
    "two slashes": Case("/static//ten.txt", body=b"0123456789"),
    "a big one": Case("/static/big.bin", body=BIG),
    "the longer mount": Case("/static/inner/x.txt", body=b"inner"),
    # Caches.
    "immutable": Case("/static/app.3f2a9c1b.js", says={"cache-control": IMMUTABLE}),
    "immutable by dash": Case("/static/app-3f2a9c1b0d.css", says={"cache-control": IMMUTABLE}),
    "no hash": Case("/static/app.js", says={"cache-control": "max-age=3600"}),
    # Compressed siblings.
    "gzip": Case(
        "/static/app.js",
        headers=("Accept-Encoding: br;q=0, gzip",),
        says={
            "content-encoding": "gzip",
            "content-type": "text/javascript; charset=utf-8",
            "vary": "Accept-Encoding",
            "content-length": str(len(gzip.compress(SCRIPT, mtime=0))),
            "etag": etag(len(gzip.compress(SCRIPT, mtime=0)), WHEN + 60),
        },
        body=gzip.compress(SCRIPT, mtime=0),
    ),
    "gzip refused": Case(
        "/static/app.js",
        headers=("Accept-Encoding: gzip;q=0",),
        says={"content-encoding": None, "vary": "Accept-Encoding", "etag": etag(len(SCRIPT))},
        body=SCRIPT,
    ),
    "no sibling": plain("Accept-Encoding: gzip", content_encoding=None, vary=None),
    "gzip goes out whole": Case(
        "/static/app.js",
        headers=("Accept-Encoding: gzip", "Range: bytes=0-1"),
        body=gzip.compress(SCRIPT, mtime=0),
        says={"content-encoding": "gzip", "accept-ranges": None},
    ),
    # Conditions.
    "not modified": plain(
        f"If-None-Match: {TAG}",
        status=304,
        etag=TAG,
        cache_control="max-age=3600",
        content_length=None,
        content_type=None,
    ),
    "a weak tag is enough": plain(f'If-None-Match: "x", W/{TAG}', status=304),
    "any tag": plain("If-None-Match: *", status=304),
    "another tag": plain('If-None-Match: "x"'),
    "the tag outdoes the date": plain('If-None-Match: "x"', f"If-Modified-Since: {AFTER}"),
    "not modified since": plain(f"If-Modified-Since: {MODIFIED}", status=304),
    "not modified since later": plain(f"If-Modified-Since: {AFTER}", status=304),
    "modified since": plain(f"If-Modified-Since: {BEFORE}"),
    "no date": plain("If-Modified-Since: yesterday"),
    "match": plain(f"If-Match: {TAG}"),
    "no match": plain('If-Match: "x"', status=412),
    "a weak tag never matches": plain(f"If-Match: W/{TAG}", status=412),
    "unmodified since": plain(f"If-Unmodified-Since: {MODIFIED}"),
    "modified meanwhile": plain(f"If-Unmodified-Since: {BEFORE}", status=412),
    # Ranges.
    "a range": plain(
        "Range: bytes=2-4", status=206, content_range="bytes 2-4/10", content_length="3"
    ),
    "from": plain("Range: bytes=8-", status=206, content_range="bytes 8-9/10"),
    "the last": plain("Range: bytes=-3", status=206, content_range="bytes 7-9/10"),
    "more than there is": plain("Range: bytes=-99", status=206, content_range="bytes 0-9/10"),
    "to beyond": plain("Range: bytes=5-99", status=206, content_range="bytes 5-9/10"),
    "beyond": plain("Range: bytes=10-", status=416, content_range="bytes */10"),
    "none at all": plain("Range: bytes=-0", status=416),
    "backwards": plain("Range: bytes=5-2", status=416),
    "nonsense": plain("Range: bytes=x", status=416),
    "another unit": plain("Range: lines=1-2"),
    "several": plain("Range: bytes=0-1,4-5", content_range=None),
    "many": plain("Range: bytes=" + ",".join(["0-"] * 200)),
    "of the same": plain("Range: bytes=0-0", f"If-Range: {TAG}", status=206),
    "of another": plain("Range: bytes=0-0", 'If-Range: "x"'),
    "of a weak tag": plain("Range: bytes=0-0", f"If-Range: W/{TAG}"),
    "of the same date": plain("Range: bytes=0-0", f"If-Range: {MODIFIED}", status=206),
    "of another date": plain("Range: bytes=0-0", f"If-Range: {AFTER}"),
    "not modified, in parts": plain("Range: bytes=0-0", f"If-None-Match: {TAG}", status=304),
    "of an empty file": Case("/static/empty.css", 200, ("Range: bytes=0-5",), body=b""),
    # What is not there.
    **{
        name: Case(path, 404, says={"cache-control": None})
        for name, path in {
            "missing": "/static/missing.txt",
            "a directory": "/static/sub",
            "a directory with a slash": "/static/sub/",
            "the mount itself": "/static/",
            "a file as a directory": "/static/ten.txt/",
            "below a file": "/static/ten.txt/x",
            "hidden": "/static/.env",
            "hidden below": "/static/.git/config",
            "hidden, escaped": "/static/%2eenv",
            "an encoded slash": "/static/sub%2Fdeep.json",
            "an encoded backslash": "/static/sub%5cdeep.json",
            "a link out": "/static/link.txt",
            "a link inside": "/static/inside.txt",
            "a linked directory": "/static/linked/deep.json",
            "up": "/static/../secret.txt",
            "up, escaped": "/static/%2e%2e/secret.txt",
            "up, slash escaped": "/static/..%2fsecret.txt",
            "up from below": "/static/sub/../../secret.txt",
            "up without a slash": "/static../secret.txt",
            "a pipe": "/static/pipe",
            "a long name": f"/static/{'a' * 300}",
            "next to it": "/staticky/ten.txt",
        }.items()
    },
    "nul": Case("/static/ten.txt%00", 400),
    "post": Case("/static/ten.txt", 405, method="POST", headers=("Content-Length: 0",)),
    "delete": Case("/static/ten.txt", 405, method="DELETE"),
    "post to nothing": Case("/static/x", 404, method="POST", headers=("Content-Length: 0",)),
}

COMPARED = (
    "content-type",
    "content-length",
    "content-encoding",
    "content-range",
    "accept-ranges",
    "etag",
    "last-modified",
    "cache-control",
    "vary",
    "x-content-type-options",
    "x-frame-options",
)


def write(directory: Path) -> None:
    static = directory / "static"
    for name in ("sub", "sub space", ".git", "inner"):
        (static / name).mkdir(parents=True)
    other = directory / "other"
    other.mkdir()
    (other / "x.txt").write_bytes(b"inner")
    files = {
        "ten.txt": b"0123456789",
        "sub/deep.json": b"{}",
        "sub/index.html": b"index",
        "index.html": b"index",
        "sub space/\u00e9.svg": b"<svg/>",
        "LICENSE": b"MIT",
        "empty.css": b"",
        "big.bin": BIG,
        "app.js": SCRIPT,
        "app.3f2a9c1b.js": SCRIPT,
        "app-3f2a9c1b0d.css": b"a{}",
        ".env": b"SECRET=1",
        ".git/config": b"secret",
    }
    for name, data in files.items():
        (static / name).write_bytes(data)
        os.utime(static / name, (WHEN, WHEN))
    (static / "app.js.gz").write_bytes(gzip.compress(SCRIPT, mtime=0))
    os.utime(static / "app.js.gz", (WHEN + 60, WHEN + 60))
    (directory / "secret.txt").write_text("secret")
    (static / "link.txt").symlink_to(directory / "secret.txt")
    (static / "inside.txt").symlink_to("ten.txt")
    (static / "linked").symlink_to("sub")
    os.mkfifo(static / "pipe")
    # The directory itself may be a link.
    (directory / "current").symlink_to("static")
    (directory / "main.py").write_text("from fastapi import FastAPI\napp = FastAPI()\n")


@pytest.fixture(scope="module")
def made(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    directory = tmp_path_factory.mktemp("static")
    write(directory)
    mounts = f'{{"/static": "{directory}/current", "/static/inner": "{directory}/other"}}'
    return deployment(
        directory,
        authority,
        SEAWALL_STATIC__MOUNTS=mounts,
        SEAWALL_NGINX__SERVER_NAME="example.com",
        SEAWALL_HTTPS="false",
        SEAWALL_TASKS="false",
    )


@pytest.fixture(scope="module")
def app(made: Deployment) -> Iterator[Ask]:
    environ = {key: value for key, value in made.environ.items() if "SERVE__" not in key}
    with serving("main:app", "--port", "0", cwd=made.directory, env=environ) as served:
        port = urlsplit(served.address).port
        yield lambda *arguments: ask(port or 0, *arguments)


@pytest.fixture(scope="module")
def nginx(made: Deployment) -> Iterator[Ask]:
    with made.app(), made.nginx():
        yield lambda *arguments: ask(made.http, *arguments)


@pytest.fixture(params=["app", "nginx"])
def server(request: pytest.FixtureRequest) -> Ask:
    found: Ask = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("name", CASES)
def test_either_server_answers_as_it_should(server: Ask, name: str) -> None:
    case = CASES[name]
    answer = server(case.method, case.path, *case.headers)
    assert answer.status == case.status
    assert b"secret" not in answer.body.lower()
    if case.body is not None:
        assert answer.body == case.body
    for header, value in case.says.items():
        assert answer.all(header) == ([] if value is None else [value]), header


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.status < 400])
def test_both_servers_say_the_same(app: Ask, nginx: Ask, name: str) -> None:
    case = CASES[name]
    answers = [one(case.method, case.path, *case.headers) for one in (app, nginx)]
    for header in COMPARED:
        assert answers[0].all(header) == answers[1].all(header), header
    assert answers[0].body == answers[1].body


def test_errors_of_the_app_are_problems(app: Ask) -> None:
    for case in CASES.values():
        if case.status >= 400:
            answer = app(case.method, case.path, *case.headers)
            assert answer["content-type"] == "application/problem+json"
    assert app("POST", "/static/ten.txt", "Content-Length: 0")["allow"] == "GET, HEAD"
