"""A stand-in for the app on a unix socket, which counts who comes."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Upstream"

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"counted")

    def log_message(self, *_: Any) -> None:
        pass


class Upstream(socketserver.ThreadingUnixStreamServer):
    """Answers every GET with ``counted``."""

    daemon_threads = True
    connections = 0
    requests = 0


@contextmanager
def counting(path: Path) -> Iterator[Upstream]:
    """An upstream that listens on a unix socket."""
    with Upstream(str(path), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
