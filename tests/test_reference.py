"""The generated pages are fresh, and every command is documented."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from seawall import check, probe
from seawall.cli import app

ROOT = Path(__file__).parents[1]


def _commands(command: Any, name: str) -> list[tuple[str, Any]]:
    below = getattr(command, "commands", {})
    found = [] if below else [(name, command)]
    return found + [one for key, sub in below.items() for one in _commands(sub, f"{name} {key}")]


COMMANDS = _commands(typer.main.get_command(app), "seawall")


def test_the_pages_are_fresh() -> None:
    ended = subprocess.run(
        [sys.executable, "scripts/reference.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == ("", 0), ended.stderr


def test_rule_ids_are_well_formed_and_said_once() -> None:
    rules = (*check.rules(), *probe.RULES)
    ids = [rule.id for rule in rules]
    assert len(ids) == len(set(ids))
    for rule in rules:
        assert re.fullmatch(r"[a-z_]+(\.[a-z0-9-]+)+", rule.id), rule.id
        assert rule.why
        assert rule.fix


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_is_documented(name: str, command: Any) -> None:
    assert name in (ROOT / "docs" / "cli.md").read_text()
    assert command.help
    undocumented = [one.name for one in command.params if not getattr(one, "help", "")]
    assert not undocumented
