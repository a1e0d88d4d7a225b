import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient

from seawall import Edge, Seawall
from seawall.policies import Compression, Problems, Static
from seawall.policies.files import find
from seawall.policies.policy import Audit
from tests.asgi import Seen, call, hello, http

SCRIPT = b"console.log('sea wall');\n" * 400


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    for name, data in {
        "app.js": SCRIPT,
        "app.js.br": brotli.compress(SCRIPT),
        "app.js.zst": zstandard.ZstdCompressor().compress(SCRIPT),
        "plain.css": b"a {}" * 500,
    }.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) <= before


async def ask(mount: Path, path: str, *headers: tuple[str, str], **more: Any) -> Seen:
    method = more.pop("method", "GET")
    static = Static(mounts={"/static": str(mount)}, **more.pop("options", {}))
    compression = Compression(enabled=True, minimum_size=1)
    app = Edge(hello, [static, compression, Problems()])
    return await call(app, http(method, path, [("host", "example.com"), *headers], **more))


@pytest.mark.parametrize(
    ("accepts", "coding"),
    [
        ("gzip, br, zstd", "zstd"),
        ("gzip, br", "br"),
        ("gzip", None),
        ("zstd;q=0.5, br", "br"),
        ("*", "zstd"),
        ("*, zstd;q=0", "br"),
        ("", None),
    ],
)
async def test_the_sibling_that_the_client_likes_best(
    mount: Path, accepts: str, coding: str | None
) -> None:
    seen = await ask(mount, "/static/app.js", ("accept-encoding", accepts))
    assert seen.status == 200
    assert seen.get("content-encoding") == coding
    assert seen.get("content-type") == "text/javascript; charset=utf-8"
    assert seen.all("vary") == ["Accept-Encoding"]
    assert seen.get("content-length") == str(len(seen.body))
    decoded = {
        None: lambda body: body,
        "br": brotli.decompress,
        "zstd": lambda body: zstandard.ZstdDecompressor().decompress(body),
    }[coding](seen.body)
    assert decoded == SCRIPT


async def test_siblings_have_tags_of_their_own(mount: Path) -> None:
    tags = {
        (await ask(mount, "/static/app.js", ("accept-encoding", coding))).get("etag")
        for coding in ("br", "zstd", "identity")
    }
    assert len(tags) == 3


async def test_siblings_can_be_left_alone(mount: Path) -> None:
    options = {"precompressed": False}
    seen = await ask(mount, "/static/app.js", ("accept-encoding", "br"), options=options)
    assert seen.get("content-encoding") is seen.get("vary") is None
    assert seen.body == SCRIPT


async def test_files_are_not_compressed_on_the_way(mount: Path) -> None:
    seen = await ask(mount, "/static/plain.css", ("accept-encoding", "gzip"))
    assert seen.get("content-encoding") is None
    assert (await ask(mount, "/", ("accept-encoding", "gzip"))).get("content-encoding") == "gzip"


async def test_a_server_that_can_sends_the_file_itself(mount: Path) -> None:
    extensions: dict[str, Any] = {"http.response.pathsend": {}}
    seen = await ask(mount, "/static/app.js", ("accept-encoding", "br"), extensions=extensions)
    assert seen.messages[1:] == [
        {"type": "http.response.pathsend", "path": str(mount / "app.js.br")}
    ]
    for headers, method in (((("range", "bytes=0-0"),), "GET"), ((), "HEAD")):
        seen = await ask(mount, "/static/app.js", *headers, extensions=extensions, method=method)
        assert seen.messages[1]["type"] == "http.response.body"


async def test_pieces_of_a_large_file_add_up(mount: Path) -> None:
    large = os.urandom(600_000)
    (mount / "large.bin").write_bytes(large)
    seen = await ask(mount, "/static/large.bin")
    assert seen.body == large
    assert [m.get("more_body", False) for m in seen.messages[1:]] == [True, True, False]
    seen = await ask(mount, "/static/large.bin", ("range", "bytes=262143-262144"))
    assert seen.body == large[262143:262145]


async def test_errors_are_problems(mount: Path) -> None:
    for path, method, status in (
        ("/static/x", "GET", 404),
        ("/static/x", "HEAD", 404),
        ("/static/app.js", "PUT", 405),
    ):
        seen = await ask(mount, path, method=method)
        assert seen.status == status
        assert seen.get("content-type") == "application/problem+json"
        assert (seen.body == b"") == (method == "HEAD")


async def test_the_mount_is_below_the_root_path(mount: Path) -> None:
    seen = await ask(mount, "/api/static/app.js", root_path="/api")
    assert seen.body == SCRIPT
    assert (await ask(mount, "/static", root_path="")).body == b"hello"


