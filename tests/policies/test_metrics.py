"""Metrics: what is counted, who may read it, and several workers on a real server."""

import os
import signal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from seawall import Edge, Seawall, check
from seawall.cli.values import HIDDEN, masked
from seawall.errors import MissingDependency, SettingsError
from seawall.policies import Health, Hosts, Metrics, Policy, Proxy
from seawall.policies.policy import Draft
from seawall.settings import load
from tests.asgi import App, call, hello, http, websocket
from tests.serve.running import serving, until

LOCAL = ("127.0.0.1", 4000)
TOKEN = "0123456789abcdef0123456789abcdef"
Samples = dict[tuple[str, tuple[str, ...]], float]


def measured(app: App = hello, *more: Policy, **options: Any) -> Edge:
    return Edge(app, [Metrics(enabled=True, **options), *more])


def samples(text: str) -> Samples:
    """Ours alone, by name and the labels' values."""
    return {
        (sample.name.removeprefix("seawall_"), tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name.startswith("seawall_")
    }


async def read(edge: App) -> Samples:
    seen = await call(edge, http(path="/metrics", client=LOCAL))
    assert seen.status == 200
    assert (seen.get("content-type") or "").startswith("text/plain; version=")
    assert seen.get("cache-control") == "no-store"
    return samples(seen.body.decode())


async def test_requests_are_counted_by_method_route_and_status() -> None:
    app = FastAPI()

    @app.get("/items/{item}")
    async def items(item: int) -> str:
        return "x" * item

    Seawall(app, metrics=True, tasks=False)
    for path in ("/items/1", "/items/3", "/items/x", "/nosuch/1", "/nosuch/2"):
        await call(app, http(path=path))
    found = await read(app)
    counts = {labels: n for (name, labels), n in found.items() if name == "request_seconds_count"}
    assert counts == {
        ("GET", "/items/{item}", "2xx"): 2,
        ("GET", "/items/{item}", "4xx"): 1,
        ("GET", "", "4xx"): 2,
    }
    assert found["response_body_bytes_total", ("GET", "/items/{item}", "2xx")] == 3 + 5
    assert 0 < found["request_seconds_sum", ("GET", "/items/{item}", "2xx")] < 60


async def test_requests_in_flight() -> None:
    flying: list[float] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        flying.append((await read(edge))["requests_in_flight", ()])
        if scope["path"] == "/broken":
            raise LookupError
        await hello(scope, receive, send)

    edge = measured(app, Health(), Hosts(enabled=True, allowed_hosts=("example.com",)))
    for scope in (http(), http(path="/broken")):
        await call(edge, scope)
    for scope in (http(path="/livez"), http(headers=[("host", "evil.example")])):
        await call(edge, scope)
    await call(edge, websocket(headers=[("host", "evil.example")]))
    found = await read(edge)
    assert flying == [1, 1]
    assert found["requests_in_flight", ()] == 0
    counts = {labels: n for (name, labels), n in found.items() if name == "request_seconds_count"}
    assert counts == {("GET", "", "2xx"): 1, ("GET", "", "5xx"): 1, ("GET", "", "4xx"): 1}


async def test_strangers_cannot_make_labels() -> None:
    class Route:
        def __init__(self, path: str) -> None:
            self.path = path

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = Route(scope["path"])
        await hello(scope, receive, send)

    edge = measured(app, routes=3)
    for number in range(50):
        await call(edge, http(f"M{number}", f"/{number % 10}"))
    found = await read(edge)
    assert sum(n for (name, _), n in found.items() if name == "request_seconds_count") == 50
    assert {labels[1] for (name, labels) in found if name == "request_seconds_count"} == {
        "", "/0", "/1", "/2",
    }  # fmt: skip
    assert {labels[0] for (name, labels) in found if name == "request_seconds_count"} == {"OTHER"}


@settings(max_examples=300, deadline=None)
@given(method=st.text(max_size=20), path=st.text(max_size=50))
async def test_no_request_breaks_the_page(method: str, path: str) -> None:
    edge = measured()
    assert (await call(edge, http(method) | {"path": path})).error is None
    assert (await read(edge))["requests_in_flight", ()] == 0


def asked(client: Any = ("203.0.113.7", 1), method: str = "GET", **headers: str) -> dict[str, Any]:
    pairs = [("host", "a"), *((k.replace("_", "-"), v) for k, v in headers.items())]
    return http(method, "/metrics", pairs, client=client)


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        (asked(LOCAL), 200),
        (asked(("::1", 1)), 200),
        (asked(("::ffff:127.0.0.1", 1)), 200),
        (asked(LOCAL, "HEAD"), 200),
        (asked(LOCAL, "POST"), 405),
        (asked(), 403),
        (asked(None), 403),
        (asked(("", 0)), 403),
        (asked(("/run/app.sock", 0)), 403),
        # Through a proxy on this machine, whoever it says is asking.
        (asked(LOCAL, x_forwarded_for="203.0.113.7"), 403),
        (asked(LOCAL, x_forwarded_for="127.0.0.1"), 403),
        (asked(LOCAL, x_forwarded_for="unknown"), 403),
        (asked(LOCAL, forwarded="for=127.0.0.1"), 403),
        (asked(LOCAL, x_real_ip="127.0.0.1"), 403),
        (asked(LOCAL, via="1.1 proxy"), 403),
        (asked(authorization=f"Bearer {TOKEN}"), 200),
        (asked(authorization=f"bearer  {TOKEN}", x_forwarded_for="203.0.113.7"), 200),
        (asked(authorization=f"Bearer {TOKEN}x"), 403),
        (asked(authorization=f"Basic {TOKEN}"), 403),
        (asked(authorization="Bearer "), 403),
        (asked(authorization="Bearer é"), 403),
    ],
)
async def test_who_may_read(scope: dict[str, Any], status: int) -> None:
    for policies in ([], [Proxy()]):
        seen = await call(measured(hello, *policies, token=TOKEN), scope)
        assert seen.status == status
        assert (b"seawall_requests_in_flight" in seen.body) == (
            status == 200 and scope["method"] == "GET"
        )


