"""What is uvicorn's own."""

import signal
import threading
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx

from tests.serve.running import serving, until

SLOW = """
import asyncio
from pathlib import Path
from fastapi import FastAPI

app = FastAPI()

@app.get("/slow")
async def slow():
    Path("slow-began").touch()
    await asyncio.Event().wait()
"""


def test_a_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(SLOW)
    with serving("--port", "0", "--drain", "3600", cwd=tmp_path) as served:

        def ask() -> None:
            with suppress(httpx.TransportError):
                served.get("/slow")

        thread = threading.Thread(target=ask)
        thread.start()
        until((tmp_path / "slow-began").exists, "the request is in flight")
        served.send(signal.SIGINT)
        until(lambda: "Waiting for connections to close" in served.log, "it drains")
        served.send(signal.SIGINT)
        assert served.wait() == 0
        thread.join()


def test_a_request_that_takes_longer_than_the_drain_is_ended(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(SLOW)
    with serving("--port", "0", "--drain", "0.1", cwd=tmp_path) as served:
        thread = threading.Thread(target=lambda: served.get("/slow"))
        thread.start()
        until((tmp_path / "slow-began").exists, "the request is in flight")
        assert served.stop() == 0
        thread.join()


def test_the_servers_log_is_on_stderr_and_it_keeps_none_of_requests(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(SLOW)
    with serving("--port", "0", cwd=tmp_path) as served:
        served.get("/nosuch")
        served.stop()
        assert "Application startup complete" in served.log
        assert "/nosuch" not in served.log
