"""Tells Seawall's story on the example app, and fails if any of it is not true.

python scripts/tour.py
"""

import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "notifications"
SEAWALL = [sys.executable, "-m", "seawall"]
Headers = dict[str, str]


class Server:
    """``seawall serve main:app`` on a free port, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.log = (folder / "server.log").open("a+")
        offset = self.log.tell()
        self.process = subprocess.Popen(
            [*SEAWALL, "serve", "main:app", "--port", "0"],
            cwd=folder,
            stderr=self.log,
            stdout=self.log,
            start_new_session=True,
        )
        self.port = self._port(folder, offset)

    def _port(self, folder: Path, offset: int) -> int:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            text = (folder / "server.log").read_text()[offset:]
            for word in text.replace(",", " ").split():
                if word.startswith("http://127.0.0.1:"):
                    port = int(word.rsplit(":", 1)[1])
                    if answers(port):
                        return port
            time.sleep(0.05)
        sys.exit(f"the server did not start:\n{(folder / 'server.log').read_text()}")

    def ask(
        self, method: str, path: str, headers: Headers | None = None
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        response.read()
        return response

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def answers(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False


def say(text: str) -> None:
    print(text, flush=True)


def check(truth: bool, text: str) -> None:
    say(f"  {text}")
    if not truth:
        sys.exit("  but it is not so")


def policies(server: Server) -> None:
    say("Every answer says how long it took, even refusals and redirects:")
    for path, headers in (
        ("/", {}),
        ("/nowhere", {}),
        ("/", {"Host": "evil.example"}),
        ("/", {"Host": "example.com"}),
    ):
        reply = server.ask("GET", path, headers)
        seconds = reply.headers["X-Process-Time"]
        shown = f"GET {path} {headers or ''}".strip()
        check(float(seconds) >= 0, f"{shown}: {reply.status}, X-Process-Time: {seconds}")

    say("Unknown hosts are refused, http goes to https with path and query as they came:")
    reply = server.ask("GET", "/", {"Host": "evil.example"})
    check(
        reply.status == 400, f"Host: evil.example: {reply.status} {reply.headers['Content-Type']}"
    )
    reply = server.ask("GET", "/a%2Fb?c=d", {"Host": "example.com"})
    where = reply.headers["Location"]
    check(where == "https://example.com/a%2Fb?c=d", f"Host: example.com: {reply.status} {where}")

    say("Other origins, by name only:")
    preflight = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "X-A"}
    for origin, allowed in (("http://localhost:3000", True), ("https://evil.example", False)):
        reply = server.ask("OPTIONS", "/", {"Origin": origin, **preflight})
        said = reply.headers["Access-Control-Allow-Origin"]
        check((said == origin) is allowed, f"preflight from {origin}: {reply.status}, told {said}")
    reply = server.ask("GET", "/500/", {"Origin": "http://localhost:3000"})
    said = reply.headers["Access-Control-Allow-Origin"]
    check(said == "http://localhost:3000", f"GET /500/: {reply.status}, CORS headers still there")


def flood(server: Server, folder: Path) -> list[str]:
    """Posts notifications from eight threads and kills the server among them."""
    accepted: list[str] = []
    enough = threading.Event()

    def post(thread: int) -> None:
        for number in range(1000):
            name = f"sailor-{thread}-{number}@example.com"
            try:
                if server.ask("POST", f"/send-notification/{name}?q={name}").status != 200:
                    return
            except OSError:
                return
            except http.client.HTTPException:
                return
            accepted.append(name)
            if len(accepted) >= 400:
                enough.set()

    threads = [threading.Thread(target=post, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    if not enough.wait(40):
        sys.exit("the server accepted too few notifications")
    server.kill()
    for thread in threads:
        thread.join()
    return accepted


def lines(folder: Path) -> list[str]:
    log = folder / "log.txt"
    return log.read_text().splitlines() if log.exists() else []


def missing(folder: Path, accepted: list[str]) -> int:
    written = set(lines(folder))
    wanted = {f"found query: {n}" for n in accepted} | {f"message to {n}" for n in accepted}
    return len(wanted - written)


def main() -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="seawall-tour-") as name:
        folder = Path(name)
        shutil.copytree(
            EXAMPLE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.db*", "log.txt")
        )
        say("Serving examples/notifications: plain FastAPI, one line of Seawall.")
        server = Server(folder)
        try:
            policies(server)
            say("Notifications go into FastAPI's own BackgroundTasks; SIGKILL while tasks wait:")
            accepted = flood(server, folder)
            total, waiting = 2 * len(accepted), missing(folder, accepted)
            check(
                True,
                f"{len(accepted)} posts accepted, {total} tasks; {waiting} not run yet",
            )
            say("The server starts again on the same store:")
            server = Server(folder)
            deadline = time.monotonic() + 40
            while missing(folder, accepted) and time.monotonic() < deadline:
                time.sleep(0.1)
            lost = missing(folder, accepted)
            check(
                lost == 0,
                f"{total - lost} of {total} messages are in the log, {lost} lost",
            )
            check(server.stop() == 0, "SIGTERM: drained, exit 0")
        finally:
            if server.process.poll() is None:
                server.kill()
    say(f"All of it held, in {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main()
