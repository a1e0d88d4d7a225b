"""Limits said to nginx: the same rates, sizes and times as in the app."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seawall.render.targets import TARGETS
from seawall.settings import load
from tests.servers.authority import Authority
from tests.servers.deployment import EXAMPLE, Deployment, deployment
from tests.servers.raw import ask
from tests.servers.upstream import counting


def rendered(**settings: Any) -> list[str]:
    tree = load(
        {"hosts": {"allowed_hosts": ["example.com"]}, **settings}, directory="/", environ={}
    )
    return [line.strip() for line in TARGETS["nginx"].render(tree).splitlines()]


@pytest.mark.parametrize(
    ("rate", "zone", "use"),
    [
        ("100/minute", "rate=100r/m", "burst=99 nodelay;"),
        ("120/minute", "rate=2r/s", "burst=119 nodelay;"),
        ("10/second burst 20", "rate=10r/s", "burst=19 nodelay;"),
        ("5/hour", "rate=1r/m", "burst=4 nodelay;"),
        ("90/hour burst 1", "rate=2r/m", "zone=rate_0_0;"),
    ],
)
def test_a_rate(rate: str, zone: str, use: str) -> None:
    lines = rendered(rate_limit={"limits": [rate]})
    assert f"limit_req_zone $binary_remote_addr zone=rate_0_0:10m {zone};" in lines
    assert any(line.startswith("limit_req zone") and line.endswith(use) for line in lines)
    assert "limit_req_status 429;" in lines


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "client_max_body_size 10m;"),
        ({"body_limit": {"max": "10MB"}}, "client_max_body_size 10000000;"),
        ({"body_limit": {"max": "2GiB"}}, "client_max_body_size 2g;"),
        ({"body_limit": {"max": "5KiB"}}, "client_max_body_size 5k;"),
        ({"body_limit": {"max": 0}}, "client_max_body_size 0;"),
        ({"body_limit": False}, "client_max_body_size 0;"),
        ({}, "proxy_read_timeout 60s;"),
        ({"timeout": {"seconds": 10}}, "proxy_read_timeout 60s;"),
        ({"timeout": {"seconds": 90}}, "proxy_read_timeout 95s;"),
        ({"timeout": {"seconds": 90.5}, "concurrency": {"wait": 2}}, "proxy_read_timeout 98s;"),
    ],
)
def test_sizes_and_times(settings: dict[str, Any], line: str) -> None:
    assert rendered(**settings).count(line) == 1


def test_a_prefix_has_the_directives_of_those_around_it() -> None:
    lines = rendered(
        body_limit={"paths": {"/upload": "1GiB"}},
        timeout={"paths": {"/upload/large": 600, "/upload/endless": 0, "/quick": 1}},
        concurrency={"wait": 2},
    )
    opened = [line for line in lines if line.startswith("location ~")]
    # The longest first, for nginx takes the first that matches; /quick has nothing to add.
    assert opened == [
        'location ~ "^/upload/endless(?:/|$)" {',
        'location ~ "^/upload/large(?:/|$)" {',
        'location ~ "^/upload(?:/|$)" {',
    ]
    said = [lines[lines.index(one) + 1 : lines.index(one) + 3] for one in opened]
    assert said == [
        ["client_max_body_size 1g;", "proxy_read_timeout 86407s;"],
        ["client_max_body_size 1g;", "proxy_read_timeout 607s;"],
        ["client_max_body_size 1g;", "proxy_pass http://app;"],
    ]


RATES = """
hosts.allowed_hosts = ["example.com"]

[rate_limit]
limits = ["3/day"]
routes = {"/login" = "2/day burst 1"}
exempt = ["/login/free"]
by = "header:X-API-Key"
"""


def test_nginx_keeps_the_rates_before_the_app_is_asked(
    authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "seawall.toml").write_text(RATES)
    made = deployment(tmp_path, authority)

    def statuses(path: str, *headers: str, times: int = 5) -> list[int]:
        return [ask(made.https, "GET", path, *headers, ca=made.ca).status for _ in range(times)]

    with counting(made.socket) as upstream, made.nginx():
        assert statuses("/") == [200, 200, 200, 429, 429]
        assert statuses("/other?x=/login") == [429] * 5
        assert upstream.requests == 3
        assert statuses("/login") == [200, 429, 429, 429, 429]
        assert statuses("/login/again") == [429] * 5
        assert statuses("/login/free") == [200] * 5
        assert statuses("/livez") == [200] * 5
        assert statuses("/", "X-API-Key: a") == [200, 200, 200, 429, 429]
        assert statuses("/", "X-API-Key: b", times=1) == [200]


@pytest.fixture(scope="module")
def limited(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("limited")
    shutil.copy(Path(__file__).parents[1] / "servers" / "echo.py", directory / "main.py")
    shutil.copy(EXAMPLE / "pyproject.toml", directory)
    made = deployment(
        directory,
        authority,
        SEAWALL_BODY_LIMIT__MAX="1kB",
        SEAWALL_BODY_LIMIT__PATHS='{"/echo/upload": "100kB"}',
        SEAWALL_TIMEOUT__SECONDS="600",
    )
    with made.app(), made.nginx():
        yield made


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/echo/a", 1000, 200),
        ("/echo/a", 1001, 413),
        ("/echo/upload", 100_000, 200),
        ("/echo/upload/x", 100_000, 200),
        ("/echo/upload/x", 100_001, 413),
        ("/echo/uploads", 1001, 413),
    ],
)
def test_nginx_and_the_app_agree_on_sizes(
    limited: Deployment, path: str, size: int, status: int
) -> None:
    body = f"Content-Length: {size}\r\n\r\n" + "x" * size
    assert (
        ask(limited.https, "POST", path, "Connection: close", body, ca=limited.ca).status == status
    )
