"""Requests written by hand, byte for byte."""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Answer:
    """A response: status (0 for a connection closed without a word), headers, body."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __getitem__(self, name: str) -> str:
        (value,) = self.all(name)
        return value


def connected(
    port: int, *, ca: Path | None = None, name: str = "example.com", alpn: str = "http/1.1"
) -> socket.socket:
    """A connection to loopback; over TLS for ``name`` when a CA file is given."""
    connection = socket.create_connection(("127.0.0.1", port), 10)
    if ca is None:
        return connection
    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols([alpn])
    try:
        return context.wrap_socket(connection, server_hostname=name)
    except BaseException:
        connection.close()
        raise


def ask(
    port: int,
    method: str = "GET",
    path: str = "/",
    *headers: str,
    host: str | None = "example.com",
    ca: Path | None = None,
) -> Answer:
    """One request on a connection of its own; ``headers`` are whole lines."""
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"Host: {host}"] if host is not None else []
    lines += [*headers, "Connection: close", "", ""]
    with connected(port, ca=ca) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        return parsed(received(connection))


def received(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    data = b""
    try:
        while chunk := connection.recv(65536):
            data += chunk
    except (ConnectionError, ssl.SSLError):
        pass
    return data


def parsed(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    if not head:
        return Answer(0, [], b"")
    start, *rest = head.decode("latin-1").split("\r\n")
    pairs = [line.split(": ", 1) for line in rest]
    return Answer(int(start.split()[1]), [(key, value) for key, value in pairs], body)
