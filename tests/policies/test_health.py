import json

import pytest
from pydantic import ValidationError

from seawall import Edge
from seawall.policies import Health, Hosts, Https, Problems
from tests.asgi import call, hello, http

OTHERS = [Https(enabled=True), Hosts(enabled=True, allowed_hosts=("example.com",))]


async def test_any_host_and_scheme_may_ask() -> None:
    app = Edge(hello, [Health(), *OTHERS])
    for path in ("/livez", "/readyz"):
        seen = await call(app, http(path=path, headers=[("host", "10.0.0.1")]))
        assert seen.status == 200
        assert json.loads(seen.body) == {"status": "ok"}
        assert seen.get("cache-control") == "no-store"


async def test_not_ready_says_why_and_is_still_alive() -> None:
    app = Edge(hello, [Health(), Problems()], ready=lambda: "the task store is read-only")
    seen = await call(app, http(path="/readyz"))
    assert seen.status == 503
    assert json.loads(seen.body)["detail"] == "the task store is read-only"
    assert (await call(app, http(path="/livez"))).status == 200


async def test_only_get_and_head() -> None:
    app = Edge(hello, [Health()])
    seen = await call(app, http("POST", "/livez"))
    assert (seen.status, seen.get("allow")) == (405, "GET, HEAD")
    assert (await call(app, http("HEAD", "/livez"))).body == b""


async def test_other_paths_reach_the_app() -> None:
    for path in ("/", "/livez/", "/LIVEZ"):
        assert (await call(Edge(hello, [Health()]), http(path=path))).body == b"hello"


@pytest.mark.parametrize("path", ["livez", "/live z", "/a;b", '/"', "/é", "/a{b}"])
def test_a_bad_path_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="is not a path"):
        Health(live=path)
