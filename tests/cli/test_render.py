import shutil
from pathlib import Path

import pytest

from tests.servers.deployment import EXAMPLE
from tests.servers.process import seawall


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("main.py", "pyproject.toml"):
        shutil.copy(EXAMPLE / name, tmp_path)
    return tmp_path


def test_writes_to_stdout(project: Path) -> None:
    done = seawall("render", "nginx", "--https-port", "8443", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "listen 8443 ssl http2;" in done.stdout
    assert done.stdout.endswith("}\n")


def test_output_check_and_force(project: Path) -> None:
    first = seawall("render", "nginx", "--output", "nginx.conf", cwd=project)
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "nginx.conf: written\n")
    again = seawall("render", "nginx", "--output", "nginx.conf", cwd=project)
    assert (again.returncode, again.stderr) == (0, "nginx.conf: unchanged\n")
    fresh = seawall("render", "nginx", "--check", "nginx.conf", cwd=project)
    assert (fresh.returncode, fresh.stdout, fresh.stderr) == (0, "", "nginx.conf: fresh\n")

    path = project / "nginx.conf"
    path.write_text(path.read_text().replace("server_tokens off;", "server_tokens on;"))
    stale = seawall("render", "nginx", "--check", "nginx.conf", cwd=project)
    assert (stale.returncode, stale.stderr) == (1, "nginx.conf: stale\n")
    assert "-    server_tokens on;\n+    server_tokens off;\n" in stale.stdout
    refused = seawall("render", "nginx", "--output", "nginx.conf", cwd=project)
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert "server_tokens on;" in path.read_text()
    forced = seawall("render", "nginx", "--output", "nginx.conf", "--force", cwd=project)
    assert (forced.returncode, forced.stderr) == (0, "nginx.conf: written\n")
    assert "server_tokens off;" in path.read_text()


def test_middleware_that_the_app_itself_added_is_heard(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "from fastapi import FastAPI\n"
        "from starlette.middleware.trustedhost import TrustedHostMiddleware\n"
        "app = FastAPI()\n"
        "app.add_middleware(TrustedHostMiddleware, allowed_hosts=['said.example'])\n"
    )
    done = seawall("render", "nginx", cwd=tmp_path, env={"SEAWALL_TASKS__ENABLED": "false"})
    assert "server_name said.example;" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--certificate", "x.pem"), "nginx.certificate: 'x.pem' is not an absolute path"),
        (("--set", "hosts=false"), "no host name is known"),
        (("--set", "nginx.nosuch=1"), "nginx.nosuch: no such setting"),
        (("--check", "missing.conf"), "missing.conf: there is no such file"),
        (("--check", "a", "--output", "b"), "--check writes nothing"),
        (("--output", "no/such/nginx.conf"), "cannot be written"),
        (("--output", "/dev/stdout"), "is not a regular file"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    project: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = seawall("render", "nginx", *arguments, cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_help_lists_the_targets(tmp_path: Path) -> None:
    done = seawall("render", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "nginx" in done.stdout
