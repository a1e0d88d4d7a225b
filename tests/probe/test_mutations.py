"""One misconfiguration at a time, planted in the rendered file: the id that names it is found.

The good deployment, with the same settings, raises none.
"""

from dataclasses import dataclass

import pytest

from seawall.findings import Finding
from seawall.probe import Door, run
from seawall.settings import load
from tests.servers.deployment import Deployment


@dataclass(frozen=True)
class Mutation:
    """A change to the nginx file (every occurrence), and the finding that must name it."""

    id: str
    old: str
    new: str


def in_site(*lines: str) -> tuple[str, str]:
    """Directives put into the location that passes the site on to the app."""
    return "            proxy_pass http://app;\n        }\n", (
        "            proxy_pass http://app;\n"
        + "".join(f"            {line}\n" for line in lines)
        + "        }\n"
    )


MUTATIONS: dict[str, Mutation] = {
    "timing header stripped": Mutation(
        "timing.missing", *in_site("proxy_hide_header X-Process-Time;")
    ),
    "timing header doubled": Mutation(
        "timing.insane", *in_site("add_header X-Process-Time 0.000001 always;")
    ),
    "timing header not in seconds": Mutation(
        "timing.insane",
        *in_site("proxy_hide_header X-Process-Time;", "add_header X-Process-Time 12ms always;"),
    ),
    "timing header in milliseconds": Mutation(
        "timing.insane",
        *in_site("proxy_hide_header X-Process-Time;", "add_header X-Process-Time 4000 always;"),
    ),
    "every origin let in": Mutation(
        "cors.leaks", *in_site("add_header Access-Control-Allow-Origin * always;")
    ),
    "every origin echoed": Mutation(
        "cors.leaks",
        *in_site(
            "proxy_hide_header Access-Control-Allow-Origin;",
            "add_header Access-Control-Allow-Origin $http_origin always;",
        ),
    ),
    "CORS headers stripped": Mutation(
        "cors.denied", *in_site("proxy_hide_header Access-Control-Allow-Origin;")
    ),
    "credentials stripped": Mutation(
        "cors.denied", *in_site("proxy_hide_header Access-Control-Allow-Credentials;")
    ),
    "preflight eaten": Mutation(
        "cors.denied", *in_site("if ($request_method = OPTIONS) { return 405; }")
    ),
    "Origin taken from the request": Mutation(
        "cors.denied", "proxy_set_header Host $authority;",
        'proxy_set_header Host $authority;\n    proxy_set_header Origin "";',
    ),
    "Vary stripped": Mutation("cors.vary", *in_site("proxy_hide_header Vary;")),
    "redirect loses path and query": Mutation("https.lost", "$request_uri", "/"),
    "redirect loses the query": Mutation("https.lost", "$request_uri", "$uri"),
    "redirect loses the raw path": Mutation("https.lost", "$request_uri", "$uri?$args"),
    "redirect loses the method": Mutation("https.lost", "return 308", "return 302"),
    "plain http serves the site": Mutation(
        "https.plain",
        'if ($request_method !~ "^(GET|HEAD)$") {',
        "proxy_set_header X-Forwarded-Proto https;\n"
        "            proxy_set_header Host $authority;\n"
        "            proxy_pass http://app;\n"
        "            break;\n"
        "            if ($request_method !~ .) {",
    ),
    "redirect to plain http": Mutation("https.plain", "301 https://", "301 http://"),
    "no HSTS": Mutation(
        "https.hsts", *in_site("proxy_hide_header Strict-Transport-Security;")
    ),
    "HSTS doubled": Mutation(
        "https.hsts", *in_site("add_header Strict-Transport-Security max-age=31536000 always;")
    ),
    "a weaker HSTS": Mutation(
        "https.hsts",
        *in_site(
            "proxy_hide_header Strict-Transport-Security;",
            "add_header Strict-Transport-Security max-age=60 always;",
        ),
    ),
    "HSTS over plain http": Mutation(
        "https.hsts",
        "# Path and query as they came.",
        'add_header Strict-Transport-Security "max-age=31536000" always;\n'
        "            # Path and query as they came.",
    ),
    "a stranger's request id passes": Mutation(
        "request_id.spoofed",
        "proxy_set_header X-Request-ID $request_id;",
        "proxy_set_header X-Request-ID $http_x_request_id;",
    ),
    "request id doubled": Mutation(
        "request_id.doubled", *in_site("add_header X-Request-ID $request_id always;")
    ),
    "request id stripped": Mutation(
        "request_id.missing", *in_site("proxy_hide_header X-Request-ID;")
    ),
    "a stranger's scheme passes": Mutation(
        "proxy.spoofed",
        "proxy_set_header X-Forwarded-Proto $scheme;",
        "proxy_set_header X-Forwarded-Proto $http_x_forwarded_proto;",
    ),
    "the scheme is not told": Mutation(
        "https.loop", "proxy_set_header X-Forwarded-Proto $scheme;", ""
    ),
    "a stranger's scheme is preferred": Mutation(
        "proxy.spoofed",
        "proxy_set_header X-Forwarded-Proto $scheme;",
        'map $http_x_forwarded_proto $proto { "" $scheme; default $http_x_forwarded_proto; }\n'
        "    proxy_set_header X-Forwarded-Proto $proto;",
    ),
    "unknown hosts served under the site's name": Mutation(
        "hosts.answers",
        "        location / {\n            return 444;\n        }\n",
        "        location / {\n            proxy_set_header Host example.com;\n"
        "            proxy_set_header X-Forwarded-Proto https;\n"
        "            proxy_pass http://app;\n        }\n",
    ),
    "unknown hosts redirected to themselves": Mutation(
        "hosts.answers", "return 444;", "return 301 https://$host$request_uri;"
    ),
    "unknown hosts get a welcome page": Mutation("hosts.answers", "return 444;", "return 200 hi;"),
    "health not passed on": Mutation(
        "health.down", "location = /livez {", "location = /livez {\n            return 404;"
    ),
    "readiness not passed on": Mutation(
        "health.unready", "location = /readyz {", "location = /readyz {\n            return 503;"
    ),
    "errors replaced by pages of nginx": Mutation(
        "problems.shape",
        *in_site("proxy_intercept_errors on;", "error_page 404 /nginx-404.html;"),
    ),
    "a traceback shown": Mutation(
        "problems.leak",
        *in_site(
            "proxy_intercept_errors on;",
            "error_page 404 = @debug;",
            "}",
            "location @debug {",
            "    return 404 'Traceback (most recent call last)';",
        ),
    ),
    "old TLS": Mutation(
        "tls.old", "ssl_protocols TLSv1.2 TLSv1.3;\n    ssl_ciphers ",
        "ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;\n    ssl_ciphers ALL:@SECLEVEL=0:",
    ),
}  # fmt: skip


def probed(example: Deployment, text: str) -> list[Finding]:
    settings = load(directory=example.directory, environ=example.environ)
    with example.nginx(text):
        return run(
            example.url,
            settings,
            connect=Door("127.0.0.1", example.https),
            cafile=str(example.ca),
        )


def test_the_good_deployment_raises_nothing(example: Deployment) -> None:
    assert probed(example, example.rendered()) == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_misconfiguration_is_named(example: Deployment, name: str) -> None:
    mutation = MUTATIONS[name]
    text = example.rendered()
    assert mutation.old in text
    found = {one.id for one in probed(example, text.replace(mutation.old, mutation.new))}
    assert mutation.id in found
    assert "probe.crashed" not in found
