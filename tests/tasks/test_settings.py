from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from seawall.errors import Hinted
from seawall.tasks import TasksSettings


def test_the_defaults_are_sound() -> None:
    settings = TasksSettings()
    assert settings.enabled
    assert settings.url == "sqlite:///seawall.db"


def test_every_setting_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs/tasks.md").read_text("utf-8")
    for name, field in TasksSettings.model_fields.items():
        assert field.description, name
        assert f"| `{name}` |" in page


@pytest.mark.parametrize(
    ("url", "message", "hint"),
    [
        ("mongodb://user:secret@host/db", "no task store is called 'mongodb'", "sqlite:///"),
        ("seawall.db", "not a URL", "sqlite:///"),
        ("sqlite://seawall.db", "names no file", "four slashes"),
        ("sqlite:///", "names no file", "four slashes"),
        ("sqlite:///:memory:", "memory does not survive", "seawall.db"),
        ("sqlite:///a.db?mode=ro", "has options", "leave out"),
        ("sqlite:///a\0.db", "a character that none may have", "leave it out"),
        ("sqlite:///a\udcff.db", "a character that none may have", "leave it out"),
    ],
)
def test_a_url_that_names_no_store(url: str, message: str, hint: str) -> None:
    with pytest.raises(ValidationError) as error:
        TasksSettings(url=url)
    (fault,) = error.value.errors()
    reason = fault["ctx"]["error"]
    assert isinstance(reason, Hinted)
    assert message in str(reason)
    assert hint in reason.hint
    assert "secret" not in f"{reason}{reason.hint}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"lease": 0},
        {"retries": -1},
        {"drain": -1},
        {"retention": -1},
        {"retries": 99999999999999999999},
        {"lease": float("nan")},
        {"drain": float("inf")},
        {"drain": float("nan")},
        {"retention": float("inf")},
        {"retention": 1e300},
        {"undurable": "ignore"},
        {"nosuch": 1},
    ],
)
def test_senseless_values(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TasksSettings(**wrong)
