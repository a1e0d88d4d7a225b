"""The store file: told apart from other people's files, created, opened.

A file that is not ours is never written to. SQLite itself writes when it opens a file
(a WAL pragma, a checkpoint on close), so the 100-byte header is read by hand first:
https://www.sqlite.org/fileformat2.html#the_database_header
"""

import contextlib
import os
import sqlite3
import time
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from seawall.errors import Hinted, StoreCorrupt, StoreError, StoreUnavailable

APPLICATION_ID = 0x5EA3A11
"""Marks our files, at byte 68 of the header."""
VERSION = 1
"""The schema that this code reads and writes, at byte 60 of the header."""
MAGIC = b"SQLite format 3\x00"
CHECKED = 8 * 1024 * 1024
"""Files up to this size are checked whole when opened: a few milliseconds."""
NEEDED = (3, 33)
"""``UPDATE ... FROM`` came with it."""

_ELSEWHERE = "set tasks.url to another file, or move this one away"


def path_of(url: str) -> Path:
    """The file named by ``sqlite:///relative`` or ``sqlite:////absolute``."""
    path = url.removeprefix("sqlite:///")
    if path == url or not path or path == ":memory:":
        raise Hinted(
            f"{url!r} names no file" if path != ":memory:" else "memory does not survive a crash",
            "write sqlite:///seawall.db, or with four slashes for an absolute path",
        )
    if "\0" in path or path != path.encode("utf-8", "replace").decode():
        raise Hinted("the name of the file holds a character that none may have", "leave it out")
    if "?" in path or "#" in path:
        raise Hinted(f"{url!r} has options, and a store file has none", "leave out all after ?")
    return Path(path).absolute()


def store_error(path: Path, error: sqlite3.Error) -> StoreError:
    """What SQLite said, as one of our errors."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreCorrupt(
            f"tasks.url: the task store {path} is damaged: {error}",
            hint="restore it from a backup, or move it away to start with an empty one",
        )
    hints = {
        sqlite3.SQLITE_FULL: "free some space on its disk",
        sqlite3.SQLITE_READONLY: "make the file and its directory writable",
        sqlite3.SQLITE_CANTOPEN: "make the file and its directory writable",
        sqlite3.SQLITE_IOERR: "check its disk",
        sqlite3.SQLITE_BUSY: "another program holds a lock on it; end that program",
    }
    return StoreUnavailable(
        f"tasks.url: the task store {path} cannot be used: {error}", hint=hints.get(code, "")
    )


def is_busy(error: BaseException) -> bool:
    """Whether another process merely had the lock at that moment."""
    code = getattr(error, "sqlite_errorcode", 0)
    return (code & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def connect(path: Path) -> sqlite3.Connection:
    """A connection to the store, created if there is none.

    Raises :class:`StoreUnavailable` and :class:`StoreCorrupt`. Busy errors of SQLite are
    left to the caller from here on: ``busy_timeout`` is 0.
    """
    if sqlite3.sqlite_version_info < NEEDED:
        raise StoreUnavailable(
            f"SQLite {sqlite3.sqlite_version} is too old",
            hint=f"Python needs SQLite {'.'.join(map(str, NEEDED))} or newer",
        )
    _ours(path)
    try:
        _sound(path)
        connection = _open(path, "rw")
        try:
            _create(connection)
            _tune(connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise store_error(path, error) from error
    return connection


def _ours(path: Path) -> None:
    """Refuses what cannot be written, is another program's, or is open to other users."""
    folder = path.parent
    try:
        if not folder.is_dir():
            raise StoreUnavailable(
                f"tasks.url: the task store {path} has no directory to be in",
                hint=f"mkdir -p {folder}",
            )
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            header = os.read(file, 100)
            stat = os.fstat(file)
        finally:
            os.close(file)
        _readable(path, header)
        _private(path, stat)
        for suffix in ("-wal", "-shm", "-journal"):
            # SQLite takes over what it finds there.
            beside = Path(f"{path}{suffix}")
            with contextlib.suppress(FileNotFoundError):
                _private(beside, beside.stat())
    except OSError as error:
        raise StoreUnavailable(
            f"tasks.url: the task store {path} cannot be written: {error.strerror}",
            hint="set tasks.url to a file that this user may write",
        ) from error
    if not os.access(folder, os.W_OK):
        raise StoreUnavailable(
            f"tasks.url: the task store {path} cannot have its journal beside it",
            hint=f"let this user write to the directory {folder}",
        )


def _readable(path: Path, header: bytes) -> None:
    if not header:
        return
    if len(header) < 100 or not header.startswith(MAGIC):
        raise StoreCorrupt(
            f"tasks.url: {path} is not a task store, nor an SQLite file", hint=_ELSEWHERE
        )
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise StoreCorrupt(f"tasks.url: {path} is another program's SQLite file", hint=_ELSEWHERE)
    _known(path, int.from_bytes(header[60:64], "big"))


def _private(path: Path, stat: os.stat_result) -> None:
    """Arguments of tasks may be private, and whoever writes the file says what code runs."""
    if stat.st_uid not in (0, os.geteuid()):
        raise StoreUnavailable(
            f"tasks.url: {path} belongs to another user (uid {stat.st_uid}), who could make "
            "this app run any code",
            hint=f"run as that user, or, if you trust its contents, "
            f"chown {os.geteuid()} {path} && chmod 600 {path}",
        )
    if stat.st_mode & 0o022:
        raise StoreUnavailable(
            f"tasks.url: other users may write to {path} (mode {stat.st_mode & 0o777:o}) and "
            "make this app run any code",
            hint=f"if you trust its contents: chmod 600 {path}",
        )


def _known(path: Path, version: int) -> None:
    if version > VERSION:
        raise StoreCorrupt(
            f"tasks.url: the task store {path} was written by a newer Seawall "
            f"(version {version}, this one knows {VERSION})",
            hint="upgrade seawall, or set tasks.url to another file",
        )


def _sound(path: Path) -> None:
    """Reads before anything is written, so that a damaged file stays as it is."""
    size = path.stat().st_size
    if not size or Path(f"{path}-journal").exists():
        # Nothing in it yet, or its creation was cut short: opening it rolls that back.
        return
    connection = _open(path, "ro")
    try:
        _known(path, connection.execute("PRAGMA user_version").fetchone()[0])
        connection.execute("SELECT 1 FROM jobs, attempts LIMIT 1").fetchone()
        if size <= CHECKED:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise StoreCorrupt(
                    f"tasks.url: the task store {path} is damaged: {verdict.splitlines()[-1]}",
                    hint="restore it from a backup, or move it away to start with an empty one",
                )
    finally:
        connection.close()


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=10,
        cached_statements=256,
    )


def _create(connection: sqlite3.Connection) -> None:
    """Lays down the schema, once, whoever else is doing the same."""
    if connection.execute("PRAGMA user_version").fetchone()[0]:
        return
    schema = files(__package__).joinpath("sql/schema.sql").read_text("utf-8")
    connection.execute("BEGIN EXCLUSIVE")
    if not connection.execute("PRAGMA user_version").fetchone()[0]:
        for statement in schema.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _tune(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            # SQLite does not wait here of its own accord when another process is at it.
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise StoreUnavailable(
            f"tasks.url: the file system of the task store has no write-ahead log (got {mode!r})",
            hint="set tasks.url to a file on a local disk",
        )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA busy_timeout = 0")
