"""Runs the real ``seawall`` command, and asks what it serves."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2 as httpx

COMMAND = Path(sys.executable).with_name("seawall")
DEADLINE = 60.0
"""Generous: only a test that fails waits this long."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, without anything that Seawall itself would read."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SEAWALL_", "_SEAWALL")) and name not in ("PORT", "WEB_CONCURRENCY")
    }
    return {**ours, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1", **(extra or {})}


def run(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [str(COMMAND), *arguments],
        cwd=cwd,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def until(true: Callable[[], object], what: str) -> None:
    """Polls until something holds; fails after the deadline."""
    end = time.monotonic() + DEADLINE
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"still not so: {what}")
        time.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


class Served:
    """A ``seawall serve`` that runs."""

    def __init__(self, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self.cwd = cwd
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [str(COMMAND), "serve", *arguments],
            cwd=cwd,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # A group of its own, so that nothing it starts can be left behind.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    @property
    def address(self) -> str:
        found = re.search(r"^server .*?, (\S+), ", self.log, re.M)
        return found[1] if found else ""

    def client(self) -> httpx.Client:
        """A client of its own connections, each request on a fresh one."""
        uds = self.address.removeprefix("unix:") if self.address.startswith("unix:") else None
        return httpx.Client(
            base_url="http://localhost" if uds else self.address,
            transport=httpx.HTTPTransport(
                uds=uds, limits=httpx.Limits(max_keepalive_connections=0)
            ),
            timeout=DEADLINE,
        )

    def get(self, path: str = "/", **headers: str) -> httpx.Response:
        with self.client() as client:
            return client.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"ended with {self.process.returncode}:\n{self.log}")
        try:
            return bool(self.address) and self.get("/livez").status_code == 200
        except httpx.TransportError:
            return False

    def refuses(self) -> bool:
        """Whether it has stopped listening."""
        host, _, port = self.address.removeprefix("http://").rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=DEADLINE).close()
        except ConnectionError:
            return True
        return False

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, once it has ended by itself."""
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return code

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.send(number)
        return self.wait()

    def kill(self) -> None:
        """Ends it and all that it started, whatever state they are in."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)


@contextmanager
def serving(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[Served]:
    """A ``seawall serve`` that answers; killed at the end if it has not stopped."""
    served = Served(*arguments, cwd=cwd, env=env)
    try:
        until(served.answers, f"seawall serve {' '.join(arguments)} answers")
        yield served
    finally:
        served.kill()
