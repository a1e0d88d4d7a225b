import socket
from pathlib import Path

import pytest

from seawall.errors import ServeError
from seawall.serve.listener import address, listening
from seawall.serve.settings import ServeSettings


def fails(**options: object) -> ServeError:
    with pytest.raises(ServeError) as caught, listening(ServeSettings.model_validate(options)):
        pass
    return caught.value


def test_listens_at_once() -> None:
    with listening(ServeSettings(port=0)) as listener:
        host, port = listener.getsockname()
        assert address(listener) == f"http://127.0.0.1:{port}"
        socket.create_connection((host, port), timeout=10).close()


def test_ipv6() -> None:
    with listening(ServeSettings(host="::1", port=0)) as listener:
        assert address(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_every_interface_of_both_kinds() -> None:
    with listening(ServeSettings(host="::", port=0)) as listener:
        port = listener.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=10).close()


def test_localhost_is_reachable_as_ipv4() -> None:
    with listening(ServeSettings(host="localhost", port=0)) as listener:
        assert address(listener).startswith("http://127.0.0.1:")


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = fails(port=port)
        assert error.message == f"port {port} on 127.0.0.1 is in use"
        assert error.hint == f"--port {port + 1}"


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("192.0.2.1", "192.0.2.1 is no address of this machine"),
        ("nosuch.invalid", "'nosuch.invalid' is no host of this machine"),
        ("http://localhost", "'http://localhost' is no host of this machine"),
        ("a" * 70, f"'{'a' * 70}' is no host of this machine"),
    ],
)
def test_host_that_is_none(host: str, message: str) -> None:
    assert fails(host=host, port=0).message == message


def test_unix_socket_comes_and_goes(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with listening(ServeSettings(uds=str(path))) as listener:
        assert address(listener) == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o666
    assert not path.exists()


def test_unix_socket_that_is_stale(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with listening(ServeSettings(uds=str(path))), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_unix_socket_in_use(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with listening(ServeSettings(uds=str(path))):
        assert fails(uds=str(path)).message == f"{path} is in use by another server"
        assert path.is_socket()


def test_unix_socket_taken_over_by_another_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with listening(ServeSettings(uds=str(path))):
        path.unlink()
        other = socket.socket(socket.AF_UNIX)
        other.bind(str(path))
        other.listen()
    with other:
        assert path.is_socket()


def test_path_that_cannot_be_a_socket(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    assert fails(uds=str(file)).message == f"{file} is there already, and is no socket"
    assert file.read_text() == "precious"
    assert "No such file" in fails(uds=str(tmp_path / "nosuch" / "app.sock")).message
    assert "Not a directory" in fails(uds=str(file / "app.sock")).message
    assert "too long" in fails(uds=str(tmp_path / ("x" * 120))).message
