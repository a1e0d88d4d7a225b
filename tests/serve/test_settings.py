import pytest

from seawall.errors import SettingsError
from seawall.settings import load


def fault(**flags: str) -> str:
    given = {f"serve.{key}": (value, f"--{key}") for key, value in flags.items()}
    with pytest.raises(SettingsError) as caught:
        load(flags=given, environ={}, directory="/")
    return str(caught.value)


def test_text_is_read() -> None:
    flags = {"serve.port": ("80", ""), "serve.reload": ("true", ""), "serve.drain": ("0.5", "")}
    serve = load(flags=flags, environ={}, directory="/").serve
    assert (serve.port, serve.reload, serve.drain) == (80, True, 0.5)


def test_workers_for_each_cpu() -> None:
    tree = load({"serve": {"workers": "auto"}}, environ={}, directory="/")
    assert tree.serve.workers >= 1


def test_reload_takes_one_worker() -> None:
    assert fault(workers="2", reload="true") == (
        "serve.reload: cannot reload 2 workers [from --reload] (set serve.workers = 1)"
    )


def test_server_that_is_none() -> None:
    assert fault(server="uvcorn") == (
        "serve.server: 'uvcorn' is no server that Seawall knows [from --server] "
        "(did you mean 'uvicorn'?)"
    )


def test_port_that_is_none() -> None:
    assert fault(port="70000").startswith("serve.port: '70000': ")
    assert fault(port="http").endswith(" [from --port]")
