from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware

from seawall import check
from seawall.findings import Level
from seawall.front import settings_of
from seawall.settings import load

GOOD: dict[str, Any] = {
    "https": True,
    "hosts": {"allowed_hosts": ["example.com"]},
    "cors": {"allow_origins": ["https://example.com"]},
}


class Plain:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def settings(**more: Any) -> Any:
    return load({**GOOD, **more}, environ={}, directory="/")


def ids(app: Any = None, **more: Any) -> list[str]:
    return [one.id for one in check.run(settings(**more), app)]


def test_good_settings_are_clean() -> None:
    assert ids() == []
    assert ids(FastAPI(openapi_url=None)) == []
    assert ids(Starlette()) == []


def test_policies_audit_themselves_and_name_the_source() -> None:
    flags = {"proxy.trusted": ("*", "--set")}
    tree = load(GOOD, flags=flags, environ={}, directory="/")
    [found] = check.run(tree)
    assert (found.id, found.source) == ("proxy.open", "--set")
    [found] = check.run(tree, origin=lambda key: f"the source of {key}")
    assert found.source == "the source of proxy.trusted"


@pytest.mark.parametrize(
    ("section", "options", "id"),
    [
        ("tasks", {"enabled": False}, "tasks.off"),
        ("tasks", {"worker": False}, "tasks.idle"),
        ("tasks", {"url": "sqlite:////tmp/x.db"}, "tasks.volatile"),
        ("serve", {"keep_alive": 5}, "serve.keep-alive"),
        ("serve", {"reload": True}, "serve.reload"),
    ],
)
def test_settings_that_no_policy_owns(section: str, options: dict[str, Any], id: str) -> None:
    [found] = check.run(settings(**{section: options}))
    assert (found.id, found.source) == (id, "argument")


def test_an_app_in_debug_mode_with_docs() -> None:
    assert ids(FastAPI(debug=True)) == ["app.debug", "app.docs"]


def test_an_app_of_another_kind() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    assert ids(app) == ["app.plain"]


def test_middleware_that_is_not_absorbed() -> None:
    app = FastAPI(openapi_url=None)
    app.add_middleware(CORSMiddleware, allow_origins=["https://example.com"])
    app.add_middleware(Plain)

    @app.middleware("http")
    async def slow(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    class Own(BaseHTTPMiddleware): ...

    app.add_middleware(Own)
    settings_of(app)
    found = {
        (one.id, one.message.split()[0].rpartition(".")[2]) for one in check.run(settings(), app)
    }
    assert found == {
        ("app.base-middleware", "Own"),
        ("app.base-middleware", "slow"),
        ("app.middleware", "Plain"),
    }
    [source] = {one.source for one in check.run(settings(), app) if "slow" in one.message}
    assert __file__ in source


def test_every_finding_has_a_documented_rule() -> None:
    app = FastAPI(debug=True)
    bad = load(
        {
            "proxy": {"trusted": ["*"]},
            "cors": {"allow_origins": ["null"], "allow_origin_regex": "https://a.b"},
            "static": {"mounts": {"/static": "/nosuch"}},
            "tasks": {"url": "sqlite:////tmp/x.db", "worker": False},
            "serve": {"keep_alive": 1, "reload": True},
        },
        environ={},
        directory="/",
    )
    found = check.run(bad, app)
    documented = {rule.id: rule for rule in check.rules()}
    assert len(found) >= 9
    for one in found:
        assert documented[one.id].level is one.level
    assert {Level.ERROR, Level.WARNING, Level.NOTE} == {one.level for one in found}
