"""Files of a directory, opened so that nothing outside of it can be reached.

Every step of a path is opened from the one before, and no link is followed (openat(2),
O_NOFOLLOW), so there is no moment in between at which a path could change its meaning. The
directory itself may be a link: deployments switch one.
"""

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate
from functools import cached_property

_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK a named pipe would hold the thread until someone writes to it.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_THERE = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.ENXIO,
    errno.EINVAL,
}


@dataclass
class Opened:
    """A regular file, open; whoever has it closes it."""

    descriptor: int
    path: str
    size: int
    modified: int
    """Seconds since 1970."""
    coding: str = ""
    """Content coding, when it is the compressed sibling that is open."""
    varies: bool = False
    """Whether there are compressed siblings to choose from."""

    @cached_property
    def etag(self) -> bytes:
        """As nginx makes it, so that both servers mean the same file by the same tag; with the
        coding, where nginx has none, since siblings can be of one size."""
        coding = f"-{self.coding}" if self.coding in ("br", "zstd") else ""
        return b'"%x-%x%b"' % (self.modified, self.size, coding.encode("ascii"))

    @cached_property
    def last_modified(self) -> bytes:
        return formatdate(self.modified, usegmt=True).encode("ascii")

    def read(self, size: int, offset: int) -> bytes:
        return os.pread(self.descriptor, size, offset)

    def close(self) -> None:
        os.close(self.descriptor)


SUFFIXES = {"zstd": ".zst", "br": ".br", "gzip": ".gz"}
"""Content coding to the suffix of a file's compressed sibling; best first."""


def find(root: str, steps: Sequence[str], codings: Sequence[str] = ()) -> Opened | None:
    """Opens the file at ``steps`` below ``root``, or its first sibling in one of ``codings``.

    ``None`` when there is no such regular file. Blocks: call it in a thread. Raises
    :class:`OSError` when it is the system that fails (too many open files).
    """
    if not steps:
        return None
    try:
        parent = _descend(root, steps[:-1])
        try:
            return _open(parent, os.path.join(root, *steps), codings)
        finally:
            os.close(parent)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
    except ValueError:
        # A name that this file system cannot spell.
        pass
    return None


def _descend(root: str, steps: Sequence[str]) -> int:
    here = os.open(root, _DIRECTORY)
    for step in steps:
        try:
            there = os.open(step, _DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
        finally:
            os.close(here)
        here = there
    return here


def _open(parent: int, path: str, codings: Sequence[str]) -> Opened | None:
    name = os.path.basename(path)
    original = _regular(parent, name, path)
    if original is None:
        return None
    original.varies = any(_exists(parent, name + suffix) for suffix in SUFFIXES.values())
    if original.varies:
        for coding in codings:
            suffix = SUFFIXES[coding]
            try:
                sibling = _regular(parent, name + suffix, path + suffix)
            except OSError:
                continue
            if sibling is not None:
                original.close()
                sibling.coding, sibling.varies = coding, True
                return sibling
    return original


def _regular(parent: int, name: str, path: str) -> Opened | None:
    descriptor = os.open(name, _FILE, dir_fd=parent)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        return None
    return Opened(descriptor, path, status.st_size, int(status.st_mtime))


def _exists(parent: int, name: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False
