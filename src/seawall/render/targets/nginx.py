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
``locations``   locations of the site
``anywhere``    locations that answer for any host name, on plain http too
==============  =====================================================================

They may use two names that the template defines: ``http://app``, the app as an
upstream, and ``$authority``, the host as nginx checked it with the port the visitor
gave. A ``location`` with an ``add_header`` or ``proxy_set_header`` of its own loses
those of the levels above (nginx's rule), so policies use none there.
"""

import re
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


def _why(draft: Draft, section: str) -> str:
    return "; ".join(why for why, _ in draft.sections[section] if why)


TARGET = Target("nginx", "A complete nginx.conf that ends TLS.", NginxSettings, render)
