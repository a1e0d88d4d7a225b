from pathlib import Path

import pytest
from pydantic import ValidationError

from seawall.policies import Static
from seawall.policies.policy import Audit


def test_a_missing_directory_is_found(tmp_path: Path) -> None:
    static = Static(mounts={"/static": str(tmp_path), "/media": str(tmp_path / "nowhere")})
    findings = list(static.audit(Audit(origin=lambda key: f"from {key}")))
    assert [finding.id for finding in findings] == ["static.missing"]
    assert "/media" in findings[0].message
    assert findings[0].source == "from static.mounts"


@pytest.mark.parametrize(
    "mounts", [{"static": "x"}, {"/": "x"}, {"/a b": "x"}, {"/static": 'x"; return 200 "'}]
)
def test_bad_mounts_are_refused(mounts: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Static(mounts=mounts)


def test_a_trailing_slash_is_the_same_mount() -> None:
    assert Static(mounts={"/static/": "x"}).mounts == {"/static": "x"}
