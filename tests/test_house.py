"""Who may import whom. The rooms and rules are docs/design.md's."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "seawall"
GROUND = {"section", "errors", "findings"}
MAY: dict[str, set[str]] = {
    "section": {"errors"},
    "errors": set(),
    "findings": set(),
    "policies": GROUND,
    "tasks": GROUND,
    "serve": GROUND,
    "edge": {"policies"},
    "render": GROUND | {"policies", "settings"},
    "settings": GROUND | {"policies", "tasks", "serve", "render"},
    "check": GROUND | {"policies", "settings", "tasks", "render"},
    "probe": GROUND | {"policies", "settings"},
    "locate": GROUND,
    "logging": {"policies"},
    "middleware": {"edge", "policies", "settings"},
    "absorb": {"middleware"},
    "handlers": {"policies"},
    "closed": {"policies"},
    "dashboard": GROUND | {"tasks"},
    "app": GROUND
    | {"edge", "tasks", "dashboard", "policies", "settings", "absorb", "closed", "handlers"},
    "front": GROUND | {"absorb", "app", "edge", "locate", "settings", "policies"},
    "entry": {"errors", "front", "serve"},
    "__main__": {"cli"},
    "__init__": {"app", "edge", "errors", "policies"},
}
FRAMEWORKS = {"starlette", "fastapi", "uvicorn", "pydantic_settings"}


def imports(path: Path) -> set[str]:
    """Dotted names that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "seawall":
                found |= {f"seawall.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
    return found


MODULES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_rooms_import_only_what_they_may(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if room == "cli":
        return
    assert room in MAY, f"{room} is a new room: say in tests/test_house.py whom it may import"
    for name in imports(path):
        if name.startswith("seawall."):
            other = name.split(".")[1]
            # A section of settings is ground for the tree that gathers them.
            assert other == room or other in MAY[room], f"{room} imports {name}"


@pytest.mark.parametrize("room", ["policies", "edge"])
def test_the_request_path_knows_no_framework(room: str) -> None:
    for path in (SOURCE / room).rglob("*.py"):
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & FRAMEWORKS, path


def test_policies_do_not_import_each_other() -> None:
    from seawall.policies import POLICIES

    tabled = {kind.__module__ for kind in POLICIES}
    for module in tabled:
        path = SOURCE / "policies" / f"{module.rpartition('.')[2]}.py"
        assert not imports(path) & tabled, path


def test_siblings_in_a_table_do_not_import_each_other() -> None:
    """``sqlite_file.py`` beside ``sqlite.py`` is the same engine; ``target.py`` is the contract."""
    for folder in ("serve/servers", "render/targets", "tasks/engines"):
        dotted = f"seawall.{folder.replace('/', '.')}."
        for path in (SOURCE / folder).glob("*.py"):
            mine = {path.stem.split("_")[0], "target"}
            for name in imports(path) if path.stem != "__init__" else ():
                other = name.removeprefix(dotted).split(".")[0].split("_")[0]
                assert not name.startswith(dotted) or other in mine, f"{path} imports {name}"


def test_files_stay_small() -> None:
    long = {
        str(p.relative_to(SOURCE)): n
        for p in MODULES
        if (n := len(p.read_text().splitlines())) > 350
    }
    assert not long, "each file is one noun; which room is missing?"
