"""``seawall check``: what is wrong with the settings and the app, before anyone is served."""

from seawall import check as checks
from seawall.cli import output
from seawall.cli.flags import App, Factory, Form, Given, settings
from seawall.cli.project import project


@settings()
def check(
    app: App = "",
    *,
    factory: Factory = False,
    form: Form = output.Format.TEXT,
    given: Given,
) -> int:
    """Finds what is wrong with the settings and the app.

    Exits 0 when clean, 1 with findings. Nothing is started. Without an app the settings
    alone are looked at. Each finding's id is explained in the reference of rules.
    """
    at = project(given.with_app(app), factory=factory)
    found = checks.run(at.settings, at.located and at.located.app, origin=at.origin)
    code = output.findings(found, form)
    settings_count, policies = sum(1 for _ in at.items()), len(at.settings.policies)
    output.note(f"checked {policies} policies and {settings_count} settings of {at.whose}")
    return code
