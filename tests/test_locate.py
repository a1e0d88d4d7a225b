import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seawall.errors import AppError, SettingsError
from seawall.locate import PLACES, discover, locate

APP = "async def app(scope, receive, send): ...\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes files into a project of its own, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)

    def put(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path.joinpath(*name.split("__")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    yield put
    for name in set(sys.modules) - known:
        del sys.modules[name]


def fails(name: str, *, factory: bool = False) -> AppError:
    with pytest.raises(AppError) as caught:
        locate(name, factory=factory)
    return caught.value


def test_named(write: Write) -> None:
    root = write(shop=APP)
    found = locate("shop:app")
    assert found.app is sys.modules["shop"].app
    assert (found.name, found.source, found.directory) == ("shop:app", "argument", root)


def test_module_alone(write: Write) -> None:
    write(shop=APP.replace("app", "api"))
    assert locate("shop").name == "shop:api"


def test_attribute_of_an_attribute(write: Write) -> None:
    write(shop=APP + "class site: inner = staticmethod(app)\n")
    assert locate("shop:site.inner").app is sys.modules["shop"].app


def test_file(write: Write) -> None:
    root = write(sites__shop__main=APP)
    found = locate("sites/shop/main.py")
    assert (found.name, found.directory) == ("main:app", root / "sites" / "shop")


def test_file_in_a_package_is_imported_by_its_full_name(write: Write) -> None:
    (write(code__shop__web__main="from ..base import app\n", code__shop__base=APP)).joinpath(
        "code/shop/__init__.py"
    ).touch()
    Path("code/shop/web/__init__.py").touch()
    found = locate("code/shop/web/main.py:app")
    assert (found.name, found.directory) == ("shop.web.main:app", Path("code").resolve())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("root", ["", "src/"])
def test_discovers(write: Write, place: str, root: str) -> None:
    write(**{root.replace("/", "__") + place.replace(".", "__"): APP})
    found = locate("")
    assert found.name == f"{place}:app"
    assert found.source == f"found {root}{place.replace('.', '/')}.py"
    # The name and the directory locate it again, as worker processes do.
    assert locate(found.name, directory=found.directory).app is found.app


def test_discovers_a_package(write: Write) -> None:
    package = write() / "app"
    package.mkdir()
    (package / "__init__.py").write_text(APP)
    assert locate("").source == "found app/__init__.py"


def test_discovery_runs_no_unrelated_script(write: Write) -> None:
    write(manage="raise SystemExit('ran')\n", main="x = 1\n", asgi=APP)
    assert locate("").name == "asgi:app"


def test_discovery_passes_over_what_is_no_app(write: Write) -> None:
    write(main="app = 'a string'\n", asgi=APP)
    assert locate("").name == "asgi:app"


def test_discovery_tells_a_broken_file(write: Write) -> None:
    write(main="app = 1 / 0\n", asgi=APP)
    assert fails("").message == "main.py, line 1: ZeroDivisionError: division by zero"


def test_nothing_to_discover(write: Write) -> None:
    root = write()
    assert discover() is None
    assert fails("").message == f"no app found in {root}"


def test_factory(write: Write) -> None:
    write(shop=APP + "def create_app(): return app\ndef needs(x): return app\n")
    assert locate("shop:create_app", factory=True).app is sys.modules["shop"].app
    assert locate("shop", factory=True).name == "shop:create_app"
    assert fails("shop:create_app").hint == "if it makes the app: --factory"
    assert "cannot be called without arguments" in fails("shop:needs", factory=True).message
    assert fails("shop:app", factory=True).hint == "leave --factory out"


def test_factory_is_discovered(write: Write) -> None:
    write(main=APP.replace("app", "inner") + "def create_app(): return inner\n")
    assert discover() is None
    assert locate("", factory=True).name == "main:create_app"


def test_factory_that_fails(write: Write) -> None:
    write(shop="def create_app():\n    raise KeyError('DATABASE_URL')\n")
    error = fails("shop:create_app", factory=True)
    assert error.message == "shop.py, line 2: KeyError: 'DATABASE_URL'"


def test_module_that_is_missing(write: Write) -> None:
    root = write(main=APP)
    error = fails("mian:app")
    assert error.message == f"there is no module 'mian' in {root}"
    assert error.hint == "did you mean 'main'?"
    assert fails("zzz.main").message == f"there is no module 'zzz' in {root}"
    assert fails("zzz/main.py").message.endswith(f"there is no file {root / 'zzz' / 'main.py'}")


@pytest.mark.parametrize("name", [".", "..main", ":app"])
def test_name_that_is_none(write: Write, name: str) -> None:
    write(main=APP)
    assert "is not the name of a module" in fails(name).message


def test_import_inside_that_is_missing(write: Write) -> None:
    write(main="import os\nimport helper\n", helper="import nosuchpackage\n")
    error = fails("main:app")
    assert error.message == "helper.py, line 1: imports 'nosuchpackage', which is not installed"


def test_attribute_that_is_missing(write: Write) -> None:
    write(main=APP)
    error = fails("main:ap")
    assert (error.message, error.hint) == ("main has no attribute 'ap'", "did you mean 'app'?")
    write(other=APP.replace("app", "website"))
    assert fails("other:zzz").hint == "it has: website"
    error = fails("other")
    assert (error.message, error.hint) == (
        "other has no app or application or api",
        "name it: other:website",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("app = 'x'\n", "main:app is a str, not an ASGI app"),
        ("class app: ...\n", "main:app is the class app, not an ASGI app"),
        ("def app(environ, start): ...\n", "main:app is a function, not an ASGI app"),
    ],
)
def test_attribute_that_is_no_app(write: Write, text: str, message: str) -> None:
    write(main=text)
    assert fails("main:app").message == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", "main.py, line 1: SyntaxError: invalid syntax"),
        ("import json\njson.loads('{')\n", "main.py, line 2: JSONDecodeError: "),
        ("raise ValueError('two\\nlines')\n", "main.py, line 1: ValueError: two lines"),
        ("raise TypeError\n", "main.py, line 1: TypeError"),
        ("raise SystemExit(0)\n", "main.py, line 1: ended the process while it was imported"),
        ("from json import nosuch\n", "main.py, line 1: ImportError: cannot import name"),
    ],
)
def test_module_that_fails(write: Write, text: str, message: str) -> None:
    write(main=text)
    error = fails("main:app")
    assert error.message.startswith(message)
    assert "\n" not in str(error)


def test_own_errors_pass_through(write: Write) -> None:
    write(
        main="from fastapi import FastAPI\nfrom seawall import Seawall\n"
        "Seawall(FastAPI(), cors={'allow_origins': ['https://example.com/']})\n"
    )
    with pytest.raises(SettingsError, match=r"cors\.allow_origins"):
        locate("main:app")
