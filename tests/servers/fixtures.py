"""Fixtures that several folders of tests share; each conftest.py imports those it needs."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.authority import Authority
from tests.servers.deployment import EXAMPLE, Deployment, deployment


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that signed every certificate."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def example(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The example app is up on its socket; nginx is not."""
    directory = tmp_path_factory.mktemp("example")
    for name in ("main.py", "manage.py", "pyproject.toml"):
        shutil.copy(EXAMPLE / name, directory)
    made = deployment(directory, authority)
    with made.app():
        yield made


@pytest.fixture(scope="module")
def echo(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The echo app and nginx are up, a directory of static files between them."""
    directory = tmp_path_factory.mktemp("echo")
    shutil.copy(Path(__file__).with_name("echo.py"), directory / "main.py")
    shutil.copy(EXAMPLE / "pyproject.toml", directory)
    static = directory / "static"
    static.mkdir()
    (static / "app.css").write_text("body { margin: 0 }\n")
    (static / ".env").write_text("SECRET=1\n")
    made = deployment(directory, authority, SEAWALL_STATIC__MOUNTS=f'{{"/static": "{static}"}}')
    with made.app(), made.nginx():
        yield made
