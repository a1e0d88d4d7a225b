"""A live site, asked the way a stranger asks: byte by byte, over sockets of our own.

HTTP libraries protect their users from sending two Host headers, a path with ``%2F``
or no Host at all; these are the questions asked here. One connection a request,
redirects are never followed, a body is read up to 1 MiB, and the whole exchange
ends at one deadline. (HTTP/1.1, RFC 9112; only the parsing is http.client's.)
"""

import io
import socket
import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from time import perf_counter, sleep
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from seawall.errors import ProbeError
from seawall.policies import Policy

_LARGEST = 1 << 20
_PORTS = {"http": 80, "https": 443}


class Door(NamedTuple):
    """Where TCP connects to."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Door":
        """Reads ``HOST:PORT``; an IPv6 address stands in brackets. Raises ProbeError."""
        try:
            parts = urlsplit(f"//{text}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not host or not port or parts.netloc != text or "@" in text:
            raise ProbeError(f"{text!r} is no address to connect to", hint="write '127.0.0.1:8443'")
        return cls(host, port)


@dataclass(slots=True)
class Reply:
    """What came back; ``status`` 0 when the connection was refused or closed without a word."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    elapsed: float = 0.0
    """Seconds from the first byte sent to the last one received."""

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """A header's value, several joined with ``", "``; ``None`` when absent."""
        values = self.all(name)
        return ", ".join(values) if values else None


@dataclass(slots=True)
class Site:
    """One site: a name, and the doors (http, https) at which it can be asked."""

    scheme: str
    host: str
    port: int
    policies: Mapping[str, Policy]
    doors: Mapping[str, Door]
    """Where each scheme is asked; a scheme without a door answers nothing (status 0)."""
    tls: ssl.SSLContext
    timeout: float = 10.0
    """Seconds that one request may take as a whole."""
    active: bool = False
    """Whether heavy proofs are asked for; see :class:`seawall.policies.policy.Site`."""

    def ask(
        self,
        method: str = "GET",
        path: str = "/",
        headers: Iterable[tuple[str, str]] = (),
        *,
        host: str | None = None,
        scheme: str | None = None,
    ) -> Reply:
        """Sends one request; see :class:`seawall.policies.policy.Site`.

        A site that limits how often it may be asked (429) is asked again when it says, within
        ``timeout``; but not by heavy proofs, which want to see the limit.

        Raises :class:`ProbeError` when no answer comes in time, or TLS fails.
        """
        headers, deadline = list(headers), perf_counter() + self.timeout
        while True:
            reply = self._ask(method, path, headers, host=host, scheme=scheme)
            wait = _patience(reply)
            if self.active or not wait or perf_counter() + wait > deadline:
                return reply
            sleep(wait)

    def _ask(
        self,
        method: str,
        path: str,
        headers: list[tuple[str, str]],
        *,
        host: str | None,
        scheme: str | None,
    ) -> Reply:
        scheme = scheme or self.scheme
        if scheme not in self.doors:
            return Reply()
        host = self._authority(scheme) if host is None else host
        request = _request(method, path, host, headers)
        try:
            with self.connect(scheme) as connection:
                return _exchange(connection, request, method, self.timeout)
        except TimeoutError as error:
            raise ProbeError(
                f"{method} {path} over {scheme} was not answered within {self.timeout:g} s"
            ) from error
        except ssl.SSLError as error:
            if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
                return Reply()
            raise ProbeError(f"TLS with {self.doors[scheme]} failed: {reason(error)}") from error
        except OSError:
            return Reply()

    def connect(self, scheme: str) -> socket.socket:
        """A connection to one door, TLS included. Raises OSError."""
        connection = socket.create_connection(self.doors[scheme], self.timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if scheme == "http":
            return connection
        try:
            return self.tls.wrap_socket(connection, server_hostname=self.host.strip("[]"))
        except BaseException:
            connection.close()
            raise

    def _authority(self, scheme: str) -> str:
        port = self.port if scheme == self.scheme else _PORTS[scheme]
        return self.host if port == _PORTS[scheme] else f"{self.host}:{port}"


def _patience(reply: Reply) -> int:
    """Seconds after which a site wants to be asked again; 0 when it answered."""
    if reply.status != 429:
        return 0
    said = reply.get("retry-after") or ""
    return max(int(said), 1) if said.isascii() and said.isdigit() and len(said) < 10 else 1


def reason(error: OSError) -> str:
    """What went wrong, without OpenSSL's source positions."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error) or type(error).__name__


def _request(method: str, path: str, host: str, headers: list[tuple[str, str]]) -> bytes:
    given = {name.lower() for name, _ in headers}
    lines = [("Host", host)] if host else []
    lines += headers
    defaults = [("User-Agent", "seawall-probe"), ("Accept", "*/*"), ("Connection", "close")]
    if method in ("POST", "PUT", "PATCH"):
        defaults.append(("Content-Length", "0"))
    lines += [(name, value) for name, value in defaults if name.lower() not in given]
    text = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines) + "\r\n"
    return text.encode("latin-1")


def _exchange(connection: socket.socket, request: bytes, method: str, timeout: float) -> Reply:
    began = perf_counter()
    wire = _Wire(connection, began + timeout)
    try:
        with suppress(ConnectionError):
            # It may have said no, and closed, before it read everything.
            connection.sendall(request)
        response = HTTPResponse(cast(socket.socket, wire), method=method)
        response.begin()
        body = _read(response)
    except (HTTPException, ConnectionError):
        return Reply(elapsed=perf_counter() - began)
    return Reply(response.status, response.getheaders(), body, perf_counter() - began)


def _read(response: HTTPResponse) -> bytes:
    body = b""
    with suppress(HTTPException, ConnectionError):
        while len(body) < _LARGEST and (chunk := response.read1(_LARGEST - len(body))):
            body += chunk
    return body


class _Wire(io.RawIOBase):
    """A socket that HTTPResponse can read from until a deadline, however slowly bytes drip."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        left = self._deadline - perf_counter()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)
