"""Everything a person can get wrong is one line, before anything listens."""

import socket
from pathlib import Path

import pytest

from tests.serve.running import free_port, run, serving

APP = "from fastapi import FastAPI\napp = FastAPI()\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(APP)
    return tmp_path


def refused(project: Path, *arguments: str, **env: str) -> str:
    """The one line that a command ends with."""
    ended = run("serve", *arguments, cwd=project, env=env)
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nosuch\n", "bad.py, line 1: imports 'nosuch', which is not installed"),
        ("app = FastAPI()\n", "bad.py, line 1: NameError: name 'FastAPI' is not defined"),
        ("app = (\n", "bad.py, line 1: SyntaxError: '(' was never closed"),
        ("app = None\n", "bad:app is a NoneType, not an ASGI app"),
        ("other = 1\n", "bad has no attribute 'app'"),
    ],
)
def test_app_that_does_not_import(project: Path, text: str, said: str) -> None:
    (project / "bad.py").write_text(text)
    assert refused(project, "bad:app").startswith(said)
    for several in ("--workers=2", "--reload"):
        assert refused(project, "bad:app", several).startswith(said)


def test_app_that_is_not_there(project: Path, tmp_path: Path) -> None:
    assert refused(project, "mian:app") == (
        f"there is no module 'mian' in {project} (did you mean 'main'?)"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refused(empty).startswith(f"no app found in {empty} (")


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[tool.seawall]\ncorz = true", "corz: no such setting [from pyproject.toml] (did you"),
        ("[tool.seawall.cors]\nallow_origin = 1", "cors.allow_origin: no such setting [from py"),
        (
            '[tool.seawall.cors]\nallow_origins = ["https://example.com/x"]',
            "cors.allow_origins: 'https://example.com/x' is not how a browser spells an origin",
        ),
        (
            '[tool.seawall.cors]\nallow_origins = ["*"]\nallow_credentials = true',
            "cors: allow_origins '*' with allow_credentials lets every site act as your users",
        ),
        (
            '[tool.seawall.hosts]\nallowed_hosts = ["example.*"]',
            "hosts.allowed_hosts: 'example.*' ",
        ),
        ("[tool.seawall", "not valid TOML"),
    ],
)
def test_setting_in_the_project_file(project: Path, toml: str, said: str) -> None:
    (project / "pyproject.toml").write_text(toml)
    line = refused(project)
    assert line.startswith(said)
    assert "[from pyproject.toml]" in line
    assert line.endswith(")")


def test_setting_by_every_other_source(project: Path) -> None:
    (project / "env").write_text("SEAWALL_CORS__MAX_AGE=soon\n")
    assert "[from SEAWALL_CORS__MAX_AGE]" in refused(project, SEAWALL_CORS__MAX_AGE="soon")
    assert "[from env: SEAWALL_CORS__MAX_AGE]" in refused(project, "--env-file", "env")
    assert "[from --set]" in refused(project, "--set", "cors.max_age=soon")
    assert "[from --port]" in refused(project, "--port", "http")
    assert "[from PORT]" in refused(project, PORT="http")
    (project / "main.py").write_text(
        f"{APP}from seawall import Seawall\nSeawall(app, cors={{'max_age': 'soon'}})\n"
    )
    assert "[from argument]" in refused(project)


def test_the_way_a_setting_is_given(project: Path) -> None:
    assert refused(project, "--set", "cors.max_age").startswith("'cors.max_age' has no '='")
    assert "not JSON" in refused(project, "--set", "static.mounts={x}")
    assert refused(project, "--env-file", "nosuch").startswith("nosuch: there is no such env file")


def test_store_that_cannot_be_used(project: Path) -> None:
    (project / "file").write_text("not a store, but long enough to look at")
    for url in ("sqlite:///file/tasks.db", "sqlite:///nosuch/tasks.db", "sqlite:///file"):
        line = refused(project, "--set", f"tasks.url={url}")
        assert "task store" in line
        assert " [from --set] (" in line
        assert line.endswith(")")
    assert (project / "file").read_text() == "not a store, but long enough to look at"
    assert not (project / "nosuch").exists()


