"""What every server must do under ``seawall serve``, with real processes."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from seawall.serve.servers import SERVERS
from tests.serve.running import Served, alive, free_port, run, serving, until

APP = """
import asyncio
import os
import time
from pathlib import Path

from fastapi import BackgroundTasks, FastAPI, Request

VERSION = 1

app = FastAPI()


def write(text: str) -> None:
    Path("task-began").touch()
    while not Path("go").exists():
        time.sleep(0.02)
    with open("log.txt", "a") as log:
        log.write(text + "\\n")


@app.get("/")
async def root(request: Request):
    return {
        "pid": os.getpid(),
        "version": VERSION,
        "scheme": request.url.scheme,
        "client": request.client and request.client.host,
    }


@app.get("/slow")
async def slow():
    Path("slow-began").touch()
    while not Path("go").exists():
        await asyncio.sleep(0.02)
    return "done"


@app.post("/task/{text}")
async def task(text: str, tasks: BackgroundTasks):
    tasks.add_task(write, text)
    return "accepted"
"""

Serve = Callable[..., Served]


@pytest.fixture(params=sorted(SERVERS))
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serve(server: str, tmp_path: Path) -> Iterator[Serve]:
    """Starts ``seawall serve main:app`` on a free port, as often as asked."""
    (tmp_path / "main.py").write_text(APP)
    with ExitStack() as stack:

        def start(*arguments: str, env: dict[str, str] | None = None) -> Served:
            where = () if {"--uds", "--port"} & {*arguments} else ("--port", "0")
            if env and "PORT" in env:
                where = ()
            everything = ("main:app", "--server", server, *where, *arguments)
            return stack.enter_context(serving(*everything, cwd=tmp_path, env=env))

        yield start


@contextmanager
def asking(served: Served, path: str) -> Iterator[list[httpx.Response]]:
    """Asks in a thread; the list has the answer when the block is left."""
    got: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: got.append(served.get(path)))
    thread.start()
    yield got
    thread.join()


def pids(served: Served, count: int, *, but: set[int] | None = None) -> set[int]:
    """The processes that answer, once there are ``count`` of them."""
    seen: set[int] = set()

    def enough() -> bool:
        try:
            seen.add(served.get().json()["pid"])
        except httpx.TransportError:
            return False
        return len(seen - (but or set())) >= count

    until(enough, f"{count} processes answer")
    return seen - (but or set())


def test_answers_through_the_edge(serve: Serve) -> None:
    served = serve()
    reply = served.get()
    assert reply.status_code == 200
    assert float(reply.headers["x-process-time"]) > 0
    assert reply.headers["x-request-id"]
    assert "date" in reply.headers
    assert "server" not in reply.headers
    missing = served.get("/nosuch")
    assert missing.status_code == 404
    assert float(missing.headers["x-process-time"]) > 0
    assert missing.headers["content-type"] == "application/problem+json"


def test_says_what_it_serves(serve: Serve, server: str) -> None:
    served = serve()
    app, where, policies, tasks = served.lines[:4]
    assert app == "app       main:app (argument)"
    assert where.startswith(f"server    {server} {SERVERS[server].version()}, http://127.0.0.1:")
    assert where.endswith(", 1 worker")
    assert policies.startswith("policies  proxy request_id access_log timing health ")
    assert tasks == "tasks     sqlite:///seawall.db (durable; worker in the web process)"


def test_an_app_that_has_its_own_seawall_hears_the_flags(serve: Serve, tmp_path: Path) -> None:
    own = "\nfrom seawall import Seawall\nSeawall(app, timing={'server_timing': True})\n"
    (tmp_path / "main.py").write_text(APP + own)
    for workers in ("1", "2"):
        served = serve("--workers", workers, "--set", "timing.header=X-Took")
        reply = served.get()
        assert float(reply.headers["x-took"]) > 0
        assert "server-timing" in reply.headers
        assert "x-process-time" not in reply.headers
        assert served.stop() == 0


def test_workers_answer_and_stop_together(serve: Serve) -> None:
    served = serve("--workers", "2")
    workers = pids(served, 2)
    assert served.process.pid not in workers
    assert float(served.get().headers["x-process-time"]) > 0
    assert served.stop() == 0
    assert not [pid for pid in workers if alive(pid)]


def test_a_worker_that_dies_is_replaced(serve: Serve) -> None:
    served = serve("--workers", "2")
    first = pids(served, 2)
    os.kill(min(first), signal.SIGKILL)
    assert pids(served, 1, but=first)
    assert served.stop() == 0


def test_workers_end_with_a_parent_that_was_killed(serve: Serve) -> None:
    served = serve("--workers", "2")
    workers = pids(served, 2)
    assert served.stop(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: not [pid for pid in workers if alive(pid)], "no worker is left")
    assert served.refuses()


def test_unix_socket(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    for workers in ("1", "2"):
        served = serve("--uds", str(path), "--workers", workers)
        assert served.address == f"unix:{path}"
        reply = served.get(X_Forwarded_Proto="https", X_Forwarded_For="192.0.2.7")
        # The peer of a unix socket is a proxy on this machine.
        assert reply.json()["scheme"] == "https"
        assert reply.json()["client"] == "192.0.2.7"
        assert served.stop() == 0
        assert not path.exists()


def test_unix_socket_of_a_server_that_was_killed(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    serve("--uds", str(path)).stop(signal.SIGKILL)
    assert path.is_socket()
    assert serve("--uds", str(path)).get().status_code == 200


def test_unix_socket_of_a_server_that_lives(serve: Serve, server: str, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    served = serve("--uds", str(path))
    second = run("serve", "main:app", "--server", server, "--uds", str(path), cwd=tmp_path)
    assert second.returncode == 2
    assert second.stderr.startswith(f"error: {path} is in use by another server [from --uds] (")
    assert served.get().status_code == 200


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_lets_a_request_finish(serve: Serve, tmp_path: Path, workers: str) -> None:
    served = serve("--workers", workers)
    with asking(served, "/slow") as got:
        until((tmp_path / "slow-began").exists, "the request is in flight")
        served.send(signal.SIGTERM)
        if workers == "1":
            until(served.refuses, "new connections are refused")
        assert not got
        (tmp_path / "go").touch()
    assert got[0].json() == "done"
    assert served.wait() == 0


def test_sigterm_lets_a_task_finish(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    with served.client() as client:
        assert client.post("/task/one").json() == "accepted"
    until((tmp_path / "task-began").exists, "the task runs")
    served.send(signal.SIGTERM)
    until(served.refuses, "new connections are refused")
    (tmp_path / "go").touch()
    assert served.wait() == 0
    assert (tmp_path / "log.txt").read_text() == "one\n"


def test_a_task_that_cannot_finish_runs_again_after_the_next_start(
    serve: Serve, tmp_path: Path
) -> None:
    served = serve("--set", "tasks.drain=0")
    with served.client() as client:
        client.post("/task/one")
    until((tmp_path / "task-began").exists, "the task runs")
    assert served.stop() == 0
    assert not (tmp_path / "log.txt").exists()
    (tmp_path / "go").touch()
    serve()
    until((tmp_path / "log.txt").exists, "the task ran again")


def test_port_in_use(serve: Serve, server: str, tmp_path: Path) -> None:
    port = serve().address.rpartition(":")[2]
    second = run("serve", "main:app", "--server", server, "--port", port, cwd=tmp_path)
    assert second.returncode == 2
    assert second.stderr == (
        f"error: port {port} on 127.0.0.1 is in use [from --port] (--port {int(port) + 1})\n"
    )


def test_bare_environment_names(serve: Serve) -> None:
    port = free_port()
    served = serve(env={"PORT": str(port), "WEB_CONCURRENCY": "2"})
    assert served.address == f"http://127.0.0.1:{port}"
    assert "2 workers" in served.log
    assert len(pids(served, 2)) == 2


def test_forwarded_headers_count_from_trusted_peers_alone(serve: Serve) -> None:
    # Loopback is trusted by default, as a proxy on this machine is the usual case.
    assert serve().get(X_Forwarded_Proto="https").json()["scheme"] == "https"
    for workers in ("1", "2"):
        served = serve("--set", "proxy.trusted=10.0.0.0/8", "--workers", workers)
        reply = served.get(X_Forwarded_Proto="https", X_Forwarded_For="192.0.2.7").json()
        assert (reply["scheme"], reply["client"]) == ("http", "127.0.0.1")


def test_reload_picks_up_a_change(serve: Serve, tmp_path: Path) -> None:
    main = tmp_path / "main.py"
    served = serve("--reload")
    assert "reloads on change" in served.log
    assert served.get().json()["version"] == 1
    main.write_text(APP.replace("VERSION = 1", "VERSION = ("))
    until(lambda: "error: main.py, line" in served.log, "the mistake is told")
    main.write_text(APP.replace("VERSION = 1", "VERSION = 2"))

    def new() -> bool:
        try:
            # Connections wait while there is no process to answer them.
            return bool(served.get().json()["version"] == 2)
        except httpx.TransportError:
            return False

    until(new, "the new version answers")
    assert served.stop() == 0


def test_an_app_that_fails_to_start(serve: Serve, server: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from contextlib import asynccontextmanager\n"
        "from fastapi import FastAPI\n"
        "@asynccontextmanager\n"
        "async def lifespan(app):\n"
        "    raise RuntimeError('no database')\n"
        "    yield\n"
        "app = FastAPI(lifespan=lifespan)\n"
    )
    for workers in ("1", "2"):
        arguments = ("--server", server, "--port", "0", "--workers", workers)
        ended = run("serve", "broken:app", *arguments, cwd=tmp_path)
        assert ended.returncode == 2
        assert "no database" in ended.stderr
        assert "error: the app did not start (the log above says why)\n" in ended.stderr
