"""The listening socket, bound before any process is started, so that a fault is one line.

It listens at once: connections that arrive while workers start wait instead of failing.
"""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seawall.errors import ServeError
from seawall.serve.settings import ServeSettings

BACKLOG = 2048


@contextmanager
def listening(settings: ServeSettings) -> Iterator[socket.socket]:
    """A listening socket for as long as the block runs: ``uds`` when set, else host and port.

    A unix socket's file goes with it. Raises :class:`seawall.errors.ServeError`.
    """
    path = Path(settings.uds).absolute() if settings.uds else None
    listener = _unix(path) if path else _tcp(settings.host, settings.port)
    try:
        yield listener
    finally:
        listener.close()
        # The file may belong to a server that took our place by now: that one answers.
        if path is not None and path.is_socket() and not _answers(path):
            path.unlink(missing_ok=True)


def address(listener: socket.socket) -> str:
    """Where it listens, as people write it: ``http://127.0.0.1:8000``, ``unix:/run/app.sock``."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"


def _tcp(host: str, port: int) -> socket.socket:
    # RFC 6761, section 6.3: the name is loopback, even where no file of hosts says so.
    address = "127.0.0.1" if host == "localhost" else host
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # A name may have two addresses; clients that know one know the IPv4 one.
        family, _, _, _, where = min(found, key=lambda one: one[0] != socket.AF_INET)
        dual = family == socket.AF_INET6 and where[0] == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(
            where[:2],
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=dual,
        )
    except (socket.gaierror, UnicodeError):
        raise ServeError(
            f"{host!r} is no host of this machine",
            hint="--host 127.0.0.1, or 0.0.0.0 for every interface",
        ) from None
    except OSError as error:
        raise _refused(error, host, port) from None


def _refused(error: OSError, host: str, port: int) -> ServeError:
    if error.errno == errno.EADDRINUSE:
        other = port + 1 if port < 65535 else 8000
        return ServeError(f"port {port} on {host} is in use", hint=f"--port {other}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return ServeError(
            f"port {port} on {host} is for privileged processes",
            hint="take a port from 1024 on behind a proxy, or grant CAP_NET_BIND_SERVICE",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return ServeError(
            f"{host} is no address of this machine",
            hint="--host 127.0.0.1, or 0.0.0.0 for every interface",
        )
    return ServeError(f"cannot listen on {host}, port {port}: {os.strerror(error.errno or 0)}")


def _unix(path: Path) -> socket.socket:
    _make_way(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        # The proxy runs as a user of its own; who may reach the socket is the directory's word.
        path.chmod(0o666)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        hints = {None: "use a shorter path", errno.ENOENT: f"make it: mkdir -p {path.parent}"}
        hint = hints.get(error.errno, f"see that {path.parent} is writable")
        raise ServeError(f"cannot listen on {path}: {reason}", hint=hint) from None
    return listener


def _make_way(path: Path) -> None:
    """Removes the socket of a server that is gone; refuses to touch anything else."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    if not stat.S_ISSOCK(mode):
        raise ServeError(f"{path} is there already, and is no socket", hint="choose another --uds")
    if _answers(path):
        raise ServeError(f"{path} is in use by another server", hint="stop it, or choose another")
    path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            # Full, or not ours to ask: somebody is there.
            return True
    return True
