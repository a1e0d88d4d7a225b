import json
from pathlib import Path

from tests.serve.running import run

APP = "from fastapi import FastAPI\napp = FastAPI(openapi_url=None)\n"
GOOD = """
[tool.seawall]
https = true
[tool.seawall.hosts]
allowed_hosts = ["example.com"]
[tool.seawall.cors]
allow_origins = ["https://example.com"]
"""


def project(path: Path, toml: str = GOOD, app: str = APP) -> Path:
    (path / "main.py").write_text(app)
    (path / "pyproject.toml").write_text(toml)
    return path


def test_clean(tmp_path: Path) -> None:
    ended = run("check", cwd=project(tmp_path))
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr.startswith("checked ")
    assert ended.stderr.endswith(" settings of main:app (found main.py)\n")
    # Nothing was started, and no store was made.
    assert not (tmp_path / "seawall.db").exists()


def test_findings(tmp_path: Path) -> None:
    ended = run("check", "main:app", "--set", "proxy.trusted=*", cwd=project(tmp_path))
    assert ended.returncode == 1
    assert ended.stdout == (
        "error: proxy.open: every peer is trusted as a proxy [from --set]\n"
        "  fix: name the proxies: proxy.trusted = ['10.0.0.0/8']\n"
    )


def test_json_with_the_true_source_of_each_value(tmp_path: Path) -> None:
    own = f"{APP}from seawall import Seawall\nSeawall(app, tasks=False)\n"
    project(tmp_path, app=own).joinpath("env").write_text("SEAWALL_PROXY__TRUSTED=0.0.0.0/0\n")
    flags = ("--format", "json", "--env-file", "env", "--set", "serve.keep_alive=5")
    ended = run("check", *flags, cwd=tmp_path)
    assert ended.returncode == 1
    found = {one["id"]: one for one in json.loads(ended.stdout)}
    assert set(found) == {"proxy.open", "serve.keep-alive", "tasks.off"}
    assert found["proxy.open"]["source"] == "env: SEAWALL_PROXY__TRUSTED"
    assert found["proxy.open"]["level"] == "error"
    assert found["serve.keep-alive"]["source"] == "--set"
    assert found["tasks.off"]["source"] == "argument"


def test_middleware_of_the_app_is_heard(tmp_path: Path) -> None:
    app = (
        f"{APP}from starlette.middleware.cors import CORSMiddleware\n"
        "app.add_middleware(CORSMiddleware, allow_origins=['null'])\n"
    )
    toml = GOOD.replace("[tool.seawall.cors]\n", "").replace("allow_origins", "# allow_origins")
    ended = run("check", cwd=project(tmp_path, toml, app))
    assert ended.returncode == 1
    assert "cors.allow_origins contains 'null' [from CORSMiddleware on the app]" in ended.stdout


def test_without_an_app(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(GOOD)
    ended = run("check", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr.endswith(" settings of the project (no app was found)\n")


def test_an_app_that_does_not_import(tmp_path: Path) -> None:
    project(tmp_path, app="app = nosuch\n")
    for arguments in ((), ("main:app",)):
        ended = run("check", *arguments, cwd=tmp_path)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == ("error: main.py, line 1: NameError: name 'nosuch' is not defined\n")


def test_wrong_settings(tmp_path: Path) -> None:
    project(tmp_path, "[tool.seawall]\ncorz = true\nhots = true\n")
    ended = run("check", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "error: corz: no such setting [from pyproject.toml] (did you mean 'cors'?)",
        "error: hots: no such setting [from pyproject.toml] (did you mean 'hosts'?)",
    ]


def test_explain_says_why_and_the_fix(tmp_path: Path) -> None:
    done = run("check", "--explain", "hosts.open", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("hosts.open (warning)\n  why: ")
    assert "\n  fix: " in done.stdout
    unknown = run("check", "--explain", "hosts.opne", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "did you mean 'hosts.open'?" in unknown.stderr
