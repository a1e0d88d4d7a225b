"""A whole deployment: an app under `seawall serve` on a unix socket, nginx in front of it."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from seawall.render.targets import TARGETS
from seawall.settings import load
from tests.servers.authority import Authority, Certificate
from tests.servers.process import SEAWALL, free_ports, running

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "notifications"


def nginx_binary() -> str:
    """nginx, or the reason why the test cannot run; in CI its absence is a failure."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("nginx is not installed, and CI must have it")
        pytest.skip("nginx is not installed (apt-get install nginx)")
    return found


@dataclass
class Deployment:
    """Files and ports of a deployment; the same environment for serve, render and probe."""

    directory: Path
    ca: Path
    http: int
    https: int
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://example.com:{self.https}"

    @property
    def socket(self) -> Path:
        return self.directory / "app.sock"

    @property
    def certificate(self) -> Certificate:
        return Certificate(self.ca.with_name("site.pem"), self.ca.with_name("site.key"))

    @property
    def environ(self) -> dict[str, str]:
        """What an operator would say, as environment variables."""
        here = self.directory
        return {
            "SEAWALL_SERVE__UDS": str(self.socket),
            "SEAWALL_HTTPS__PORT": str(self.https),
            "SEAWALL_NGINX__CERTIFICATE": str(self.certificate.chain),
            "SEAWALL_NGINX__CERTIFICATE_KEY": str(self.certificate.key),
            "SEAWALL_NGINX__HTTP_PORT": str(self.http),
            "SEAWALL_NGINX__HTTPS_PORT": str(self.https),
            "SEAWALL_NGINX__ADDRESSES": "127.0.0.1",
            "SEAWALL_NGINX__PID": str(here / "nginx.pid"),
            "SEAWALL_NGINX__ACCESS_LOG": str(self.access_log),
            "SEAWALL_NGINX__ERROR_LOG": str(here / "error.log"),
            "SEAWALL_NGINX__TEMP": str(here),
            # The directories of a test are its user's alone.
            **({"SEAWALL_NGINX__USER": "root"} if os.geteuid() == 0 else {}),
            **self.more,
        }

    @property
    def access_log(self) -> Path:
        return self.directory / "access.log"

    def rendered(self) -> str:
        """What `seawall render nginx` writes, made in this process."""
        settings = load(directory=self.directory, environ=self.environ)
        return TARGETS["nginx"].render(settings)

    @contextmanager
    def app(self, name: str = "main:app") -> Iterator[None]:
        """The app, under `seawall serve`."""
        with running(
            [SEAWALL, "serve", name],
            listens=[str(self.socket)],
            log=self.directory / "app.log",
            cwd=self.directory,
            env=self.environ,
        ):
            yield

    @contextmanager
    def nginx(self, text: str | None = None) -> Iterator[None]:
        """nginx with a configuration; the rendered one when none is given."""
        path = self.directory / "nginx.conf"
        path.write_text(self.rendered() if text is None else text)
        log = self.directory / "nginx.log"
        log.unlink(missing_ok=True)
        with running(
            [nginx_binary(), "-c", str(path), "-e", str(log), "-g", "daemon off;"],
            listens=[("127.0.0.1", self.http), ("127.0.0.1", self.https)],
            log=log,
            cwd=self.directory,
        ):
            yield


def deployment(directory: Path, authority: Authority, **more: str) -> Deployment:
    """Ports and a certificate for example.com, in a directory that holds the app."""
    http, https = free_ports(2)
    authority.sign("example.com", "*.example.com")
    return Deployment(directory, authority.ca, http, https, more)


def verdict(text: str, directory: Path) -> "subprocess.CompletedProcess[str]":
    """`nginx -t` on a configuration."""
    path = directory / "nginx.conf"
    path.write_text(text)
    command = [nginx_binary(), "-t", "-c", str(path), "-e", str(directory / "test.log")]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
