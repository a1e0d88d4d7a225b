"""Files that are not ours stay as they are, byte for byte, and are named."""

import hashlib
import os
import sqlite3
from pathlib import Path

import pytest

from seawall.errors import StoreCorrupt, StoreError, StoreUnavailable
from seawall.tasks.engines.sqlite import SqliteEngine
from seawall.tasks.engines.sqlite_file import APPLICATION_ID, VERSION, connect, path_of
from seawall.tasks.job import Call


def make(path: Path) -> Path:
    connect(path).close()
    return path


def print_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def foreign(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE jobs (id INTEGER)")
    db.commit()
    db.close()


def foreign_wal(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE jobs (id INTEGER)")
    db.commit()
    db.close()


def newer(path: Path) -> None:
    overwrite(make(path), 60, (VERSION + 1).to_bytes(4, "big"))


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 100)


def text(path: Path) -> None:
    path.write_text("hello")


def damaged(path: Path) -> None:
    overwrite(make(path), 4096, b"\xa5" * 4096 * 3)


def cut(path: Path) -> None:
    size = make(path).stat().st_size
    os.truncate(path, size // 2)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (foreign, "another program's SQLite file"),
        (foreign_wal, "another program's SQLite file"),
        (newer, "was written by a newer Seawall"),
        (garbage, "not a task store, nor an SQLite file"),
        (text, "not a task store, nor an SQLite file"),
        (damaged, "is damaged"),
        (cut, "is damaged"),
    ],
)
def test_a_file_that_is_not_ours_is_named_and_left_alone(
    tmp_path: Path, spoil: object, message: str
) -> None:
    path = tmp_path / "it.db"
    assert callable(spoil)
    spoil(path)
    before = print_of(path)
    with pytest.raises(StoreCorrupt, match=message) as error:
        SqliteEngine(f"sqlite:///{path}").open()
    assert str(path) in str(error.value)
    assert error.value.hint
    assert print_of(path) == before


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("missing/it.db", "no directory to be in", "mkdir -p"),
        ("file/it.db", "no directory to be in", "mkdir -p"),
        ("folder", "Is a directory", "may write"),
    ],
)
def test_a_path_that_cannot_be_written(tmp_path: Path, name: str, message: str, hint: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreUnavailable, match=message) as error:
        SqliteEngine(f"sqlite:///{tmp_path / name}").open()
    assert hint in error.value.hint


def test_a_place_where_nobody_may_write() -> None:
    with pytest.raises(StoreUnavailable, match=r"/proc/seawall\.db"):
        SqliteEngine("sqlite:////proc/seawall.db").open()


def test_a_new_store_is_ours_private_and_durable(tmp_path: Path) -> None:
    path = tmp_path / "it.db"
    db = connect(path)
    assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    db.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "it.db"
    path.touch(0o600)
    make(path)
    make(path)


def test_opening_a_store_in_use_disturbs_nobody(tmp_path: Path) -> None:
    db = connect(tmp_path / "it.db")
    db.execute("BEGIN IMMEDIATE")
    make(tmp_path / "it.db")
    db.execute("COMMIT")
    db.close()


def test_a_creation_cut_short_is_begun_again(tmp_path: Path) -> None:
    """As if the process was killed when page 1 was written and the journal not yet gone."""
    path = tmp_path / "it.db"
    first_page = make(tmp_path / "whole.db").read_bytes()[:4096]
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA cache_size = 1")  # so that pages, and their journal, are written early
    db.execute("BEGIN EXCLUSIVE")
    db.execute("CREATE TABLE half (x)")
    db.execute("INSERT INTO half VALUES (zeroblob(100000))")
    copies = {name: (tmp_path / name).read_bytes() for name in ("it.db", "it.db-journal")}
    db.execute("ROLLBACK")
    db.close()
    assert copies["it.db"]
    for name, data in copies.items():
        (tmp_path / name).write_bytes(data)
    overwrite(path, 0, first_page)
    db = connect(path)
    assert db.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
    db.close()


def test_relative_paths_hold_when_the_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = path_of("sqlite:///it.db")
    monkeypatch.chdir("/")
    assert path == tmp_path / "it.db"


@pytest.mark.parametrize("name", ["a b.db", "ü%20.db", "quote'.db"])
def test_odd_names(tmp_path: Path, name: str) -> None:
    SqliteEngine(f"sqlite:///{tmp_path / name}").open()
    assert (tmp_path / name).exists()


async def test_damage_found_while_running_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "it.db"
    engine = SqliteEngine(f"sqlite:///{path}")
    for _ in range(30):
        await engine.enqueue([Call("m:f", '"' + "x" * 3000 + '"')], retries=0)
    engine.close()
    db = sqlite3.connect(path)
    (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'jobs_due'").fetchone()
    db.close()
    await engine.ahead()  # opened, and sound
    overwrite(path, (root - 1) * 4096, b"\xa5" * 4096)
    with pytest.raises(StoreError, match="is damaged"):
        await SqliteEngine(f"sqlite:///{path}").exchange("w", [], claim=1, lease=1)
    engine.close()


@pytest.mark.parametrize("name", ["it.db", "it.db-wal", "it.db-shm"])
def test_a_store_that_others_may_write_is_refused(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / "it.db")
    spoilt = tmp_path / name
    spoilt.touch()
    for mode in (0o620, 0o602, 0o666):
        spoilt.chmod(mode)
        with pytest.raises(StoreUnavailable, match="other users may write") as error:
            connect(path)
        assert f"chmod 600 {spoilt}" in error.value.hint
        assert "tasks.url" in error.value.message
    spoilt.chmod(0o600)
    make(path)


def test_a_store_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "it.db")
    if os.geteuid() == 0:
        os.chown(path, 4242, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(StoreUnavailable, match="belongs to another user") as error:
        connect(path)
    assert f"chown {os.geteuid()} {path}" in error.value.hint
