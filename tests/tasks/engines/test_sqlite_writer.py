import asyncio
import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from seawall.errors import StoreUnavailable
from seawall.tasks.engines import sqlite, sqlite_writer
from seawall.tasks.engines.sqlite import SqliteEngine
from seawall.tasks.engines.sqlite_file import connect
from seawall.tasks.engines.sqlite_writer import Writer
from seawall.tasks.job import Call

CALL = Call("m:f", "{}")


async def test_those_who_wait_share_a_commit(tmp_path: Path) -> None:
    groups: list[int] = []

    def apply(db: sqlite3.Connection, works: Sequence[int]) -> list[Any]:
        groups.append(len(works))
        assert db.in_transaction
        return [work * 2 for work in works]

    writer = Writer(tmp_path / "it.db", apply)
    futures = [writer.submit(n, writes=True) for n in range(1000)]
    assert [await future for future in futures if future] == [n * 2 for n in range(1000)]
    assert sum(groups) == 1000
    assert len(groups) < 100
    writer.close()
    assert writer.submit(1, writes=True) is None


async def test_readers_open_no_transaction(tmp_path: Path) -> None:
    def apply(db: sqlite3.Connection, works: Sequence[int]) -> list[Any]:
        return [db.in_transaction for _ in works]

    writer = Writer(tmp_path / "it.db", apply)
    future = writer.submit(1, writes=False)
    assert future is not None
    assert await future is False
    writer.close()


async def test_another_programs_lock_is_waited_for(tmp_path: Path) -> None:
    engine = SqliteEngine(f"sqlite:///{tmp_path / 'it.db'}")
    other = connect(tmp_path / "it.db")
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.ensure_future(engine.enqueue([CALL], retries=0))
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    other.execute("COMMIT")
    assert await waiting == [1]
    other.close()
    engine.close()


async def test_a_lock_that_never_ends_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "PATIENCE", 0.1)
    engine = SqliteEngine(f"sqlite:///{tmp_path / 'it.db'}")
    other = connect(tmp_path / "it.db")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked") as error:
        await engine.enqueue([CALL], retries=0)
    assert "another program" in error.value.hint
    other.close()
    assert await engine.enqueue([CALL], retries=0) == [1]
    engine.close()


async def test_a_file_taken_away_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "it.db"
    engine = SqliteEngine(f"sqlite:///{path}")
    await engine.enqueue([CALL], retries=0)
    for name in os.listdir(tmp_path):
        (tmp_path / name).unlink()
    with pytest.raises(StoreUnavailable, match="was removed or replaced"):
        await engine.enqueue([CALL], retries=0)
    assert await engine.enqueue([CALL], retries=0) == [1]
    engine.close()
    again = SqliteEngine(f"sqlite:///{path}")
    assert await again.job(1) is not None
    again.close()


FULL = """
import asyncio, resource, sys
from seawall.errors import StoreUnavailable
from seawall.tasks.engines import create
from seawall.tasks.job import Call

async def main():
    engine = create(sys.argv[1])
    engine.open()
    accepted = 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))
    try:
        while True:
            ids = await engine.enqueue([Call("m:f", '"' + "x" * 5000 + '"')] * 3, retries=0)
            accepted += len(ids)
    except StoreUnavailable as error:
        print(accepted, error.message.partition(": ")[2])
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    accepted += len(await engine.enqueue([Call("m:f", "{}")], retries=0))
    print(accepted)
    engine.close()

asyncio.run(main())
"""


async def test_a_full_disk_is_told_and_survived(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the same write fails."""
    url = f"sqlite:///{tmp_path / 'it.db'}"
    result = subprocess.run(
        [sys.executable, "-c", FULL, url], capture_output=True, text=True, timeout=120
    )
    assert (result.returncode, result.stderr) == (0, "")
    before, accepted = result.stdout.splitlines()
    count, _, reason = before.partition(" ")
    assert reason
    assert int(accepted) == int(count) + 1 > 3
    engine = SqliteEngine(url)
    jobs = [await engine.job(id) for id in range(1, int(accepted) + 2)]
    assert [job is None for job in jobs] == [False] * int(accepted) + [True]
    engine.close()


async def test_after_a_long_lock_heartbeats_go_before_reclaiming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "STALL", 0.05)
    engine = SqliteEngine(f"sqlite:///{tmp_path / 'it.db'}")
    await engine.enqueue([CALL], retries=3)
    (job,) = await engine.exchange("alive", [], claim=1, lease=0.05)
    other = connect(tmp_path / "it.db")
    other.execute("BEGIN IMMEDIATE")
    reclaiming = asyncio.ensure_future(engine.reclaim())
    await asyncio.sleep(0.2)
    other.execute("COMMIT")
    other.close()
    assert await reclaiming == 0
    await asyncio.to_thread(engine.beat, "alive", [job.id], lease=3600.0)
    assert await engine.reclaim() == 0
    engine.close()


async def test_a_process_without_descriptors_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(path: Path) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    engine = SqliteEngine(f"sqlite:///{tmp_path / 'it.db'}")
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_writer, "connect", none_left)
        with pytest.raises(StoreUnavailable, match="Too many open files"):
            await engine.enqueue([CALL], retries=0)
    assert await engine.enqueue([CALL], retries=0) == [1]
    engine.close()
