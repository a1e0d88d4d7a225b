import os
import stat
from pathlib import Path

import pytest

from seawall.errors import RenderError
from seawall.render.files import difference, write


def test_writes_once(tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    assert write(path, "a\n")
    assert not write(path, "a\n")
    assert path.read_text() == "a\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_leaves_a_changed_file_alone_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text("mine\n")
    path.chmod(0o600)
    with pytest.raises(RenderError, match="left as it is") as error:
        write(path, "a\n")
    assert "--force" in error.value.hint
    assert path.read_text() == "mine\n"
    assert write(path, "a\n", force=True)
    assert path.read_text() == "a\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "real.conf", tmp_path / "nginx.conf"
    target.write_text("old\n")
    link.symlink_to(target)
    write(link, "new\n", force=True)
    assert link.is_symlink()
    assert target.read_text() == "new\n"


def test_the_difference_is_a_unified_diff(tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text("a\nb\n")
    assert difference(path, "a\nb\n") == ""
    assert difference(path, "a\nc\n").splitlines()[2:] == ["@@ -1,2 +1,2 @@", " a", "-b", "+c"]


def test_what_cannot_be_read_or_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="no such file"):
        difference(tmp_path / "missing", "a")
    with pytest.raises(RenderError, match="Is a directory"):
        difference(tmp_path, "a")
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(RenderError, match="not UTF-8"):
        write(tmp_path / "binary", "a")
    with pytest.raises(RenderError, match="cannot be written: No such file"):
        write(tmp_path / "no" / "nginx.conf", "a")


def test_what_is_no_file_is_refused_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for act in (difference, write):
        with pytest.raises(RenderError, match="not a regular file") as error:
            act(tmp_path / "pipe", "a")
        assert "stdout" in error.value.hint
    with pytest.raises(RenderError, match="not a regular file"):
        write(Path("/dev/null"), "a", force=True)
