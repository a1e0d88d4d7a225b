"""Processes that a test starts, waits for, and always stops by their own pid."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

SEAWALL = str(Path(sys.executable).with_name("seawall"))
DEADLINE = 30.0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now; held together, so that all differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def poll(ready: Callable[[], bool], what: str, deadline: float = DEADLINE) -> None:
    """Waits until it is so; fails the test when that takes too long."""
    end = time.monotonic() + deadline
    while not ready():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {deadline} s")
        time.sleep(0.02)


def accepts(address: str | tuple[str, int]) -> bool:
    """Whether something listens there (a path is a unix socket)."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as one:
        one.settimeout(1)
        return one.connect_ex(address) == 0


@contextmanager
def running(
    command: Sequence[str],
    *,
    listens: Sequence[str | tuple[str, int]],
    log: Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that listens; gone when the block ends, however it ends."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **(env or {})}, stdout=output, stderr=output
        )

    def up() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"{command[0]} ended at once:\n{log.read_text()}")
        return all(map(accepts, listens))

    try:
        poll(up, f"{command[0]} listens")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def seawall(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Runs the command to its end."""
    return subprocess.run(
        [SEAWALL, *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