def test_a_place_that_is_taken_says_who_asked_for_it(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = f"port {port} on 127.0.0.1 is in use [from "
        assert refused(project, "--port", port).startswith(f"{said}--port] (")
        assert refused(project, PORT=port).startswith(f"{said}PORT] (")
        (project / "pyproject.toml").write_text(f"[tool.seawall.serve]\nport = {port}")
        assert refused(project).startswith(f"{said}pyproject.toml] (")
        (project / "main.py").write_text(f"{APP}from seawall import Seawall\nSeawall(app)\n")
        assert refused(project, "--port", port).startswith(f"{said}--port] (")
        (project / "env").write_text(f"PORT={port}\n")
        assert refused(project, "--env-file", "env").startswith(f"{said}env: PORT] (")
    missing = project / "none"
    line = refused(project, "--uds", "none/app.sock")
    assert line == (
        f"cannot listen on {missing}/app.sock: No such file or directory [from --uds] "
        f"(make it: mkdir -p {missing})"
    )


def test_flags_reach_a_seawall_in_the_apps_own_code(project: Path) -> None:
    (project / "main.py").write_text(f"{APP}from seawall import Seawall\nSeawall(app)\n")
    (project / "env").write_text("SEAWALL_TIMING__HEADER=X-Took\nSEAWALL_TASKS=false\n")
    with serving(
        "--port=0", "--env-file=env", "--set=tasks.url=sqlite:///own.db", "--set=tasks=true",
        "--set", 'static.mounts={"/files": "."}', cwd=project,
    ) as served:  # fmt: skip
        assert "tasks     sqlite:///own.db (durable" in served.log
        assert float(served.get().headers["x-took"]) > 0
    assert (project / "own.db").exists()
    assert not (project / "seawall.db").exists()


def test_what_is_typed_wins_over_the_code(project: Path) -> None:
    port, other = free_port(), free_port()
    serve = f"Seawall(app, serve={{'port': {other}, 'keep_alive': 61}}, tasks=False)\n"
    (project / "main.py").write_text(f"{APP}from seawall import Seawall\n{serve}")
    with serving("--port", str(port), cwd=project) as served:
        assert served.address == f"http://127.0.0.1:{port}"
        assert "tasks     off: background tasks run in the process" in served.log
    with serving(cwd=project) as served:
        assert served.address == f"http://127.0.0.1:{other}"


def test_any_asgi_app(project: Path) -> None:
    (project / "plain.py").write_text(
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        start = {'type': 'http.response.start', 'status': 200, 'headers': []}\n"
        "        await send(start)\n"
        "        await send({'type': 'http.response.body', 'body': b'plain'})\n"
    )
    for workers in ("1", "2"):
        with serving("plain:app", "--port=0", "--workers", workers, cwd=project) as served:
            reply = served.get()
            assert reply.text == "plain"
            assert float(reply.headers["x-process-time"]) > 0
            assert "tasks     none: only FastAPI and Starlette apps have them" in served.log
    assert not (project / "seawall.db").exists()


def test_a_factory_and_an_app_below_src(project: Path) -> None:
    (project / "main.py").unlink()
    (project / "src").mkdir()
    (project / "src" / "main.py").write_text(
        "from fastapi import FastAPI\n\ndef create_app():\n    return FastAPI()\n"
    )
    with serving("--factory", "--port=0", "--workers=2", cwd=project) as served:
        assert served.lines[0] == "app       main:create_app (found src/main.py)"
        assert served.get("/docs").status_code == 200


def test_help_shows_each_setting_with_its_default(project: Path) -> None:
    shown = " ".join(run("serve", "--help", cwd=project).stdout.split())
    for flag in ("--host", "--port", "--workers", "--reload / --no-reload", "--keep-alive"):
        assert flag in shown
    assert "Port to listen on; 0 takes a free one. [default: 8000]" in shown
