"""The rendered configuration in a real nginx, in front of `seawall serve`."""

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.servers import raw
from tests.servers.authority import Authority
from tests.servers.deployment import Deployment, deployment
from tests.servers.process import poll, seawall
from tests.servers.raw import ask
from tests.servers.upstream import counting


@pytest.fixture(scope="module")
def site(example: Deployment) -> Iterator[Deployment]:
    with example.nginx():
        yield example


def test_as_a_user_would(example: Deployment) -> None:
    """Rendered by the command, started as it is, proven by the command."""
    path = example.directory / "user.conf"
    made = seawall("render", "nginx", "-o", str(path), cwd=example.directory, env=example.environ)
    assert (made.returncode, made.stdout) == (0, ""), made.stderr
    with example.nginx(path.read_text()):
        probed = seawall(
            "probe",
            example.url,
            "--connect",
            f"127.0.0.1:{example.https}",
            "--cafile",
            str(example.ca),
            cwd=example.directory,
            env=example.environ,
        )
    assert (probed.returncode, probed.stdout) == (0, ""), probed.stderr + probed.stdout
    assert "https ... ok" in probed.stderr
    last = probed.stderr.splitlines()[-1]
    assert last.startswith(f"{example.url}: no findings in ")
    assert float(last.split()[-2]) < 5


def test_answers_over_tls(site: Deployment) -> None:
    answer = ask(site.https, ca=site.ca)
    assert (answer.status, json.loads(answer.body)) == (200, {"message": "Hello World"})
    assert answer["Server"] == "nginx"
    assert answer["Strict-Transport-Security"] == "max-age=31536000"
    assert float(answer["X-Process-Time"]) >= 0


def test_http_2(site: Deployment) -> None:
    with raw.connected(site.https, ca=site.ca, alpn="h2") as connection:
        assert isinstance(connection, ssl.SSLSocket)
        assert connection.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 301), ("HEAD", 301), ("POST", 308), ("DELETE", 308)]
)
def test_redirects_with_everything_kept(site: Deployment, method: str, status: int) -> None:
    answer = ask(site.http, method, "/a%2Fb?c=%20d&e")
    assert answer.status == status
    assert answer["Location"] == f"https://example.com:{site.https}/a%2Fb?c=%20d&e"
    assert answer.all("Strict-Transport-Security") == []


@pytest.mark.parametrize("host", ["stranger.example", "example.com.stranger.example", "127.0.0.1"])
def test_unknown_hosts_are_refused_on_both_ports(site: Deployment, host: str) -> None:
    assert ask(site.http, host=host).status == 0
    assert ask(site.https, host=host, ca=site.ca).status == 0


def test_missing_and_repeated_hosts_are_refused(site: Deployment) -> None:
    assert ask(site.https, host=None, ca=site.ca).status == 400
    assert ask(site.https, "GET", "/", "Host: example.com", ca=site.ca).status == 400


def test_an_absolute_uri_outdoes_the_host_header(site: Deployment) -> None:
    assert ask(site.https, "GET", "https://stranger.example/", ca=site.ca).status == 0


def test_an_unknown_name_gets_no_certificate(site: Deployment) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        raw.connected(site.https, ca=site.ca, name="stranger.example").close()


def test_a_subdomain_is_served(site: Deployment) -> None:
    assert ask(site.https, host="www.example.com", ca=site.ca).status == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_balancers_check_health_by_address(site: Deployment, path: str) -> None:
    assert ask(site.http, "GET", path, host="10.1.2.3").status == 200
    assert ask(site.https, "GET", path, ca=site.ca).status == 200


def test_a_body_too_large_never_reaches_the_app(site: Deployment) -> None:
    head = f"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: {11 << 20}\r\n\r\n"
    with raw.connected(site.https, ca=site.ca) as connection:
        connection.sendall(head.encode())
        # nginx waits a while for the rest of the body before it closes.
        answer = raw.parsed(connection.recv(65536))
    assert answer.status == 413
    # nginx's own answer: no timing of the app's, but HSTS all the same.
    assert answer.all("X-Process-Time") == []
    assert answer["Strict-Transport-Security"] == "max-age=31536000"


def test_the_log_has_times_and_the_id(site: Deployment) -> None:
    answer = ask(site.https, "GET", "/?logged", ca=site.ca)
    poll(lambda: "/?logged" in site.access_log.read_text(), "the request is logged")
    line = next(one for one in site.access_log.read_text().splitlines() if "/?logged" in one)
    words = dict(word.split("=", 1) for word in line.split('" ')[-1].split())
    assert words["host"] == "example.com"
    assert words["id"] == answer["X-Request-ID"]
    assert words["app"] == answer["X-Process-Time"]
    assert 0 <= float(words["urt"]) <= float(words["rt"])
    assert "livez" not in site.access_log.read_text()


