"""``seawall check``: what is wrong with the settings and the app, before anyone is served."""

import difflib
from typing import Annotated

import typer

from seawall import check as checks
from seawall import probe as probes
from seawall.cli import output
from seawall.cli.flags import App, Factory, Form, Given, settings
from seawall.cli.project import project
from seawall.errors import SettingsError

Explain = Annotated[
    str, typer.Option("--explain", metavar="ID", help="Say why a rule is there, and the fix.")
]


@settings()
def check(
    app: App = "",
    *,
    factory: Factory = False,
    form: Form = output.Format.TEXT,
    explain: Explain = "",
    given: Given,
) -> int:
    """Finds what is wrong with the settings and the app.

    Exits 0 when clean, 1 with findings. Nothing is started. Without an app the settings
    alone are looked at. `--explain ID` says why a rule is there.
    """
    if explain:
        return _explained(explain)
    at = project(given.with_app(app), factory=factory)
    found = checks.run(at.settings, at.located and at.located.app, origin=at.origin)
    code = output.findings(found, form)
    settings_count, policies = sum(1 for _ in at.items()), len(at.settings.policies)
    output.note(f"checked {policies} policies and {settings_count} settings of {at.whose}")
    return code


def _explained(id_: str) -> int:
    rules = {rule.id: rule for rule in (*checks.rules(), *probes.RULES)}
    rule = rules.get(id_)
    if rule is None:
        close = difflib.get_close_matches(id_, rules, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(rules)}"
        raise SettingsError(f"there is no rule {id_!r}", hint=hint)
    output.say(f"{rule.id} ({rule.level})")
    output.say(f"  why: {rule.why}")
    output.say(f"  fix: {rule.fix}")
    return output.CLEAN
