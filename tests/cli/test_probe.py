import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.deployment import EXAMPLE
from tests.servers.process import DEADLINE, SEAWALL, free_ports, running, seawall


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The example under `seawall serve` on loopback, and its URL."""
    directory = tmp_path_factory.mktemp("direct")
    for name in ("main.py", "pyproject.toml"):
        shutil.copy(EXAMPLE / name, directory)
    (port,) = free_ports(1)
    with running(
        [SEAWALL, "serve", "--port", str(port)],
        listens=[("127.0.0.1", port)],
        log=directory / "app.log",
        cwd=directory,
    ):
        yield directory, f"http://127.0.0.1:{port}"


def test_a_good_site_has_no_findings(served: tuple[Path, str]) -> None:
    directory, url = served
    done = seawall("probe", url, cwd=directory)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    *checks, last = done.stderr.splitlines()
    assert "timing ... ok" in checks
    assert last.startswith(f"{url}: no findings in ")


def test_findings_are_exit_1_in_text_and_json(served: tuple[Path, str]) -> None:
    directory, url = served
    wrong = ("--set", "timing.header=X-Other", "--set", "https.redirect=true")
    text = seawall("probe", url, *wrong, cwd=directory)
    assert text.returncode == 1
    assert "error: timing.missing: GET / has no X-Other header" in text.stdout
    assert "timing ... 2 errors" in text.stderr
    done = seawall("probe", url, *wrong, "--format", "json", cwd=directory)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert {one["id"] for one in found} == {"timing.missing", "https.plain"}
    assert {one["level"] for one in found} == {"error"}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("example.com", "is not a site's URL"),
        ("http://seawall-test.invalid", "no address is known"),
        ("https://{address}", "it speaks plain http"),
    ],
)
def test_a_site_that_cannot_be_asked_is_one_line_and_exit_2(
    served: tuple[Path, str], url: str, said: str
) -> None:
    directory, address = served
    url = url.format(address=address.removeprefix("http://"))
    done = seawall("probe", url, cwd=directory)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = [one for one in done.stderr.splitlines() if not one.startswith("note: ")]
    assert said in line


def test_it_runs_without_any_app(served: tuple[Path, str], tmp_path: Path) -> None:
    _, url = served
    done = seawall("probe", url, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "no app was found" in done.stderr


def test_a_site_that_refuses_its_own_name_is_not_fine(served: tuple[Path, str]) -> None:
    directory, url = served
    # Another name for the same address, which the example does not list.
    other = url.replace("127.0.0.1", "127.0.0.2")
    done = seawall(
        "probe", other, "--connect", url.removeprefix("http://"), "--format", "json", cwd=directory
    )
    assert done.returncode == 1, done.stderr
    (found,) = [one for one in json.loads(done.stdout) if one["id"] == "hosts.refused"]
    assert found["message"] == "GET / over http with the URL's own host answers 400"


def test_ctrl_c_does_not_wait_for_a_silent_site(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        port = silent.getsockname()[1]
        command = [SEAWALL, "probe", f"http://127.0.0.1:{port}", "--timeout", "600"]
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process:
            try:
                silent.settimeout(DEADLINE)
                # The first connection is the greeting; the second one asks, and waits.
                held = [silent.accept() for _ in range(2)]
                process.send_signal(signal.SIGINT)
                assert process.wait(DEADLINE) == 130
            finally:
                process.kill()
        for connection, _ in held:
            connection.close()
