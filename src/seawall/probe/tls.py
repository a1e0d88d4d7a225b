"""What TLS itself must keep: a certificate that lasts, and no protocol that is broken.

Old protocols are offered with a ClientHello written by hand (RFC 5246, section 7.4.1.2),
because the OpenSSL here may be built without them, and would then find nothing.
"""

import os
import socket
import ssl
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from seawall.errors import ProbeError
from seawall.findings import Finding, Level, Rule
from seawall.probe.site import Site, reason

EXPIRY = Rule(
    "tls.expiry",
    Level.WARNING,
    "A certificate that runs out takes the whole site down at that minute.",
    "renew it, and see that renewal runs by itself (certbot, acme.sh)",
)
OLD = Rule(
    "tls.old",
    Level.ERROR,
    "TLS 1.0 and 1.1 are broken, and forbidden by RFC 8996.",
    "accept TLSv1.2 and TLSv1.3 only (`seawall render nginx` does)",
)
RULES = (EXPIRY, OLD)

_SOON = timedelta(days=14)
_VERSIONS = {"TLS 1.0": (3, 1), "TLS 1.1": (3, 2)}

# What every TLS 1.0 and 1.1 server has one of: AES and 3DES in CBC mode, with and without ECDHE.
_SUITES = (0xC00A, 0xC009, 0xC014, 0xC013, 0x0039, 0x0033, 0x0035, 0x002F, 0x000A)

# X.509 verification results (openssl-verification-options(1)), and what mends each.
_UNTRUSTED = {
    10: "renew the certificate",
    18: "get a certificate from a public authority, or say --cafile",
    19: "send the whole chain, or say --cafile with your own authority",
    20: "send the whole chain (fullchain.pem), or say --cafile with your own authority",
    62: "get a certificate for this name",
}


def context(cafile: str | None, insecure: bool) -> ssl.SSLContext:
    """How TLS is spoken. Raises :class:`ProbeError` when the CA file cannot be read."""
    try:
        made = ssl.create_default_context(cafile=cafile)
    except (OSError, ssl.SSLError) as error:
        raise ProbeError(
            f"{cafile} cannot be read as certificates: {reason(error)}",
            hint="--cafile takes a PEM file",
        ) from error
    if insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def greet(site: Site) -> None:
    """Connects once, so that a site that cannot be asked at all is one clear error.

    Raises :class:`ProbeError` with what failed (name, TCP, TLS, certificate) and the fix.
    """
    door = site.doors[site.scheme]
    try:
        site.connect(site.scheme).close()
    except socket.gaierror as error:
        raise ProbeError(
            f"no address is known for {door.host}: {reason(error)}",
            hint="check the name, or say --connect HOST:PORT",
        ) from error
    except TimeoutError as error:
        raise ProbeError(
            f"{door} does not take the connection within {site.timeout:g} s",
            hint="is it behind a firewall?",
        ) from error
    except ssl.SSLCertVerificationError as error:
        fix = _UNTRUSTED.get(error.verify_code, "see `openssl verify`, or say --cafile")
        raise ProbeError(
            f"the certificate of {site.host} is not trusted: {error.verify_message}",
            hint=f"{fix}; --insecure asks all the same",
        ) from error
    except ssl.SSLError as error:
        plain = error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
        raise ProbeError(
            f"TLS with {door} failed for the name {site.host}: {reason(error)}",
            hint="it speaks plain http: say http://" if plain else "is this name served there?",
        ) from error
    except OSError as error:
        raise ProbeError(
            f"nothing answers at {door}: {reason(error)}",
            hint="start the site, or say --connect HOST:PORT",
        ) from error


def prove(site: Site) -> Iterator[Finding]:
    """What TLS does not keep on an https site."""
    yield from _expiry(site)
    accepted = [name for name, version in _VERSIONS.items() if _accepts(site, version)]
    if accepted:
        yield OLD(f"{' and '.join(accepted)} accepted by {site.host}")


def _expiry(site: Site) -> Iterator[Finding]:
    with site.connect("https") as connection:
        certificate = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    if not certificate:  # not verified, so not read either (--insecure)
        return
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    left = ends - datetime.now(UTC)
    if left < _SOON:
        yield EXPIRY(f"the certificate of {site.host} ends {ends:%Y-%m-%d}, in {left.days} days")


def _accepts(site: Site, version: tuple[int, int]) -> bool:
    """Whether the server answers a ClientHello of that version with a ServerHello of it."""
    try:
        with socket.create_connection(site.doors["https"], site.timeout) as connection:
            connection.sendall(_hello(site.host, version))
            answer = b""
            # Record header (5 bytes), handshake header (4), then the version chosen.
            while len(answer) < 11 and (more := connection.recv(11 - len(answer))):
                answer += more
    except OSError:
        return False
    return len(answer) == 11 and (answer[0], answer[5]) == (22, 2) and answer[9:] == bytes(version)


def _hello(host: str, version: tuple[int, int]) -> bytes:
    name = host.encode("idna" if not host.isascii() else "ascii")
    listed = b"\0" + struct.pack("!H", len(name)) + name
    extensions = b"".join(
        struct.pack("!HH", kind, len(body)) + body
        for kind, body in (
            (0, struct.pack("!H", len(listed)) + listed),  # server_name
            (10, struct.pack("!H3H", 6, 29, 23, 24)),  # supported_groups: X25519, P-256, P-384
            (11, b"\x01\x00"),  # ec_point_formats: uncompressed
        )
    )
    suites = struct.pack(f"!{len(_SUITES)}H", *_SUITES)
    body = bytes(version) + os.urandom(32) + b"\0"
    body += struct.pack("!H", len(suites)) + suites + b"\x01\x00"
    body += struct.pack("!H", len(extensions)) + extensions
    handshake = b"\x01" + struct.pack("!I", len(body))[1:] + body
    return b"\x16" + bytes(version) + struct.pack("!H", len(handshake)) + handshake