async def test_without_a_token_none_is_right() -> None:
    for word in ("", "None", "null"):
        seen = await call(measured(), asked(authorization=f"Bearer {word}"))
        assert seen.status == 403
    seen = await call(measured(trusted="203.0.113.0/24", path="/m"), asked() | {"path": "/m"})
    assert seen.status == 200


async def test_the_format_that_prometheus_asks_for() -> None:
    scope = asked(LOCAL, accept="application/openmetrics-text; version=1.0.0")
    seen = await call(measured(), scope)
    assert (seen.get("content-type") or "").startswith("application/openmetrics-text")
    assert seen.body.endswith(b"# EOF\n")
    # The default registry's own, such as the process's memory.
    assert b"python_info" in seen.body


def test_a_token_is_never_shown() -> None:
    for token in ("short", "0123456789 0123456789"):
        with pytest.raises(SettingsError, match=r"metrics\.token") as error:
            load({"metrics": {"token": token}}, directory="/", environ={})
        assert token not in str(error.value)
    tree = load({"metrics": {"token": TOKEN}}, directory="/", environ={})
    assert TOKEN not in repr(tree)
    shown = {key: masked(key, value) for key, value, _ in tree.items()}
    assert shown["metrics.token"] == HIDDEN


def test_settings_that_are_refused() -> None:
    with pytest.raises(ValidationError, match="is not a network"):
        Metrics(trusted=("10.0.0.1/8",))
    with (
        patch("seawall.policies.metrics.find_spec", return_value=None),
        pytest.raises(MissingDependency, match=r"pip install 'seawall\[metrics\]'"),
    ):
        load({"metrics": True}, directory="/", environ={})


def test_everybody_as_a_trusted_network_is_found() -> None:
    def found(network: str) -> bool:
        tree = load({"metrics": {"trusted": network}}, directory="/", environ={})
        return "metrics.open" in [finding.id for finding in check.run(tree)]

    assert found("::/0")
    assert found("0.0.0.0/0")
    assert not found("10.0.0.0/8")


def test_nginx_refuses_the_page_unless_a_token_guards_it() -> None:
    for options, said in (({}, True), ({"token": TOKEN}, False), ({"enabled": False}, False)):
        draft = Draft("nginx")
        Metrics.model_validate({"enabled": True, **options}).render(draft)
        assert bool(draft.sections["anywhere"]) is said


def test_a_stranger_who_can_read_them_is_found() -> None:
    class Reply:
        status = 200
        body = b"# HELP a b\n# TYPE a counter\na 1\n"

    class Site:
        scheme, host = "https", "example.com"

        def ask(self, method: str, path: str) -> Reply:
            return Reply()

    site: Any = Site()
    assert [finding.id for finding in Metrics().prove(site)] == ["metrics.exposed"]
    Reply.body = b"<p># TYPE is a word</p>"
    assert not list(Metrics().prove(site))
    Reply.body, site.scheme, site.host = b"# TYPE a counter\n", "http", "127.0.0.1"
    assert not list(Metrics().prove(site))


APP = """
import asyncio, os
from fastapi import FastAPI
from prometheus_client import Counter

app = FastAPI()
mine = Counter("mine", "The app's own.")

@app.get("/pid")
async def pid():
    mine.inc()
    return os.getpid()

@app.get("/hang")
async def hang():
    open("hanging", "w").write(str(os.getpid()))
    await asyncio.Event().wait()
"""


def test_several_workers_count_together(tmp_path: Path) -> None:
    import threading
    from contextlib import suppress

    import httpx2 as httpx

    (tmp_path / "main.py").write_text(APP)
    options = ("--port", "0", "--workers", "2", "--set", "metrics=true", "--drain", "0.1")
    with serving(*options, cwd=tmp_path) as served:
        pids: list[int] = []

        def both() -> bool:
            pids.append(served.get("/pid").json())
            return len(set(pids)) == 2

        until(both, "both workers have answered")

        def page() -> Samples:
            return samples(served.get("/metrics").text)

        for _ in range(10):  # whichever worker answers
            found = page()
            assert found["request_seconds_count", ("GET", "/pid", "2xx")] == len(pids)
            assert found["requests_in_flight", ()] == 0
        assert f"mine_total {len(pids)}.0" in served.get("/metrics").text

        def ask() -> None:
            with suppress(httpx.TransportError):
                served.get("/hang")

        thread = threading.Thread(target=ask)
        thread.start()
        hanging = tmp_path / "hanging"
        until(lambda: hanging.exists() and hanging.read_text(), "a request is in flight")
        until(lambda: page()["requests_in_flight", ()] == 1, "it is counted")
        os.kill(int(hanging.read_text()), signal.SIGKILL)
        thread.join()

        def forgotten() -> bool:
            with suppress(httpx.TransportError):
                return page()["requests_in_flight", ()] == 0
            return False

        until(forgotten, "a killed worker's requests are forgotten")
        # What it had counted is not.
        assert page()["request_seconds_count", ("GET", "/pid", "2xx")] == len(pids)
