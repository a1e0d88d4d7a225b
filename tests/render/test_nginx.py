"""What the configuration says for each setting, and that nginx itself takes it."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from seawall.errors import RenderError, SettingsError
from seawall.policies.policy import Draft
from seawall.render.targets import TARGETS
from seawall.settings import load
from tests.servers.authority import Authority
from tests.servers.deployment import EXAMPLE, deployment, verdict

GOLDEN = Path(__file__).with_name("golden") / "nginx.conf"
HOSTS = {"allowed_hosts": ["example.com"]}


def rendered(**settings: Any) -> str:
    """The configuration for these settings; the host is example.com unless they say."""
    arguments = {"hosts": HOSTS, **settings}
    tree = load(arguments, directory="/", environ={})
    return TARGETS["nginx"].render(tree)


def block(text: str, opening: str) -> str:
    """The lines of the (last) block that opens so."""
    lines = text.splitlines()
    start = max(i for i, line in enumerate(lines) if line.strip() == opening)
    margin = re.match(" *", lines[start])
    assert margin is not None
    end = lines.index(margin[0] + "}", start)
    return "\n".join(lines[start : end + 1])


def test_the_example_is_rendered_as_the_golden_file_says() -> None:
    """Rewrite it with ``seawall render nginx --output`` when a change is meant."""
    text = TARGETS["nginx"].render(load(directory=EXAMPLE, environ={}))
    assert text == GOLDEN.read_text()


def test_it_looks_written_by_a_person() -> None:
    text = rendered(https=True, static={"mounts": {"/static": "."}}, nginx={"temp": "/tmp/x"})
    assert "\n\n\n" not in text
    assert text.endswith("}\n")
    assert not [line for line in text.splitlines() if line != line.rstrip() or "\t" in line]
    indent = 0
    for line in text.splitlines():
        code = line.split("#")[0].rstrip() if line.strip().startswith("#") else line
        indent -= code.rstrip().endswith("}")
        if code.strip() and not code.strip().startswith(("'", "#")):
            assert len(code) - len(code.lstrip()) == 4 * indent, line
        indent += code.rstrip().endswith("{")


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "https": {"https": True},
    "no redirect": {"https": {"redirect": False}},
    "one host, a port of its own": {"https": {"host": "www.example.com", "port": 8443}},
    "exempt": {"https": {"exempt": ["/.well-known", "/a/b/"], "permanent": False}},
    "no hsts": {"https": {"hsts": 0}},
    "strict hsts": {"https": {"include_subdomains": True, "preload": True}},
    "static": {"https": True, "static": {"mounts": {"/static": ".", "/a/b": "/tmp/with space"}}},
    "buffering": {"nginx": {"buffering": True}},
    "no log": {"nginx": {"access_log": "off"}},
    "no keep-alive": {"serve": {"keep_alive": 0}},
    "long name": {"hosts": {"allowed_hosts": [f"{'a' * 60}.{'b' * 60}.{'c' * 60}.example.com"]}},
    "many names": {"hosts": {"allowed_hosts": [f"a{i}.example.com" for i in range(200)]}},
    "odd names": {"hosts": {"allowed_hosts": ["*.example.com", "münchen.example", "a_b.example"]}},
    "addresses": {"hosts": {"allowed_hosts": ["10.0.0.5", "[2001:db8::1]"]}},
    "name said": {"hosts": False, "nginx": {"server_name": "example.com, *.example.com"}},
    "headers": {"request_id": {"header": "Trace_Id"}, "timing": {"header": "X-Took"}},
    "health together": {"health": {"live": "/up", "ready": "/up"}},
    "rates": {
        "rate_limit": {
            "limits": ["100/minute", "10/second burst 20"],
            "routes": {"/login": "5/minute", "/api/v1.0-b": "5/day burst 1"},
            "exempt": ["/api/v1.0-b/free"],
        }
    },
    "rates by header": {"rate_limit": {"by": "header:X-API-Key"}},
    "rates of routes": {"rate_limit": {"limits": [], "routes": {"/a": "1/hour"}}},
    "sizes and times": {
        "body_limit": {"max": "1MB", "paths": {"/upload": "2GiB", "/upload/big": 0}},
        "timeout": {"seconds": 90, "paths": {"/upload/big": 600, "/endless": 0, "/quick": 1}},
        "concurrency": {"wait": 2},
        "static": {"mounts": {"/static": "."}},
    },
    "bodies of any size": {"body_limit": False},
    "everything off": {
        "proxy": False, "request_id": False, "timing": False, "health": False, "problems": False,
    },
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_nginx_takes_it(case: str, authority: Authority, tmp_path: Path) -> None:
    made = deployment(tmp_path, authority)
    said = dict(CASES[case])
    own = {
        "certificate": str(made.certificate.chain),
        "certificate_key": str(made.certificate.key),
        "http_port": made.http,
        "https_port": made.https,
        "addresses": "127.0.0.1",
        "pid": str(tmp_path / "nginx.pid"),
        "access_log": str(tmp_path / "access.log"),
        "error_log": str(tmp_path / "error.log"),
        "temp": str(tmp_path),
        **({"user": "root"} if os.geteuid() == 0 else {}),
        **said.pop("nginx", {}),
    }
    checked = verdict(rendered(**said, nginx=own), tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr


def test_names_come_from_the_hosts_policy_without_loopback() -> None:
    text = rendered(hosts={"allowed_hosts": ["example.com", "*.example.com", "localhost"]})
    assert "server_name example.com *.example.com;" in text


def test_the_bare_name_reaches_the_app_that_redirects_it() -> None:
    assert "server_name www.example.com example.com;" in rendered(
        hosts={"allowed_hosts": ["www.example.com"]}
    )
    assert "server_name www.example.com;" in rendered(
        hosts={"allowed_hosts": ["www.example.com"], "www_redirect": False}
    )


@pytest.mark.parametrize("hosts", [False, {"allowed_hosts": ["*"]}, {"allowed_hosts": "localhost"}])
def test_without_a_name_it_says_what_to_do(hosts: Any) -> None:
    with pytest.raises(RenderError, match="no host name") as error:
        rendered(hosts=hosts)
    assert "nginx.server_name" in error.value.hint
    assert "server_name a.example;" in rendered(hosts=hosts, nginx={"server_name": "a.example"})


def test_without_https_both_ports_serve_the_site() -> None:
    text = rendered(https=False)
    site = block(text, "server {")
    assert "listen 80;" in site
    assert "listen 443 ssl http2;" in site
    assert "return 301" not in text
    assert "Strict-Transport-Security" not in text


def test_with_https_the_plain_port_only_redirects() -> None:
    text = rendered(https={"port": 8443, "host": "www.example.com"})
    assert "return 301 https://www.example.com:8443$request_uri;" in text
    assert "return 308 https://www.example.com:8443$request_uri;" in text
    assert "listen 80;" not in block(text, "server {")


def test_idle_connections_end_here_before_the_app_ends_them() -> None:
    assert "keepalive_timeout 60s;" in block(rendered(), "upstream app {")
    assert "keepalive_timeout 4s;" in block(rendered(serve={"keep_alive": 5}), "upstream app {")
    assert "keepalive" not in block(rendered(serve={"keep_alive": 0}), "upstream app {")


def test_the_socket_is_the_one_that_serve_listens_on() -> None:
    assert "server unix:/run/seawall/app.sock;" in rendered()
    assert "server unix:/run/a.sock;" in rendered(serve={"uds": "/run/a.sock"})
    assert "server unix:/run/b.sock;" in rendered(
        serve={"uds": "/run/a.sock"}, nginx={"socket": "/run/b.sock"}
    )
    with pytest.raises(RenderError, match=r"serve\.uds"):
        rendered(serve={"uds": "/run/a.sock; }"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("certificate", "/a; include /etc/passwd"),
        ("certificate", "/a\nuser root"),
        ("certificate", "relative.pem"),
        ("certificate", ""),
        ("certificate_key", '/a"'),
        ("socket", "/run/$host.sock"),
        ("socket", "/" + "a" * 107),
        ("socket", "app.sock"),
        ("pid", "/run/{x}"),
        ("access_log", "on"),
        ("access_log", "/a #"),
        ("user", "root; load_module x"),
        ("temp", "tmp"),
        ("addresses", "0.0.0.0; }"),
        ("addresses", "::"),
        ("server_name", "a.example;"),
        ("server_name", "~^.*$"),
        ("server_name", "*"),
        ("http_port", 0),
        ("https_port", 65536),
    ],
)
def test_a_value_that_could_break_out_is_refused(key: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=rf"nginx\.{key}"):
        rendered(nginx={key: value})


def test_a_directory_that_no_quotes_can_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "$a;"
    odd.mkdir()
    monkeypatch.chdir(odd)
    with pytest.raises(RenderError, match="rename the directory"):
        rendered(static={"mounts": {"/static": "static"}})


@pytest.mark.parametrize("policy", ["request_id", "timing"])
@pytest.mark.parametrize("header", ["X-$host", "'X", "X|Y"])
def test_a_header_name_that_would_be_read_as_syntax_is_refused(policy: str, header: str) -> None:
    with pytest.raises(SettingsError, match="header name"):
        rendered(**{policy: {"header": header}})


def test_no_line_of_a_policy_can_hold_another(monkeypatch: pytest.MonkeyPatch) -> None:
    from seawall.policies import Timing

    def render(self: Timing, draft: Draft) -> None:
        draft.say("server", "autoindex off;\nautoindex on;")

    monkeypatch.setattr(Timing, "render", render)
    with pytest.raises(RenderError, match="control character"):
        rendered()
