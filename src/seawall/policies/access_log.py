"""One line for each request, written when its last byte is sent.

Guarantees: a line is one line of printable ASCII, whatever the request holds, so nobody can
write into the log or into a terminal that shows it; it is shorter than 4096 bytes, so that
workers that share a pipe never write into each other's lines (POSIX, PIPE_BUF); without
``query`` it holds no query string. Requests that no answer was completed for have one too.

A websocket has a line only if its handshake was refused.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from time import gmtime, strftime, time
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator

from seawall.errors import Hinted
from seawall.findings import Finding, Level, Rule
from seawall.policies.exchange import Exchange, Outcome, Scope
from seawall.policies.policy import Act, Audit, Policy, Surroundings
from seawall.policies.route import template
from seawall.section import Strings

log = logging.getLogger("seawall.access")
"""Lines go to its handlers when it has any, and to stdout when it has none."""

LONGEST = 1024
"""Characters of a path or a query string that are kept; of other values, an eighth of it."""

_plain = re.compile(r"[!#-\[\]-~]*").fullmatch  # printable ASCII, but no space, '"' or '\'


def _paths(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not value.startswith("/"):
            raise Hinted(f"{value!r} is not a path", f"write '/{value}'")
    return values


class AccessLog(Policy):
    """Logs each request. On by itself under `seawall serve`, in place of the server's own log."""

    name: ClassVar[str] = "access_log"
    QUERY: ClassVar[Rule] = Rule(
        "access_log.query",
        Level.WARNING,
        "Query strings hold tokens, e-mail addresses and searches; a log keeps them, and "
        "many people and machines read it.",
        "set access_log.query = false",
    )

    enabled: bool = False
    """Whether the policy is on. `seawall serve` switches it on, unless it is set to `false`."""
    format: Literal["auto", "text", "json"] = "auto"
    """`text` for people, `json` for machines; `auto` is text on a terminal."""
    skip_health: bool = True
    """Leave out health checks that were answered well."""
    skip_paths: Annotated[Strings, AfterValidator(_paths)] = ()
    """Paths that are left out, exactly as written."""
    query: bool = False
    """Log the query string too."""

    def act(self, around: Surroundings) -> Act:
        text = self.format == "text" or (self.format == "auto" and _terminal())
        line, now = _text if text else _json, _clock()
        skipped, skip_health, query = frozenset(self.skip_paths), self.skip_health, self.query

        def finish(exchange: Exchange, outcome: Outcome) -> None:
            scope = exchange.scope
            if scope["path"] in skipped:
                return
            if skip_health and "seawall.health" in scope and 200 <= outcome.status < 400:
                return
            write(line(now(), scope, outcome, _target(scope, query)))

        return Act(finish=finish)

    def audit(self, audit: Audit) -> Iterator[Finding]:
        if self.query:
            yield self.QUERY("query strings are logged", source=audit.origin("access_log.query"))


def write(line: str) -> None:
    """Writes one line to whoever listens."""
    if log.handlers:
        log.info(line)
        return
    # Not through a handler of our own: making a LogRecord costs more than all of the edge.
    stream = sys.stdout
    if stream is None:
        return
    try:
        stream.write(f"{line}\n")
        stream.flush()
    except (OSError, ValueError):
        # Whoever read the log is gone, and no request shall suffer for it.
        return


def _json(now: str, scope: Scope, outcome: Outcome, target: str) -> str:
    client = scope.get("client")
    size, first = outcome.size, outcome.first
    method, request_id = scope.get("method", "WEBSOCKET"), scope.get("seawall.request_id", "")
    trace_id = scope.get("seawall.trace_id", "")
    # One look at all that others wrote, because it is almost always harmless.
    others = f"{method}{target}{request_id}{trace_id}"
    quote = _in_quotes if len(others) <= LONGEST and _plain(others) else quoted
    line = (
        f'{{"time":"{now}","method":{quote(method)},"route":{_known(template(scope))},'
        f'"path":{quote(target, LONGEST)},"status":{outcome.status or "null"},'
        f'"bytes":{"null" if size is None else size},"seconds":{outcome.seconds:.6f},'
        f'"first":{"null" if first is None else f"{first:.6f}"},'
        f'"client":{_known(client[0] if client else "")},"request_id":{quote(request_id)}'
    )
    if trace_id:
        line += f',"trace_id":{quote(trace_id)}'
    if not outcome.complete:
        line += ',"incomplete":true'
    if outcome.error:
        line += f',"error":{quoted(outcome.error)}'
    return line + "}"


def _text(now: str, scope: Scope, outcome: Outcome, target: str) -> str:
    """``time client method path status bytes ms``, and the rest as ``name=value``."""
    client = scope.get("client")
    size, first = outcome.size, outcome.first
    words = [
        now,
        _bare(_known(client[0] if client else "-")),
        _bare(quoted(scope.get("method", "WEBSOCKET"))),
        _bare(quoted(target, LONGEST)),
        f"{outcome.status or '-'}",
        "-" if size is None else f"{size}B",
        f"{outcome.seconds * 1000:.2f}ms",
    ]
    if first is not None:
        words.append(f"first={first * 1000:.2f}ms")
    for name, value in (
        ("route", template(scope)),
        ("id", scope.get("seawall.request_id", "")),
        ("error", outcome.error),
    ):
        if value:
            words.append(f"{name}={_bare(quoted(value))}")
    if not outcome.complete:
        words.append("incomplete")
    return " ".join(words)


def quoted(value: object, longest: int = LONGEST // 8) -> str:
    """The value as a JSON string of printable ASCII, cut when it is long.

    What must be escaped is cut earlier, since an escape may take six characters for one.
    """
    text = str(value)
    if _plain(text):
        return f'"{text}"' if len(text) <= longest else f'"{text[:longest]}..."'
    if len(text) > longest // 6:
        text = f"{text[: longest // 6]}..."
    return json.dumps(text).replace("\x7f", "\\u007f")


def _in_quotes(value: object, _: int = 0) -> str:
    """What :func:`quoted` makes of a short value that is plain."""
    return f'"{value}"'


_known: Callable[[str], str] = lru_cache(maxsize=1024)(quoted)
"""For what is short and comes again and again: templates and clients."""


def _bare(word: str) -> str:
    """A quoted word without its quotes, where it can be told without them."""
    inner = word[1:-1]
    return inner if inner and _plain(inner) else word


def _target(scope: Scope, query: bool) -> str:
    """The path as the client wrote it, percent-encoded."""
    raw: Any = scope.get("raw_path")
    target: str = scope["path"] if raw is None else raw.partition(b"?")[0].decode("latin-1")
    if query and scope.get("query_string"):
        target = f"{target}?{scope['query_string'].decode('latin-1')}"
    return target


def _clock() -> Callable[[], str]:
    """A function that tells the time: UTC, ISO 8601, to the millisecond."""
    known, stamp = 0, ""

    def now() -> str:
        nonlocal known, stamp
        millisecond = int(time() * 1000)
        if millisecond != known:
            second, rest = divmod(millisecond, 1000)
            known = millisecond
            stamp = f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(second))}.{rest:03d}Z"
        return stamp

    return now


def _terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()
