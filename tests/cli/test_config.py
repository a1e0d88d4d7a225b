import json
from pathlib import Path

import pytest

from seawall.cli.values import masked, shown
from seawall.settings import load
from tests.serve.running import run

TOML = """
[tool.seawall.cors]
allow_origins = ["https://example.com"]
max_age = 60
"""


def test_every_setting_with_its_source(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(TOML)
    env = {"SEAWALL_HTTPS": "true", "PORT": "5000"}
    ended = run("config", "--set", "timing.header=X-Took", cwd=tmp_path, env=env)
    assert ended.returncode == 0
    rows = dict(line.split(" = ", 1) for line in ended.stdout.splitlines())
    rows = {key.rstrip(): " ".join(rest.split()) for key, rest in rows.items()}
    assert rows["cors.max_age"] == "60 # pyproject.toml"
    assert rows["cors.allow_origins"] == '["https://example.com"] # pyproject.toml'
    assert rows["cors.allow_origin_regex"] == "none # default"
    assert rows["https.enabled"] == "true # SEAWALL_HTTPS"
    assert rows["serve.port"] == "5000 # PORT"
    assert rows["timing.header"] == '"X-Took" # --set'
    assert set(rows) == {key for key, _, _ in load(environ={}, directory="/").items()}


def test_aligned(tmp_path: Path) -> None:
    lines = run("config", "https", cwd=tmp_path).stdout.splitlines()
    assert len({line.index(" = ") for line in lines}) == 1
    assert len({line.index("  # ") for line in lines}) == 1


def test_a_section_a_setting_and_what_is_changed(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(TOML)
    section = run("config", "cors", cwd=tmp_path).stdout.splitlines()
    assert len(section) > 3
    assert all(line.startswith("cors.") for line in section)
    [one] = run("config", "cors.max_age", cwd=tmp_path).stdout.splitlines()
    assert one == "cors.max_age = 60  # pyproject.toml"
    changed = run("config", "--changed", cwd=tmp_path).stdout.splitlines()
    assert [line.split()[0] for line in changed] == [
        "cors.enabled",
        "cors.allow_origins",
        "cors.max_age",
    ]


def test_json(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(TOML)
    told = json.loads(run("config", "cors", "--format", "json", cwd=tmp_path).stdout)
    assert told["cors.allow_origins"] == {
        "value": ["https://example.com"],
        "source": "pyproject.toml",
    }


def test_what_the_apps_code_says(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "from fastapi import FastAPI\n"
        "from seawall import Seawall\n"
        "from starlette.middleware.gzip import GZipMiddleware\n"
        "app = FastAPI()\n"
        "Seawall(app, tasks=False)\n"
        "app.add_middleware(GZipMiddleware, minimum_size=9)\n"
    )
    ended = run("config", "--changed", cwd=tmp_path)
    assert ended.stderr == "note: settings of main:app (found main.py)\n"
    lines = [" ".join(line.split()) for line in ended.stdout.splitlines()]
    assert "tasks.enabled = false # argument" in lines
    assert "compression.minimum_size = 9 # GZipMiddleware on the app" in lines


def test_an_app_that_does_not_import_hides_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("app = nosuch\n")
    ended = run("config", "https.port", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "https.port = 443  # default\n")
    assert "NameError" in ended.stderr


def test_a_setting_that_is_none(tmp_path: Path) -> None:
    ended = run("config", "corz", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.endswith(
        "error: corz: no such setting [from argument] (did you mean 'cors'?)\n"
    )


@pytest.mark.parametrize(
    ("key", "value", "safe"),
    [
        ("tasks.url", "sqlite:///seawall.db", "sqlite:///seawall.db"),
        ("tasks.url", "postgres://me:pa55@db/x", "postgres://me:***@db/x"),
        ("tasks.url", "redis://:p:a@db/0", "redis://:***@db/0"),
        ("tasks.url", "pg://db/x?password=a&ssl=1", "pg://db/x?password=***&ssl=1"),
        ("dashboard.token", "abc", "***"),
        ("dashboard.token", "", ""),
        ("cors.allow_origins", ("https://example.com",), ["https://example.com"]),
        ("x.y", {"password": "p", "a": 1}, {"password": "***", "a": 1}),
    ],
)
def test_secrets_are_masked(key: str, value: object, safe: object) -> None:
    assert masked(key, value) == safe


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "true"),
        (1.5, "1.5"),
        ('a"b', '"a\\"b"'),
        (("a", 1), '["a", 1]'),
        ({}, "{}"),
        ({"/s": "d"}, '{ "/s" = "d" }'),
    ],
)
def test_values_as_toml_writes_them(value: object, text: str) -> None:
    assert shown(value) == text
