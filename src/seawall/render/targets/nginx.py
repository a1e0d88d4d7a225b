"""nginx in front of the app: a complete ``nginx.conf`` (nginx 1.19.4 and newer).

Policies say directives into these sections of the draft:

==============  =====================================================================
``server_name`` host names the site answers to, one a line, without a directive
``http``        blocks of the ``http`` context, such as maps
``proxy``       directives for every request that goes on to the app
``log``         fields of the access log
``redirect``    what plain http answers instead of the site; none, and it serves the site
``plain``       locations of the site that stay reachable over plain http all the same
``server``      directives of the site's own ``server``
``app``         directives of every location that passes the site's requests to the app
``location P``  directives for the path prefix P alone, one a line; those of a longer
                prefix stand in for those of a shorter one with the same name
``patience``    ``NAME SECONDS``: how long a policy may let a request wait; the sum is what
                nginx waits too. ``patience P``: the same for a path prefix
``body``        how large a request body may be; nothing said is no limit
``locations``   locations of the site
``anywhere``    locations that answer for any host name, on plain http too
==============  =====================================================================

They may use two names that the template defines: ``http://app``, the app as an
upstream, and ``$authority``, the host as nginx checked it with the port the visitor
gave. A ``location`` with an ``add_header`` or ``proxy_set_header`` of its own loses
those of the levels above (nginx's rule), so policies use none there.
"""

import re
from math import ceil
from pathlib import Path

from seawall.errors import RenderError
from seawall.policies.policy import Draft
from seawall.render.settings import NginxSettings
from seawall.render.targets.target import Target, drafted, templates
from seawall.settings import Tree

_DEFAULT_SOCKET = "/run/seawall/app.sock"

# Mozilla's intermediate configuration, version 5.7 (ssl-config.mozilla.org), without the
# DHE suites: they need a parameter file, and no client that lacks ECDHE speaks TLS 1.2.
_CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    )
)


def render(settings: Tree) -> str:
    """The configuration as text.

    Raises :class:`RenderError` when no host name is known, or a value cannot be quoted.
    """
    draft = drafted("nginx", settings)
    nginx = settings.nginx
    template = templates().get_template("nginx.conf.j2")
    return template.render(
        nginx=nginx,
        draft=draft.sections,
        names=_names(nginx, draft),
        socket=_socket(settings),
        ciphers=_CIPHERS,
        idle=_idle(settings.serve.keep_alive),
        patience=_patience(draft, []),
        prefixes=_prefixes(draft),
        why_log=_why(draft, "log"),
        log_fields=[" ".join(fields) for _, fields in draft.sections["log"]],
    )


def _names(nginx: NginxSettings, draft: Draft) -> tuple[str, ...]:
    said = tuple(name for _, names in draft.sections["server_name"] for name in names)
    names = tuple(dict.fromkeys(nginx.server_name or said))
    if not names:
        raise RenderError(
            "no host name is known to answer to; loopback names and '*' do not count",
            hint="set hosts.allowed_hosts = ['example.com'], or nginx.server_name",
        )
    return names


def _socket(settings: Tree) -> str:
    if settings.nginx.socket:
        return settings.nginx.socket
    socket = str(Path(settings.serve.uds).absolute()) if settings.serve.uds else _DEFAULT_SOCKET
    if not re.fullmatch(r"[\w/.@%+:=,~-]+", socket):
        raise RenderError(
            f"serve.uds = {socket!r} cannot stand in a configuration file",
            hint="give the socket a plain path",
        )
    return socket


def _idle(keep_alive: int) -> int:
    """Seconds an idle connection to the app is kept: ended here before the app ends it.

    Otherwise a request can meet the closing of the connection it was sent on, and fail.
    """
    return min(60, keep_alive * 4 // 5)


def _patience(draft: Draft, prefixes: list[str]) -> int:
    """Seconds to wait for the app: never shorter than the app's own patience, so that the app
    is the one who says 504, and never shorter than what an idle websocket needs."""
    waits: dict[str, float] = {}
    for section in ("patience", *(f"patience {prefix}" for prefix in prefixes)):
        for _, lines in draft.sections[section]:
            waits |= {name: float(seconds) for name, seconds in map(str.split, lines)}
    return max(60, ceil(sum(waits.values())) + 5)


def _prefixes(draft: Draft) -> list[tuple[str, list[str]]]:
    """Path prefixes with directives of their own, the longest first: the first one wins."""
    found = []
    said = {name.partition(" ")[2] for name in draft.sections if " " in name}
    for prefix in sorted(said, key=lambda one: (-len(one), one)):
        covering = sorted(one for one in said if f"{prefix}/".startswith(f"{one}/"))
        directives: dict[str, str] = {}
        for one in covering:
            for _, lines in draft.sections[f"location {one}"]:
                directives |= {line.split()[0]: line for line in lines}
        seconds = _patience(draft, covering)
        if seconds != _patience(draft, []):
            directives["proxy_read_timeout"] = f"proxy_read_timeout {seconds}s;"
        if directives:
            found.append((re.escape(prefix), list(directives.values())))
    return found


def _why(draft: Draft, section: str) -> str:
    return "; ".join(why for why, _ in draft.sections[section] if why)


TARGET = Target("nginx", "A complete nginx.conf that ends TLS.", NginxSettings, render)
