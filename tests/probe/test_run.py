"""The runner: what cannot be asked, who crashed, and in which order things are told."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seawall.errors import ProbeError
from seawall.findings import Finding, Level
from seawall.policies import Health, Timing
from seawall.policies.policy import Site
from seawall.probe import RULES, Door, Progress, run
from seawall.settings import load
from tests.servers.authority import Authority
from tests.servers.deployment import Deployment

SETTINGS = load({}, directory="/", environ={})


def probe(example: Deployment, text: str | None = None, **options: Any) -> list[Finding]:
    settings = load(directory=example.directory, environ=example.environ)
    with example.nginx(text):
        given = {"connect": Door("127.0.0.1", example.https), "cafile": str(example.ca), **options}
        return run(options.pop("url", example.url), settings, **given)


@pytest.mark.parametrize(
    "url",
    ["", "example.com", "ftp://example.com", "https://", "https://exa mple.com", "https://a:99999",
     "https://example.com/path", "https://example.com?q", "https://me@example.com", "http://[::1"],
)  # fmt: skip
def test_what_is_no_site_is_refused(url: str) -> None:
    with pytest.raises(ProbeError):
        run(url, SETTINGS)


@pytest.mark.parametrize(
    "url", ["http://u:geheim@localhost", "https://u:geheim@a:99999", "ftp://u:geheim@x@localhost"]
)
def test_a_password_that_was_typed_is_not_repeated(url: str) -> None:
    with pytest.raises(ProbeError) as caught:
        run(url, SETTINGS)
    assert "geheim" not in str(caught.value)


def test_a_name_without_an_address() -> None:
    with pytest.raises(ProbeError, match=r"no address is known for seawall-test\.invalid"):
        run("http://seawall-test.invalid", SETTINGS)


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ProbeError, match="nothing answers") as error:
        run(f"http://127.0.0.1:{port}", SETTINGS)
    assert "--connect" in error.value.hint


def test_plain_http_behind_an_https_url(example: Deployment) -> None:
    with pytest.raises(ProbeError, match="TLS with") as error:
        probe(example, connect=Door("127.0.0.1", example.http))
    assert "http://" in error.value.hint


def test_an_unknown_authority(example: Deployment) -> None:
    with pytest.raises(ProbeError, match="not trusted: unable to get local issuer") as error:
        probe(example, cafile=None)
    assert "--cafile" in error.value.hint


def test_a_cafile_that_is_none(example: Deployment, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for path in ("ca.pem", "missing.pem"):
        with pytest.raises(ProbeError, match=f"{path} cannot be read as certificates"):
            probe(example, cafile=str(tmp_path / path))


@pytest.mark.parametrize(
    ("names", "options", "said", "fix"),
    [
        (("example.com",), {"days": -1}, "expired", "renew"),
        (("other.example",), {}, "mismatch", "for this name"),
        (("example.com",), {"self_signed": True}, "self-signed", "public authority"),
    ],
)
def test_a_certificate_that_is_not_trusted(
    example: Deployment,
    authority: Authority,
    names: tuple[str, ...],
    options: dict[str, Any],
    said: str,
    fix: str,
) -> None:
    bad = authority.sign(*names, file="bad", **options)
    text = example.rendered().replace(str(example.certificate.chain), str(bad.chain))
    text = text.replace(str(example.certificate.key), str(bad.key))
    with pytest.raises(ProbeError, match=f"(?i)not trusted: .*{said}") as error:
        probe(example, text)
    assert fix in error.value.hint
    found = probe(example, text, insecure=True)
    assert [(one.id, one.level) for one in found] == [("probe.insecure", Level.NOTE)]


def test_a_certificate_that_ends_soon(example: Deployment, authority: Authority) -> None:
    soon = authority.sign("example.com", days=7.5, file="soon")
    text = example.rendered().replace(str(example.certificate.chain), str(soon.chain))
    (one,) = probe(example, text.replace(str(example.certificate.key), str(soon.key)))
    assert (one.id, one.level) == ("tls.expiry", Level.WARNING)
    assert "in 7 days" in one.message


def test_an_unknown_plain_door_is_noted_and_never_guessed(example: Deployment) -> None:
    settings = load({"https": {"port": example.https}}, directory="/", environ={})
    with example.nginx():
        found = run(
            example.url,
            settings,
            connect=Door("127.0.0.1", example.https),
            cafile=str(example.ca),
        )
        assert [(one.id, one.level) for one in found] == [("probe.unasked", Level.NOTE)]
        assert not run(
            example.url,
            settings,
            connect=Door("127.0.0.1", example.https),
            connect_http=Door("127.0.0.1", example.http),
            cafile=str(example.ca),
        )


def test_a_policy_that_crashes_is_told_after_what_it_found(
    example: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prove(self: Timing, site: Site) -> Iterator[Finding]:
        yield self.MISSING("first")
        raise RuntimeError("then this")

    monkeypatch.setattr(Timing, "prove", prove)
    found = probe(example)
    assert [one.id for one in found] == ["timing.missing", "probe.crashed"]
    assert found[1].message == "timing: RuntimeError: then this"


def test_a_site_that_falls_silent_is_a_finding(
    example: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prove(self: Health, site: Site) -> Iterator[Finding]:
        raise ProbeError("GET / was not answered within 10 s")

    monkeypatch.setattr(Health, "prove", prove)
    (one,) = probe(example)
    assert (one.id, one.level) == ("probe.silent", Level.ERROR)


def test_progress_is_told_in_one_order(example: Deployment) -> None:
    told: list[Progress] = []
    probe(example, progress=told.append)
    assert [one.name for one in told] == [
        "tls", "proxy", "request_id", "timing", "health", "security_headers", "cors", "hosts",
        "https", "body_limit", "problems", "static",
    ]  # fmt: skip


def test_policies_that_are_off_are_not_asked_for(example: Deployment) -> None:
    told: list[str] = []
    settings = load({"cors": False, "timing": False}, directory=example.directory, environ={})
    with example.nginx():
        run(
            example.url,
            settings,
            connect=Door("127.0.0.1", example.https),
            cafile=str(example.ca),
            progress=lambda one: told.append(one.name),
        )
    assert not {"cors", "timing"} & set(told)


def test_rules_are_documented_once() -> None:
    ids = [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids)
    page = (Path(__file__).parents[2] / "docs" / "probe.md").read_text("utf-8")
    assert [one for one in ids if f"`{one}`" not in page] == []
