"""An app of a few lines under a real uvicorn, and a client that says exactly what it is told."""

import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from tests.servers.process import free_ports, running


@dataclass(frozen=True)
class Served:
    """A server that is up."""

    port: int
    log: Path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@contextmanager
def uvicorn(directory: Path, source: str, *options: str) -> Iterator[Served]:
    """Serves ``app`` of this source until the block ends."""
    (directory / "main.py").write_text(dedent(source))
    port = free_ports(1)[0]
    served = Served(port, directory / "uvicorn.log")
    command = [sys.executable, "-m", "uvicorn", "main:app", "--port", str(port), *options]
    with running(command, listens=[("127.0.0.1", port)], log=served.log, cwd=directory):
        yield served


def head(method: str, path: str, **headers: str) -> bytes:
    """The head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass(frozen=True)
class Reply:
    status: int
    head: str
    body: bytes


def reply(connection: socket.socket) -> Reply:
    """One response that has a Content-Length; raises ConnectionError when it is cut off."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    raw, _, body = data.partition(b"\r\n\r\n")
    text = raw.decode("latin-1").lower()
    if text.startswith("http/1.1 100"):
        # An interim response; the one that counts comes after it.
        return reply(connection)
    length = re.search(r"^content-length: (\d+)", text, re.MULTILINE)
    while length and len(body) < int(length[1]):
        body += _more(connection)
    return Reply(int(text.split(" ")[1]), text, body)


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("closed")
    return data
