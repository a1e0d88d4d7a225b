"""kill -9, with real processes: whatever was answered with 200 runs."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DEADLINE = 90.0

MAIN = """
import os, time
from pathlib import Path

from fastapi import BackgroundTasks, FastAPI

from seawall.tasks import Tasks, TasksSettings
from seawall.tasks.durable import install

api = FastAPI()


def slow(message: str) -> None:
    with open("log.txt", "a") as log:
        log.write(f"begin {message}\\n")
    while not Path("go").exists():
        time.sleep(0.02)
    with open("log.txt", "a") as log:
        log.write(f"end {message}\\n")


def poison() -> None:
    with open("log.txt", "a") as log:
        log.write("poison\\n")
    os.kill(os.getpid(), 9)


@api.post("/slow/{name}")
async def enqueue(name: str, background: BackgroundTasks) -> str:
    background.add_task(slow, f"{name} one")
    background.add_task(slow, f"{name} two")
    return "accepted"


@api.post("/poison")
async def enqueue_poison(background: BackgroundTasks) -> str:
    background.add_task(poison)
    background.add_task(slow, "after poison")
    return "accepted"


tasks = Tasks(TasksSettings(lease=1.0, retries=3, concurrency=4))
tasks.open()
install(api, tasks)
app = tasks.lifespan(api)
"""


class Server:
    """``uvicorn main:app`` in a directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "main.py").write_text(MAIN)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["uvicorn", "main:app", "--port", str(self.port), "--log-level", "warning"]
        with (self.folder / "stderr.txt").open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=self.folder, stderr=stderr
            )

    def started(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    def post(self, path: str) -> str:
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, method="POST")
        with urllib.request.urlopen(request, timeout=60) as response:
            assert response.status == 200
            return str(json.load(response))

    def end(self, with_signal: int) -> int:
        assert self.process is not None
        self.process.send_signal(with_signal)
        return self.process.wait(60)

    @property
    def gone(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    @property
    def log(self) -> list[str]:
        path = self.folder / "log.txt"
        return path.read_text().splitlines() if path.exists() else []

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            stderr = (self.folder / "stderr.txt").read_text()
            assert time.monotonic() < deadline, (self.log, stderr)
            time.sleep(0.02)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    (tmp_path / "go").touch()
    if server.process is not None:
        server.process.kill()
        server.process.wait(60)


NAMES = [f"task{n}" for n in range(6)]


def test_killed_while_tasks_run_and_wait(server: Server) -> None:
    server.start()
    server.until(server.started)
    for name in NAMES:
        assert server.post(f"/slow/{name}") == "accepted"
    server.until(lambda: sum(line.startswith("begin") for line in server.log) == 4)
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    assert not any(line.startswith("end") for line in server.log)

    (server.folder / "go").touch()
    server.start()
    server.until(lambda: {f"end {n} {k}" for n in NAMES for k in ("one", "two")} <= set(server.log))
    ends = [line for line in server.log if line.startswith("end")]
    assert len(ends) == 12, "the killed ones never ended before, so each ends once"
    for name in NAMES:
        assert ends.index(f"end {name} one") < ends.index(f"end {name} two")


def test_killed_again_and_again(server: Server) -> None:
    for name in NAMES[:3]:
        server.start()
        server.until(server.started)
        assert server.post(f"/slow/{name}") == "accepted"
        server.end(signal.SIGKILL)
    (server.folder / "go").touch()
    server.start()
    server.until(
        lambda: {f"end {n} {k}" for n in NAMES[:3] for k in ("one", "two")} <= set(server.log)
    )


def test_a_task_that_kills_the_process_is_given_up(server: Server) -> None:
    (server.folder / "go").touch()
    server.start()
    server.until(server.started)
    server.post("/poison")
    for times in (1, 2, 3, 4):
        server.until(lambda: server.gone)
        assert server.log == ["poison"] * times
        server.start()
    server.until(lambda: "end after poison" in server.log)
    assert server.log.count("poison") == 4
    assert not server.gone


def test_sigterm_lets_running_tasks_end(server: Server) -> None:
    server.start()
    server.until(server.started)
    server.post("/slow/last")
    server.until(lambda: "begin last one" in server.log)
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    (server.folder / "go").touch()
    assert server.process.wait(60) in (0, -signal.SIGTERM)
    assert server.log[:2] == ["begin last one", "end last one"]
    server.start()
    server.until(lambda: "end last two" in server.log)
    assert server.log[2:] == ["begin last two", "end last two"]


def test_a_spoilt_store_stops_the_server_with_its_name(server: Server) -> None:
    (server.folder / "seawall.db").write_bytes(os.urandom(5000))
    before = (server.folder / "seawall.db").read_bytes()
    server.start()
    server.until(lambda: server.gone)
    stderr = (server.folder / "stderr.txt").read_text()
    assert re.search(r"StoreCorrupt: .*seawall\.db is not a task store", stderr)
    assert (server.folder / "seawall.db").read_bytes() == before