# What a stranger claims, against what the app is told.


def test_forwarding_headers_are_overwritten(echo: Deployment) -> None:
    answer = ask(
        echo.https,
        "GET",
        "/echo/a%2Fb?c=%2F",
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: stranger.example",
        "X-Forwarded-Port: 1",
        "X-Real-IP: 6.6.6.6",
        "X-Request-ID: stranger",
        "Forwarded: for=6.6.6.6",
        host=f"example.com:{echo.https}",
        ca=echo.ca,
    )
    seen = json.loads(answer.body)
    headers = seen["headers"]
    assert ["x-forwarded-for", "127.0.0.1"] in headers
    assert ["x-forwarded-proto", "https"] in headers
    assert ["x-forwarded-host", f"example.com:{echo.https}"] in headers
    assert ["host", f"example.com:{echo.https}"] in headers
    assert "6.6.6.6" not in answer.body.decode()
    assert "stranger" not in answer.body.decode()
    assert not any(name == "forwarded" for name, _ in headers)
    assert answer["X-Request-ID"] != "stranger"
    assert (seen["client"], seen["scheme"]) == ("127.0.0.1", "https")
    assert (seen["raw_path"], seen["query"]) == ("/echo/a%2Fb", "c=%2F")


def test_the_app_never_sees_a_host_that_nginx_did_not_check(echo: Deployment) -> None:
    answer = ask(
        echo.https, "GET", "https://example.com/echo/", host="stranger.example:1", ca=echo.ca
    )
    assert ["host", "example.com:1"] in json.loads(answer.body)["headers"]


def test_only_websockets_are_upgraded(echo: Deployment) -> None:
    answer = ask(echo.https, "GET", "/echo/", "Upgrade: h2c", "HTTP2-Settings: AAMA", ca=echo.ca)
    names = [name for name, _ in json.loads(answer.body)["headers"]]
    assert "upgrade" not in names
    assert "connection" not in names


def test_connections_to_the_app_are_reused(authority: Authority, tmp_path: Path) -> None:
    """Many requests of one visitor arrive on one connection: the upstream counts them."""
    (tmp_path / "seawall.toml").write_text('hosts.allowed_hosts = ["example.com"]\n')
    made = deployment(tmp_path, authority)
    with counting(made.socket) as upstream, made.nginx():
        with raw.connected(made.https, ca=made.ca) as connection:
            for _ in range(20):
                connection.sendall(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
                data = b""
                while not data.endswith(b"counted"):
                    chunk = connection.recv(4096)
                    assert chunk, data
                    data += chunk
        assert (upstream.requests, upstream.connections) == (20, 1)


def test_a_stream_arrives_piece_by_piece(echo: Deployment) -> None:
    with raw.connected(echo.https, ca=echo.ca) as connection:
        connection.sendall(
            b"GET /stream HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"
        )
        data = b""
        while b"first\n" not in data:
            chunk = connection.recv(4096)
            assert chunk, data
            data += chunk
        assert b"second" not in data
        assert ask(echo.https, "POST", "/go-on", "Content-Length: 0", ca=echo.ca).status == 200
        data += raw.received(connection)
    assert b"second\n" in data


def test_websockets_pass(echo: Deployment) -> None:
    context = ssl.create_default_context(cafile=str(echo.ca))
    url = f"wss://example.com:{echo.https}/ws"
    with (
        raw.connected(echo.https) as one,
        connect(url, sock=one, ssl=context, proxy=None) as socket,
    ):
        socket.send("hello")
        assert socket.recv() == "wss hello"
    stranger = {"Origin": "https://stranger.example"}
    with raw.connected(echo.https) as one, pytest.raises(InvalidStatus) as refused:
        connect(url, sock=one, ssl=context, proxy=None, additional_headers=stranger)
    assert refused.value.response.status_code == 403


def test_static_files_come_from_disk(echo: Deployment) -> None:
    answer = ask(echo.https, "GET", "/static/app.css", ca=echo.ca)
    assert (answer.status, answer.body) == (200, b"body { margin: 0 }\n")
    assert answer["Content-Type"] == "text/css; charset=utf-8"
    assert answer["Cache-Control"] == "max-age=3600"
    assert answer["Strict-Transport-Security"] == "max-age=31536000"
    assert answer.all("X-Process-Time") == []
    etag = answer["ETag"]
    again = ask(echo.https, "GET", "/static/app.css", f"If-None-Match: {etag}", ca=echo.ca)
    assert again.status == 304


@pytest.mark.parametrize("path", ["/static/.env", "/static/missing.css", "/static/../main.py"])
def test_static_gives_out_nothing_else(echo: Deployment, path: str) -> None:
    answer = ask(echo.https, "GET", path, ca=echo.ca)
    assert answer.status == 404
    assert answer.all("Cache-Control") == []