async def test_websockets_pass_by(mount: Path) -> None:
    app = Edge(hello, [Static(mounts={"/static": str(mount)})])
    scope = {**http(path="/static/app.js"), "type": "websocket"}
    assert [m["type"] for m in (await call(app, scope)).messages] == ["websocket.accept"]


def test_it_stands_before_the_apps_own_mount(mount: Path) -> None:
    app = FastAPI()
    app.mount("/static", StaticFiles(directory=mount))
    Seawall(app, tasks=False, static={"mounts": {"/static": str(mount)}, "max_age": 7})
    reply = TestClient(app).get("/static/app.js", headers={"accept-encoding": "br"})
    assert reply.headers["cache-control"] == "max-age=7"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["x-process-time"]


async def test_a_directory_that_is_switched_is_seen_at_once(mount: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name)
    current = tmp_path / "current"
    static = Static(mounts={"/static": str(current)})
    app = Edge(hello, [static])
    for name in ("one", "two"):
        current.unlink(missing_ok=True)
        current.symlink_to(name)
        assert (await call(app, http(path="/static/a.txt"))).body == name.encode()


def test_nothing_outside_can_be_opened(mount: Path) -> None:
    (mount / "sub").mkdir()
    for steps in ([], ["sub"], ["x"], ["app.js", "x"], ["a" * 300], ["a\0b"], ["\udcff", "x"]):
        assert find(str(mount), steps) is None
    assert find(str(mount / "nowhere"), ["app.js"]) is None
    (mount / "locked").symlink_to(mount)
    assert find(str(mount), ["locked", "app.js"]) is None
    (mount / "plain.css.gz").symlink_to("app.js")
    file = find(str(mount), ["plain.css"], ["gzip"])
    assert file is not None
    assert (file.coding, file.varies) == ("", False)
    file.close()


PARTS = [
    "",
    ".",
    "..",
    "sub",
    "a.txt",
    "link",
    "secret.txt",
    "%2e%2e",
    "..%2f",
    "\0",
    "\\",
    "\udcff",
]


@settings(max_examples=1000, deadline=None)
@given(path=st.lists(st.sampled_from(PARTS), max_size=7).map("/".join))
async def test_no_path_leads_out(tree: Path, path: str) -> None:
    app = Edge(hello, [Static(mounts={"/static": str(tree / "in")})])
    raw = path.encode("utf-8", "surrogateescape")
    seen = await call(app, http() | {"path": f"/static/{path}", "raw_path": b"/static/" + raw})
    assert seen.error is None
    assert b"secret" not in seen.body
    assert seen.status in (200, 400, 404)
    assert seen.status != 200 or seen.body == b"fine"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    (root / "in" / "sub").mkdir(parents=True)
    (root / "secret.txt").write_text("secret")
    (root / "in" / "a.txt").write_text("fine")
    (root / "in" / "sub" / "a.txt").write_text("fine")
    (root / "in" / "link").symlink_to(root)
    return root


def audited(**options: Any) -> list[tuple[str, str, str]]:
    audit = Audit(origin=lambda key: f"from {key}")
    return [(one.id, one.message, one.source) for one in Static(**options).audit(audit)]


def test_a_missing_directory_is_found(mount: Path) -> None:
    found = audited(mounts={"/static": str(mount), "/media": str(mount / "nowhere")})
    ((name, message, source),) = found
    assert name == "static.missing"
    assert "/media" in message
    assert source == "from static.mounts"


def test_a_stale_sibling_is_found(mount: Path) -> None:
    os.utime(mount / "app.js.br", (1, 1))
    ((name, message, _),) = audited(mounts={"/static": str(mount)})
    assert name == "static.stale"
    assert "app.js.br" in message
    assert audited(mounts={"/static": str(mount)}, precompressed=False) == []


@pytest.mark.parametrize(
    "options",
    [
        {"mounts": {"static": "x"}},
        {"mounts": {"/": "x"}},
        {"mounts": {"//": "x"}},
        {"mounts": {"/a b": "x"}},
        {"mounts": {"/static": 'x"; return 200 "'}},
        {"immutable": "("},
        {"immutable": 'a"; }'},
        {"immutable": "a\nb"},
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Static(**options)


def test_a_trailing_slash_is_the_same_mount() -> None:
    assert Static(mounts={"/static/": "x"}).mounts == {"/static": "x"}


@pytest.mark.parametrize(
    ("name", "immutable"),
    [
        ("app.3f2a9c1b.js", True),
        ("chunk-0123456789abcdef.css", True),
        ("a/b.deadbeef.woff2", True),
        ("app.js", False),
        ("app.1234567.js", False),
        ("deadbeef.js", False),
        ("app.deadbeef/x.js", False),
    ],
)
def test_names_with_a_hash(name: str, immutable: bool) -> None:
    pattern = Static(mounts={"/static": "x"})._patterns()["/static"]
    assert bool(re.search(pattern, f"/static/{name}")) is immutable
