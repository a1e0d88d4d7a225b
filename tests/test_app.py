"""``Seawall(app)`` on real FastAPI and Starlette apps, over their own test client."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from seawall import Seawall, request_id
from seawall.errors import SettingsError, StoreError
from seawall.policies import Compression, Cors, Hosts, Https

A = "https://a.example"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(**settings: Any) -> tuple[FastAPI, Seawall]:
    app = FastAPI()
    seawall = Seawall(app, **{"tasks": False, **settings})

    @app.get("/")
    async def root() -> dict[str, str]:
        return {"id": request_id()}

    @app.get("/sync")
    def sync() -> dict[str, str]:
        return {"id": request_id()}

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("secret")

    @app.get("/items/{number}")
    async def item(number: int) -> None:
        raise HTTPException(404, "No such item", headers={"X-Why": "gone"})

    @app.get("/odd")
    async def odd() -> None:
        raise HTTPException(409, {"code": 7})

    return app, seawall


def client(app: Any, **options: Any) -> TestClient:
    return TestClient(app, raise_server_exceptions=False, **options)


def test_an_unhandled_error_has_every_header_and_a_problem_body() -> None:
    app, _ = make(cors={"allow_origins": [A]})
    reply = client(app).get("/broken", headers={"origin": A})
    assert reply.status_code == 500
    assert reply.headers["access-control-allow-origin"] == A
    assert float(reply.headers["x-process-time"]) >= 0
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["request_id"] == reply.headers["x-request-id"]
    assert "secret" not in reply.text


def test_starlettes_own_cors_loses_its_headers_on_an_unhandled_error() -> None:
    app = FastAPI()
    app.add_middleware(CORSMiddleware, allow_origins=[A])

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError

    reply = client(app).get("/broken", headers={"origin": A})
    assert "access-control-allow-origin" not in reply.headers


def test_http_exceptions_and_validation_errors_are_problems() -> None:
    app, _ = make()
    reply = client(app).get("/items/1")
    assert (reply.status_code, reply.headers["x-why"]) == (404, "gone")
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["detail"] == "No such item"
    assert client(app).get("/nowhere").json()["title"] == "Not Found"
    reply = client(app).post("/")
    assert (reply.status_code, reply.json()["title"]) == (405, "Method Not Allowed")
    assert reply.headers["allow"] == "GET"
    assert client(app).get("/odd").json()["errors"] == {"code": 7}
    reply = client(app).get("/items/x")
    assert reply.status_code == 422
    (fault,) = reply.json()["errors"]
    assert (fault["in"], fault["parameter"], fault["code"]) == ("path", "number", "int_parsing")


def test_the_old_shape_of_validation_errors_can_be_kept() -> None:
    app, _ = make(problems={"shape": "fastapi"})
    assert client(app).get("/items/x").json()["detail"][0]["loc"] == ["path", "number"]


def test_the_apps_own_handlers_stand() -> None:
    app = FastAPI()
    Seawall(app, tasks=False)

    @app.exception_handler(Exception)
    async def own(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"own": True}, 500)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError

    assert client(app).get("/broken").json() == {"own": True}


def test_the_request_id_reaches_sync_and_async_endpoints() -> None:
    app, _ = make()
    for path in ("/", "/sync"):
        reply = client(app).get(path)
        assert reply.json()["id"] == reply.headers["x-request-id"] != ""


def test_known_middleware_is_absorbed_whatever_the_order() -> None:
    app, seawall = make()
    app.add_middleware(GZipMiddleware, minimum_size=1)
    app.add_middleware(CORSMiddleware, allow_origins=[A], allow_credentials=True)
    app.add_middleware(TrustedHostMiddleware, ["a.example"])
    app.add_middleware(HTTPSRedirectMiddleware)
    http = client(app, base_url="http://a.example", follow_redirects=False)
    assert http.get("/?q=%2F").headers["location"] == "https://a.example/?q=%2F"
    https = client(app, base_url="https://a.example")
    reply = https.get("/", headers={"origin": A})
    assert reply.headers["access-control-allow-credentials"] == "true"
    assert reply.headers["content-encoding"] == "gzip"
    assert reply.headers["vary"] == "Accept-Encoding, Origin"
    assert "strict-transport-security" not in reply.headers
    assert client(app, base_url="https://evil.example").get("/").status_code == 400
    assert app.user_middleware == []
    settings = seawall.settings
    assert settings.policy(Hosts).allowed_hosts == ("a.example",)
    assert settings.origin("hosts.allowed_hosts") == "TrustedHostMiddleware on the app"
    assert settings.policy(Cors).allow_origins == (A,)
    assert settings.policy(Compression).minimum_size == 1
    assert settings.policy(Https).redirect is True


def test_settings_are_stronger_than_absorbed_middleware() -> None:
    app, _ = make(hosts={"allowed_hosts": ["b.example"]})
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["a.example"])
    assert client(app, base_url="http://b.example").get("/").status_code == 200
    assert client(app, base_url="http://a.example").get("/").status_code == 400


def test_what_cannot_be_absorbed_stays_where_it_was() -> None:
    class Mine(BaseHTTPMiddleware):
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            reply = await call_next(request)
            reply.headers["x-mine"] = "yes"
            return reply

    class MyCORS(CORSMiddleware):
        pass

    app, _ = make()
    app.add_middleware(Mine)
    app.add_middleware(MyCORS, allow_origins=[A])
    reply = client(app).get("/", headers={"origin": A})
    assert (reply.headers["x-mine"], reply.headers["access-control-allow-origin"]) == ("yes", A)
    left: list[Any] = [item.cls for item in app.user_middleware]
    assert left == [MyCORS, Mine]


def test_a_dangerous_absorbed_middleware_is_refused_by_name() -> None:
    app, seawall = make()
    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_credentials=True)
    with pytest.raises(SettingsError, match="CORSMiddleware on the app"):
        seawall.absorb()


def test_starlette_apps_work_as_well() -> None:
    async def root(request: Any) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def broken(request: Any) -> None:
        raise RuntimeError("secret")

    app = Starlette(routes=[Route("/", root), Route("/broken", broken)])
    Seawall(app, tasks=False)
    assert client(app).get("/").headers["x-process-time"]
    assert client(app).get("/broken").json()["status"] == 500
    assert client(app).get("/nowhere").json()["title"] == "Not Found"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda app: Seawall(cast(Any, print)), "takes a FastAPI or Starlette app"),
        (lambda app: [Seawall(app, tasks=False) for _ in "12"], "has a Seawall already"),
        (lambda app: (client(app).get("/"), Seawall(app, tasks=False)), "has served already"),
        (lambda app: Seawall(app, cros=True), "did you mean 'cors'"),
        (lambda app: Seawall(app, cors={"allow_origins": ["https://a.example/"]}), "from argument"),
    ],
)  # fmt: skip
def test_misuse_is_told(build: Callable[[FastAPI], Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build(FastAPI())


def test_a_store_that_cannot_be_used_stops_the_import(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        Seawall(FastAPI(), tasks={"url": f"sqlite:///{tmp_path}/nowhere/tasks.db"})


def test_middleware_that_cannot_be_absorbed_closes_the_app_instead_of_opening_it() -> None:
    app, _ = make()
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["a.example"])
    app.add_middleware(CORSMiddleware, allow_origins=["https://a.example/"])
    for _ in range(3):
        reply = client(app, base_url="http://evil.example").get("/")
        assert reply.status_code == 500
        assert "a.example" not in reply.text


def test_under_uvicorn_the_start_stops(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "from fastapi import FastAPI\n"
        "from starlette.middleware.cors import CORSMiddleware\n"
        "from seawall import Seawall\n"
        "app = FastAPI()\n"
        "Seawall(app, tasks=False)\n"
        "app.add_middleware(CORSMiddleware, allow_origins=['https://a.example/'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "uvicorn", "main:app", "--port", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert "write 'https://a.example'" in done.stderr
    assert "Traceback" not in done.stderr


def test_strangers_hear_that_it_is_not_ready_and_the_log_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app, wall = make(tasks=True)
    with TestClient(app) as client:
        assert client.get("/readyz").status_code == 200
        why = "the task store /srv/secret/seawall.db is full"
        monkeypatch.setattr(type(wall.tasks), "trouble", property(lambda _: why))
        answers = [client.get("/readyz") for _ in range(3)]
    assert [one.status_code for one in answers] == [503] * 3
    assert "the task store cannot be used" in answers[0].text
    assert "secret" not in answers[0].text
    assert [one.getMessage() for one in caplog.records if why in one.getMessage()] == [
        f"not ready: {why}"
    ]


def test_a_store_that_cannot_be_opened_says_who_chose_it() -> None:
    with pytest.raises(StoreError, match=r"\[from argument\]"):
        make(tasks={"url": "sqlite:///no/such/folder/seawall.db"})
