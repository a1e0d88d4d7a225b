from pathlib import Path
from typing import Any

import pytest

from seawall.errors import SettingsError, SettingsErrors
from seawall.policies import Cors, Hosts, Https
from seawall.settings import load


def read(tmp_path: Path, toml: str = "", environ: dict[str, str] | None = None, **more: Any) -> Any:
    (tmp_path / "pyproject.toml").write_text(toml)
    return load(more.pop("arguments", None), directory=tmp_path, environ=environ or {}, **more)


def fault(
    tmp_path: Path, toml: str = "", environ: dict[str, str] | None = None, **more: Any
) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, toml, environ, **more)
    return caught.value


def test_defaults(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert settings.policy(Cors).enabled is False
    assert settings.policy(Https).enabled is False
    assert settings.origin("cors.enabled") == "default"
    assert settings.serve.port == 8000


def test_the_stronger_source_wins_and_each_value_knows_its_own(tmp_path: Path) -> None:
    (tmp_path / "prod.env").write_text(
        "SEAWALL_SERVE__PORT=3\nSEAWALL_SERVE__HOST=0.0.0.0\nOTHER=1\n"
    )
    settings = read(
        tmp_path,
        "[tool.seawall.serve]\nport = 4\nhost = 'a'\nworkers = 4\nkeep_alive = 44",
        {"SEAWALL_SERVE__PORT": "2", "WEB_CONCURRENCY": "3"},
        flags={"serve.port": (1, "--port")},
        env_file=tmp_path / "prod.env",
    )
    serve = settings.serve
    assert (serve.port, serve.host, serve.workers, serve.keep_alive) == (1, "0.0.0.0", 3, 44)
    assert settings.origin("serve.port") == "--port"
    assert settings.origin("serve.host").endswith("prod.env: SEAWALL_SERVE__HOST")
    assert settings.origin("serve.workers") == "WEB_CONCURRENCY"
    assert settings.origin("serve.keep_alive").endswith("pyproject.toml")
    assert settings.origin("serve.drain") == "default"


def test_our_own_name_beats_the_bare_one(tmp_path: Path) -> None:
    environ = {"PORT": "1", "SEAWALL_SERVE__PORT": "2"}
    assert read(tmp_path, environ=environ).serve.port == 2


@pytest.mark.parametrize("off", ["false", "0", "no", "off"])
def test_a_policy_is_true_false_or_options(tmp_path: Path, off: str) -> None:
    toml = "[tool.seawall]\nhttps = true\n[tool.seawall.hosts]\nallowed_hosts = ['a.example']"
    settings = read(tmp_path, toml)
    assert settings.policy(Https).enabled
    assert settings.policy(Hosts).enabled
    settings = read(tmp_path, toml, {"SEAWALL_HOSTS": off})
    assert not settings.policy(Hosts).enabled
    assert settings.policy(Hosts).allowed_hosts == ("a.example",)
    assert settings.origin("hosts.enabled") == "SEAWALL_HOSTS"
    settings = read(tmp_path, toml, arguments={"https": False, "cors": {}})
    assert (settings.policy(Https).enabled, settings.policy(Cors).enabled) == (False, True)


@pytest.mark.parametrize(
    "text", ["a.example,b.example", " a.example , b.example ", '["a.example", "b.example"]']
)
def test_lists_in_the_environment(tmp_path: Path, text: str) -> None:
    settings = read(tmp_path, environ={"SEAWALL_HOSTS__ALLOWED_HOSTS": text})
    assert settings.policy(Hosts).allowed_hosts == ("a.example", "b.example")


def test_a_mapping_in_the_environment(tmp_path: Path) -> None:
    settings = read(tmp_path, environ={"SEAWALL_STATIC__MOUNTS": '{"/static": "files"}'})
    assert settings.static.mounts == {"/static": "files"}


def test_seawall_toml_is_nearest_first(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.seawall.serve]\nport = 1")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert load(directory=inner, environ={}).serve.port == 1
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'no table of ours'")
    assert load(directory=inner, environ={}).serve.port == 1
    (tmp_path / "a" / "seawall.toml").write_text("[serve]\nport = 2")
    assert load(directory=inner, environ={}).serve.port == 2


@pytest.mark.parametrize(
    ("toml", "key", "hint"),
    [
        ("[tool.seawall.cros]\nx = 1", "cros", "did you mean 'cors'?"),
        ("[tool.seawall.cors]\nalow_origins = []", "cors.alow_origins",
         "did you mean 'allow_origins'?"),
        ("[tool.seawall]\nsevre = true", "sevre", "did you mean 'serve'?"),
        ("[tool.seawall]\nserve = true", "serve", "it is a table of: host, port"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_named_with_what_was_meant(
    tmp_path: Path, toml: str, key: str, hint: str
) -> None:
    error = fault(tmp_path, toml)
    assert error.key == key
    assert error.hint.startswith(hint)
    assert "pyproject.toml" in error.source


def test_an_unknown_environment_name_is_an_error_too(tmp_path: Path) -> None:
    error = fault(tmp_path, environ={"SEAWALL_CORS__MAX_AGES": "1"})
    assert (error.key, error.source) == ("cors.max_ages", "SEAWALL_CORS__MAX_AGES")
    assert error.hint == "did you mean 'max_age'?"


@pytest.mark.parametrize(
    ("toml", "key", "said"),
    [
        ("[tool.seawall.cors]\nallow_origins=['https://a.example/']", "cors.allow_origins",
         "(write 'https://a.example')"),
        ("[tool.seawall.cors]\nallow_origins=['*']\nallow_credentials=true", "cors",
         "(name the origins, or set cors.allow_credentials = false)"),
        ("[tool.seawall.hosts]\nallowed_hosts=['https://a.example']", "hosts.allowed_hosts",
         "(write 'a.example')"),
        ("[tool.seawall.serve]\nport='http'", "serve.port", "valid integer"),
        ("[tool.seawall.serve]\nport=70000", "serve.port", "less than or equal to 65535"),
        ("[tool.seawall.tasks]\nundurable='maybe'", "tasks.undurable", "'run' or 'refuse'"),
        ("[tool.seawall.tasks]\nurl='sqlit:///x'", "tasks.url", "sqlite"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_line_with_key_source_and_fix(
    tmp_path: Path, toml: str, key: str, said: str
) -> None:
    error = fault(tmp_path, toml)
    assert error.key == key
    assert "pyproject.toml" in error.source
    assert said in str(error)
    assert "\n" not in str(error)


def test_several_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsErrors) as caught:
        read(tmp_path, "[tool.seawall.serve]\nport='x'\nworkers=0")
    assert [error.key for error in caught.value.errors] == ["serve.port", "serve.workers"]


def test_broken_toml_and_a_missing_env_file_are_named(tmp_path: Path) -> None:
    assert "not valid TOML" in str(fault(tmp_path, "[tool.seawall"))
    assert "no such env file" in str(fault(tmp_path, env_file=tmp_path / "none"))


def test_every_setting_is_documented(tmp_path: Path) -> None:
    settings = read(tmp_path)
    keys = [key for key, _, _ in settings.items()]
    assert len(keys) == len(set(keys)) > 40
    for name, field in type(settings).model_fields.items():
        section = getattr(settings, name)
        fields = getattr(type(section), "model_fields", {"": field})
        for key, one in fields.items():
            assert one.description, f"{name}.{key} has no docstring"


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ("tool = 1", "tool"),
        ("[tool]\nseawall = 3", "tool.seawall"),
        ("[tool]\nseawall = []", "tool.seawall"),
        ("[tool]\nseawall = 'x'", "tool.seawall"),
        ("[[tool.seawall]]\nhttps = true", "tool.seawall"),
    ],
)
def test_what_is_no_table_is_said_to_be_none(tmp_path: Path, toml: str, key: str) -> None:
    error = fault(tmp_path, toml)
    assert (error.key, error.hint) == (key, "write a table: [tool.seawall]")
    assert "pyproject.toml" in error.source


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    # Reading its first page fails for every user, root included.
    broken = "/proc/self/mem"
    assert "cannot be read: Input/output error" in str(fault(tmp_path, env_file=broken))
    (tmp_path / "latin.env").write_bytes(b"A=\xff\n")
    assert "it is not UTF-8" in str(fault(tmp_path, env_file=tmp_path / "latin.env"))
    (tmp_path / "zero.env").write_bytes(b"A=a\0b\n")
    assert "zero byte" in str(fault(tmp_path, env_file=tmp_path / "zero.env"))
    (tmp_path / "seawall.toml").symlink_to(broken)
    error = fault(tmp_path)
    assert error.key.endswith("seawall.toml")
    assert "cannot be read" in str(error)
    with pytest.raises(SettingsError, match="cannot be read: File name too long"):
        load(directory=tmp_path / ("x" * 300), environ={})


def test_a_key_that_ends_with_its_dot(tmp_path: Path) -> None:
    flags = {"cors.": ("1", "--set")}
    assert (fault(tmp_path, flags=flags).key, fault(tmp_path, flags=flags).source) == (
        "cors.",
        "--set",
    )
    assert fault(tmp_path, environ={"SEAWALL_CORS__": "1"}).key == "cors."


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("serve.drain", "inf"),
        ("serve.drain", "nan"),
        ("serve.keep_alive", "1e30"),
        ("hosts.allowed_hosts", ["[v1.;]"]),
        ("https.host", "[v1.$request_uri;]"),
        ("nginx.addresses", ["999.1"]),
        ("nginx.addresses", ["1.2"]),
        ("nginx.addresses", ["[::g]"]),
        ("nginx.addresses", ["[fe80::1%eth0]"]),
        ("nginx.addresses", ["::1"]),
    ],
)
def test_values_that_would_fail_later_are_refused_now(
    tmp_path: Path, key: str, value: object
) -> None:
    assert fault(tmp_path, flags={key: (value, "--set")}).key == key


def test_addresses_to_listen_on(tmp_path: Path) -> None:
    addresses = ("*", "192.0.2.1", "[::]", "[2001:db8::1]")
    assert read(tmp_path, flags={"nginx.addresses": (addresses, "")}).nginx.addresses == addresses
