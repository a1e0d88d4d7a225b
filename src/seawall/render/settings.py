"""What the rendered nginx configuration needs to know beyond the policies."""

from ipaddress import IPv4Address, IPv6Address
from typing import Annotated

from pydantic import AfterValidator, Field

from seawall.errors import Hinted
from seawall.policies.host import canonical
from seawall.section import Section, Strings

# sockaddr_un.sun_path on Linux: 108 bytes with the closing zero (unix(7)).
_LONGEST_SOCKET = 107


def _plain(value: str) -> str:
    if not value.isprintable() or any(c in "\"'{};$\\#" or c.isspace() for c in value):
        raise Hinted(
            f"{value!r} cannot stand in a configuration file",
            "leave out spaces, quotes and any of {};$#\\",
        )
    return value


def _file(value: str) -> str:
    # nginx would read a relative path from its own prefix, not from here.
    if _plain(value) and not value.startswith("/"):
        raise Hinted(f"{value!r} is not an absolute path", "write it from the root: '/...'")
    return value


def _needed(value: str) -> str:
    if not value:
        raise Hinted("a path is needed", "write it from the root: '/...'")
    return _file(value)


def _socket(value: str) -> str:
    if len(_file(value).encode()) > _LONGEST_SOCKET:
        raise Hinted(f"{value!r} is too long for a unix socket", f"at most {_LONGEST_SOCKET} bytes")
    return value


def _log(value: str) -> str:
    if value == "off" or value.startswith("syslog:"):
        return _plain(value)
    return _needed(value)


def _names(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if canonical(value.removeprefix("*.")) != value.removeprefix("*."):
            raise Hinted(f"{value!r} is not a host name", "write 'example.com' or '*.example.com'")
    return values


def _listens(value: str) -> bool:
    """Whether nginx can listen there: ``*``, an IPv4 address, an IPv6 one in brackets."""
    try:
        if value.startswith("[") and value.endswith("]"):
            # Python knows zones, `fe80::1%eth0`; nginx does not.
            return IPv6Address(value[1:-1]).scope_id is None
        return value == "*" or bool(IPv4Address(value))
    except ValueError:
        return False


def _addresses(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not _listens(value):
            hint = "write '*', '192.0.2.1', '[::]' or '[2001:db8::1]'"
            raise Hinted(f"{value!r} is not an address to listen on", hint)
    return values


Path = Annotated[str, AfterValidator(_needed)]
"""An absolute path that can be written into a configuration file as it is."""


class NginxSettings(Section):
    """``seawall render nginx``."""

    server_name: Annotated[Strings, AfterValidator(_names)] = ()
    """Host names; none takes them from `hosts.allowed_hosts`."""
    certificate: Path = "/etc/ssl/seawall/fullchain.pem"
    """The certificate chain, PEM."""
    certificate_key: Path = "/etc/ssl/seawall/privkey.pem"
    """Its private key, PEM."""
    socket: Annotated[str, AfterValidator(_socket)] = ""
    """The app's unix socket; empty takes `serve.uds`, or /run/seawall/app.sock."""
    http_port: int = Field(default=80, ge=1, le=65535)
    """Port for plain http."""
    https_port: int = Field(default=443, ge=1, le=65535)
    """Port for https; visitors are sent to `https.port`, which a port mapping may make another."""
    addresses: Annotated[Strings, AfterValidator(_addresses)] = ("*", "[::]")
    """Addresses to listen on; leave `[::]` out where IPv6 is switched off."""
    buffering: bool = False
    """Collect each response before it goes out: frees the app of slow readers, delays streams."""
    user: Annotated[str, AfterValidator(_plain)] = ""
    """User the workers run as; empty leaves it to nginx (and is right when not started by root)."""
    pid: Path = "/run/nginx.pid"
    """Where nginx writes its process id."""
    access_log: Annotated[str, AfterValidator(_log)] = "/var/log/nginx/seawall.log"
    """Where nginx writes its access log; `off` for none."""
    error_log: Path = "/var/log/nginx/seawall-error.log"
    """Where nginx writes its error log."""
    mime_types: Path = "/etc/nginx/mime.types"
    """nginx's table of file types."""
    temp: Annotated[str, AfterValidator(_file)] = ""
    """Directory for bodies on their way; empty is nginx's own (set it when not run by root)."""
