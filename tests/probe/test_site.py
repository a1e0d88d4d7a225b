"""The probe's own HTTP client, against servers that misbehave."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import MappingProxyType

import pytest

from seawall.errors import ProbeError
from seawall.probe.site import Door, Site

Serve = Callable[[socket.socket], None]


@contextmanager
def listening(serve: Serve) -> Iterator[int]:
    """A server that hands each connection to ``serve``, and closes it afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def site(port: int, *, timeout: float = 10.0, **doors: int) -> Site:
    where = {"http": port, **doors}
    return Site(
        "http",
        "example.com",
        80,
        MappingProxyType({}),
        {scheme: Door("127.0.0.1", number) for scheme, number in where.items()},
        ssl.create_default_context(),
        timeout,
    )


def echoing(connection: socket.socket) -> None:
    """Answers with the request itself as the body."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request) + request)


def answering(data: bytes) -> Serve:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(data)

    return serve


def test_sends_exactly_what_it_is_told() -> None:
    with listening(echoing) as port:
        sent = site(port).ask("GET", "/a%2Fb?c=%20", [("Host", "b"), ("X", "1"), ("X", "2")]).body
    assert sent.decode().split("\r\n") == [
        "GET /a%2Fb?c=%20 HTTP/1.1",
        "Host: example.com",
        "Host: b",
        "X: 1",
        "X: 2",
        "User-Agent: seawall-probe",
        "Accept: */*",
        "Connection: close",
        "",
        "",
    ]


def test_replaces_or_leaves_out_the_host() -> None:
    with listening(echoing) as port:
        assert b"Host: other\r\n" in site(port).ask(host="other").body
        assert b"Host:" not in site(port).ask(host="").body


def test_a_port_of_its_own_belongs_to_the_host() -> None:
    with listening(echoing) as port:
        one = site(port)
        one.port = 8080
        assert b"Host: example.com:8080\r\n" in one.ask().body


def test_a_post_has_a_length() -> None:
    with listening(echoing) as port:
        assert b"Content-Length: 0\r\n" in site(port).ask("POST").body


def test_headers_keep_their_order_and_repetition() -> None:
    data = b"HTTP/1.1 204 No Content\r\nA: 1\r\nB: 2\r\na: 3\r\n\r\n"
    with listening(answering(data)) as port:
        reply = site(port).ask()
    assert (reply.status, reply.headers) == (204, [("A", "1"), ("B", "2"), ("a", "3")])
    assert (reply.all("A"), reply.get("a"), reply.get("c")) == (["1", "3"], "1, 3", None)
    assert reply.elapsed > 0


def test_redirects_are_not_followed() -> None:
    data = b"HTTP/1.1 301 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    with listening(answering(data)) as port:
        assert site(port).ask().status == 301


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 20", b"not http at all\r\n\r\n"])
def test_a_connection_closed_without_an_answer_is_status_0(data: bytes) -> None:
    with listening(answering(data)) as port:
        assert site(port).ask().status == 0


def test_a_refused_connection_and_a_missing_door_are_status_0() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert site(port).ask().status == 0
    assert site(port).ask(scheme="https").status == 0


def test_a_body_is_read_up_to_a_mebibyte() -> None:
    def endless(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with listening(endless) as port:
        assert len(site(port).ask().body) == 1 << 20


def test_a_body_cut_short_is_kept_as_far_as_it_came() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    with listening(answering(data)) as port:
        reply = site(port).ask()
    assert (reply.status, reply.body) == (200, b"half")


def test_bytes_that_drip_do_not_move_the_deadline() -> None:
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not stop.wait(0.01):
            connection.sendall(b"X: y\r\n"[:1])

    with listening(drip) as port:
        try:
            with pytest.raises(ProbeError, match=r"not answered within 0\.3 s"):
                site(port, timeout=0.3).ask()
        finally:
            stop.set()


@pytest.mark.parametrize(
    ("text", "door"),
    [
        ("127.0.0.1:8443", Door("127.0.0.1", 8443)),
        ("localhost:1", Door("localhost", 1)),
        ("[::1]:8443", Door("::1", 8443)),
    ],
)
def test_doors_are_read(text: str, door: Door) -> None:
    assert Door.parse(text) == door
    assert str(door) == text


@pytest.mark.parametrize(
    "text", ["", "host", ":1", "host:", "host:x", "host:99999", "a@b:1", "a:1/b"]
)
def test_other_text_is_no_door(text: str) -> None:
    with pytest.raises(ProbeError, match="no address to connect to"):
        Door.parse(text)
