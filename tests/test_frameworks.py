"""The same settings in front of other frameworks, served for real: Seawall needs ASGI alone."""

from pathlib import Path

import pytest

from tests.serve.running import serving

SETTINGS = """
[tool.seawall]
https = true
[tool.seawall.hosts]
allowed_hosts = ["example.com", "localhost", "127.0.0.1"]
[tool.seawall.cors]
allow_origins = ["https://app.example"]
"""

FRAMEWORKS = {
    "fastapi": """
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def root():
    return {"hello": "world"}


@app.get("/broken")
def broken():
    raise RuntimeError("secret")
""",
    "starlette": """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route


async def root(request):
    return JSONResponse({"hello": "world"})


async def broken(request):
    raise RuntimeError("secret")


app = Starlette(routes=[Route("/", root), Route("/broken", broken)])
""",
    "litestar": """
from litestar import Litestar, get


@get("/")
async def root() -> dict[str, str]:
    return {"hello": "world"}


@get("/broken")
async def broken() -> None:
    raise RuntimeError("secret")


app = Litestar([root, broken])
""",
    "quart": """
from quart import Quart

app = Quart(__name__)


@app.get("/")
async def root():
    return {"hello": "world"}


@app.get("/broken")
async def broken():
    raise RuntimeError("secret")
""",
    "django": """
import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import JsonResponse
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="test")


def root(request):
    return JsonResponse({"hello": "world"})


def broken(request):
    raise RuntimeError("secret")


urlpatterns = [path("", root), path("broken", broken)]
app = get_asgi_application()
""",
    "plain asgi": """
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("http only")
    if scope["path"] == "/broken":
        raise RuntimeError("secret")
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"hello":"world"}'})
""",
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_policy_holds(framework: str, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(FRAMEWORKS[framework])
    (tmp_path / "pyproject.toml").write_text(SETTINGS)
    with serving("main:app", "--port", "0", cwd=tmp_path) as served:
        reply = served.get("/", origin="https://app.example")
        assert reply.json() == {"hello": "world"}
        assert float(reply.headers["x-process-time"]) >= 0
        assert reply.headers["x-request-id"]
        assert reply.headers["access-control-allow-origin"] == "https://app.example"
        broken = served.get("/broken", origin="https://app.example")
        assert broken.status_code == 500
        assert "secret" not in broken.text
        assert broken.headers["access-control-allow-origin"] == "https://app.example"
        assert broken.headers["x-process-time"]
        assert served.get("/", host="evil.example").status_code == 400
        moved = served.get("/a%2Fb?c=d", host="example.com")
        assert moved.headers["location"] == "https://example.com/a%2Fb?c=d"
        assert served.get("/readyz").json() == {"status": "ok"}
