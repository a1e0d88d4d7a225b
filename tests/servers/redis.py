"""A real Redis on a free loopback port, with nothing kept on disk."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.process import running


def redis_binary() -> str:
    """redis-server, or the reason why the test cannot run; in CI its absence is a failure."""
    found = shutil.which("redis-server")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("redis-server is not installed, and CI must have it")
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    return found


@contextmanager
def redis(directory: Path, port: int) -> Iterator[str]:
    """A server that is up until the block ends; gives its URL."""
    listen = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)]
    command = [redis_binary(), *listen, "--save", "", "--appendonly", "no"]
    log = directory / "redis.log"
    with running(command, listens=[("127.0.0.1", port)], log=log, cwd=directory):
        yield f"redis://127.0.0.1:{port}/0"
