"""Limits proven on a live site: the harmless round, and the heavy one."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from seawall.findings import Finding
from seawall.probe import Door, Progress, run
from seawall.settings import load
from tests.servers.authority import Authority
from tests.servers.deployment import EXAMPLE, Deployment, deployment
from tests.servers.process import seawall

LIMIT = "10/second burst 100"


@pytest.fixture(scope="module")
def limited(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("limited")
    for name in ("main.py", "manage.py", "pyproject.toml"):
        shutil.copy(EXAMPLE / name, directory)
    made = deployment(directory, authority, SEAWALL_RATE_LIMIT__LIMITS=LIMIT)
    with made.app():
        yield made


def probed(site: Deployment, text: str | None = None, **options: Any) -> list[Finding]:
    said = {"rate_limit": {"limits": [LIMIT]}}
    settings = load(said, directory=site.directory, environ=site.environ)
    with site.nginx(text):
        return run(
            site.url,
            settings,
            connect=Door("127.0.0.1", site.https),
            cafile=str(site.ca),
            **options,
        )


def ids(found: list[Finding]) -> set[str]:
    return {one.id for one in found}


@pytest.mark.parametrize("active", [False, True])
def test_a_site_that_keeps_its_limits(limited: Deployment, active: bool) -> None:
    done: list[Progress] = []
    assert probed(limited, active=active, progress=done.append) == []
    names = [one.name for one in done]
    assert ("rate_limit, heavy" in names) is active
    assert names.count("rate_limit") == 1


def test_the_probe_waits_where_it_is_asked_to(limited: Deployment) -> None:
    """Two probes after each other use up the burst; neither takes a 429 for an answer."""
    for _ in range(2):
        assert probed(limited, timeout=30) == []


def test_fields_that_a_proxy_strips(limited: Deployment) -> None:
    text = limited.rendered().replace(
        "limit_req_status 429;",
        "limit_req_status 429;\n            proxy_hide_header RateLimit-Policy;",
    )
    assert ids(probed(limited, text)) == {"rate_limit.missing"}


def test_a_bare_429_says_nothing_of_coming_back(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Where something in front is the stricter one, its own 429 is what clients get."""
    directory = tmp_path_factory.mktemp("bare")
    made = deployment(directory, authority)
    (directory / "seawall.toml").write_text('hosts.allowed_hosts = ["example.com"]\n')
    settings = load({"rate_limit": {"limits": [LIMIT]}}, directory=directory, environ=made.environ)
    text = made.rendered().replace("proxy_pass http://app;", "return 429;")
    with made.nginx(text):
        found = run(
            made.url,
            settings,
            connect=Door("127.0.0.1", made.https),
            cafile=str(made.ca),
            timeout=0.5,
            active=True,
        )
    assert "rate_limit.retry" in ids(found)


def test_a_site_without_the_limit(example: Deployment) -> None:
    assert ids(probed(example)) == {"rate_limit.missing"}
    found = probed(example, active=True)
    assert ids(found) == {"rate_limit.missing", "rate_limit.unlimited"}
    assert "the limit is 10/second burst 100" in found[-1].message


def test_a_site_that_takes_bodies_of_any_size(example: Deployment) -> None:
    text = example.rendered().replace("client_max_body_size 10m;", "client_max_body_size 0;")
    text = text.replace(
        "proxy_http_version", "proxy_request_buffering off;\n    proxy_http_version"
    )
    settings = load(
        {"body_limit": {"max": "1MB"}}, directory=example.directory, environ=example.environ
    )
    with example.nginx(text):
        found = run(
            example.url,
            settings,
            connect=Door("127.0.0.1", example.https),
            cafile=str(example.ca),
            timeout=3,
        )
    assert ids(found) == {"body_limit.open"}


def test_the_flag(limited: Deployment) -> None:
    with limited.nginx():
        answer = seawall(
            "probe",
            limited.url,
            "--active",
            *("--connect", f"127.0.0.1:{limited.https}"),
            *("--cafile", str(limited.ca)),
            cwd=limited.directory,
            env=limited.environ,
        )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "rate_limit, heavy ... ok" in answer.stderr
