"""Results that cannot be written are one line and exit 2, never findings nor a traceback."""

import subprocess
from pathlib import Path

import pytest

from tests.serve.running import COMMAND, environment


def shell(line: str, cwd: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=cwd,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", ["config", "config serve", "--help"])
def test_a_full_disk(tmp_path: Path, command: str) -> None:
    ended = shell(f"{COMMAND} {command} >/dev/full", tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.endswith("error: stdout: No space left on device\n")
    assert "Traceback" not in ended.stderr
    silent = shell(f"{COMMAND} {command} >/dev/full 2>/dev/full", tmp_path)
    assert silent.returncode == 2


def test_a_terminal_that_lacks_the_letters(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.seawall.static.mounts]\n'/static' = '\u00fcber'", "utf-8"
    )
    ended = shell(f"{COMMAND} config static", tmp_path, PYTHONIOENCODING="ascii")
    assert ended.returncode == 2
    assert "error: stdout is ascii, which has no '\\xfc' (use a UTF-8" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_reader_that_has_read_enough(tmp_path: Path) -> None:
    ended = shell(f"{COMMAND} config | true", tmp_path)
    assert ended.stderr in ("", "note: settings of the project (no app was found)\n")


def test_no_stdout_at_all(tmp_path: Path) -> None:
    assert shell(f"{COMMAND} config serve >&-", tmp_path).returncode == 0
