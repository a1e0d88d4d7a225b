"""``seawall probe``: does the live site keep what the settings promise?"""

from time import perf_counter
from typing import Annotated

import typer

from seawall import probe as probes
from seawall.cli import output
from seawall.cli.flags import Form, Given, settings
from seawall.cli.project import project
from seawall.findings import Finding, Level

Connect = Annotated[
    str | None,
    typer.Option("--connect", metavar="HOST:PORT", help="Reach the site at another address."),
]
ConnectHttp = Annotated[
    str | None,
    typer.Option("--connect-http", metavar="HOST:PORT", help="Where it listens for plain http."),
]
CaFile = Annotated[
    str | None, typer.Option("--cafile", metavar="PATH", help="Trust these authorities, PEM.")
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Take any certificate.")]
Timeout = Annotated[
    float,
    typer.Option("--timeout", min=0.1, metavar="SECONDS", help="How long a request may take."),
]

Active = Annotated[
    bool,
    typer.Option("--active", help="Prove the limits too, with up to a thousand requests."),
]


@settings()
def probe(
    url: Annotated[str, typer.Argument(metavar="URL", help="The site: https://example.com")],
    *,
    connect: Connect = None,
    connect_http: ConnectHttp = None,
    cafile: CaFile = None,
    insecure: Insecure = False,
    timeout: Timeout = 10.0,
    active: Active = False,
    app: Annotated[
        str, typer.Option("--app", help="Whose settings; looked for when left out.")
    ] = "",
    form: Form = output.Format.TEXT,
    given: Given,
) -> int:
    """Asks a live site, from outside, to keep what the settings promise.

    Exits 0 when it does, 1 with findings, 2 when the site cannot be asked. Only harmless
    requests are sent: nothing is logged in, posted to a form or deleted. With --active they
    are many: the site's limits are run into, and this address may be refused for a while.
    """
    began = perf_counter()
    at = project(given.with_app(app), needed=False)
    if at.trouble:
        output.note(f"note: settings made in the app's code are not heard: {at.trouble}")
    else:
        output.note(f"note: settings of {at.whose}")
    found = probes.run(
        url,
        at.settings,
        connect=probes.Door.parse(connect) if connect else None,
        connect_http=probes.Door.parse(connect_http) if connect_http else None,
        cafile=cafile,
        insecure=insecure,
        timeout=timeout,
        active=active,
        progress=lambda done: output.note(f"{done.name} ... {_outcome(done.findings)}"),
    )
    code = output.findings(found, form)
    output.note(f"{url}: {_count(found)} in {perf_counter() - began:.2f} s")
    # A check that fell over says nothing about the site.
    crashed = any(one.id == probes.CRASHED.id for one in found)
    return output.USAGE if crashed else code


def _outcome(found: tuple[Finding, ...]) -> str:
    return _count(found) if found else "ok"


def _count(found: "tuple[Finding, ...] | list[Finding]") -> str:
    """``2 errors, 1 warning``; ``no findings``."""
    counts = [(sum(one.level is level for one in found), level.value) for level in Level]
    told = [f"{count} {level}{'s' if count > 1 else ''}" for count, level in counts if count]
    return ", ".join(told) or "no findings"
