"""Static files, served by the app and by the rendered nginx alike.

A mount is a URL prefix and a directory: ``static = {mounts = {"/static" = "static"}}``.
Guarantees (RFC 9110, sections 13 and 14; RFC 8246): GET and HEAD alone; the same ETag, type
and cache headers from either server; conditional and range requests; files whose name holds a
hash are immutable; precompressed siblings go to clients that read them. Directories, hidden
files and links are not there. Files are read in a thread, piece by piece.
"""

import asyncio
import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path as File
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from seawall.errors import Hinted, RenderError
from seawall.findings import Finding, Level, Rule
from seawall.policies.codings import choose
from seawall.policies.exchange import ASGIApp, Exchange, Receive, Refusal, Scope, Send
from seawall.policies.file_response import described, send_answer, send_file
from seawall.policies.files import SUFFIXES, find
from seawall.policies.media_types import TYPES
from seawall.policies.paths import local
from seawall.policies.policy import Act, Audit, Draft, Policy, Site, Surroundings
from seawall.policies.values import Path

_UNQUOTABLE = "\"'{};$\n\\"
"""What no quoting in nginx makes harmless: it even expands variables inside quotes."""

_MANY = 10_000
_CODINGS = tuple(coding.encode() for coding in SUFFIXES)
_ENCODED_SLASH = re.compile(rb"%(2f|5c)", re.IGNORECASE).search


def _mounts(value: dict[Path, str]) -> dict[Path, str]:
    for prefix, directory in value.items():
        if not prefix.strip("/"):
            raise Hinted("a mount at '/' would hide the app", "mount at a prefix like '/static'")
        if any(c in directory for c in _UNQUOTABLE):
            raise Hinted(f"{directory!r} cannot stand in a configuration file", "rename it")
    return {prefix.rstrip("/"): directory for prefix, directory in value.items()}


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise Hinted(f"{value!r} is not a regular expression: {error}") from error
    if '"' in value or not value.isprintable():
        raise Hinted(f"{value!r} cannot stand in a configuration file", "leave out '\"'")
    return value


class Static(Policy):
    """Serves directories of static files."""

    name: ClassVar[str] = "static"
    MISSING: ClassVar[Rule] = Rule(
        "static.missing",
        Level.ERROR,
        "Every file of the mount is answered with 404.",
        "create the directory, or correct static.mounts",
    )
    STALE: ClassVar[Rule] = Rule(
        "static.stale",
        Level.WARNING,
        "A compressed sibling that is older than its file gives some visitors the old content.",
        "compress the files anew when they change: gzip -k9, brotli -k, zstd -k19",
    )
    UNCACHED: ClassVar[Rule] = Rule(
        "static.uncached",
        Level.WARNING,
        "Without the promised cache headers and ETag browsers fetch the same files again.",
        "serve the files by the app or by the nginx that `seawall render nginx` writes",
    )
    ESCAPES: ClassVar[Rule] = Rule(
        "static.escapes",
        Level.ERROR,
        "A path that leaves the mount's directory reads other files of the server: "
        "`location /static { alias /srv/static/; }` without the slash does that.",
        "end both the location and the alias with a slash",
    )

    mounts: Annotated[dict[Path, str], AfterValidator(_mounts)] = Field(default_factory=dict)
    """URL prefix to directory, relative to the working directory."""
    max_age: int = Field(default=3600, ge=0)
    """Seconds that browsers may keep a file before they ask again."""
    immutable: Annotated[str, AfterValidator(_regex)] = r"[.-][0-9a-f]{8,64}\.[^/]+$"
    """Files whose path matches never change, and are kept for a year; empty for none."""
    precompressed: bool = True
    """Send `app.js.zst`, `.br` or `.gz` beside `app.js` to clients that read it."""

    def _patterns(self) -> dict[str, str]:
        """Prefix to the regular expression of its immutable paths; one for either server."""
        if not self.immutable:
            return {}
        return {prefix: f"^{re.escape(prefix)}/.*(?:{self.immutable})" for prefix in self.mounts}

    @property
    def _cached(self) -> tuple[str, str]:
        return f"max-age={self.max_age}", "max-age=31536000, immutable"

    def act(self, around: Surroundings) -> Act:
        if not self.mounts:
            return Act()
        # The longest prefix first.
        mounts = sorted(self.mounts.items(), key=lambda mount: -len(mount[0]))
        prefixes = [(f"{prefix}/", os.path.abspath(where)) for prefix, where in mounts]
        patterns = [re.compile(pattern) for pattern in self._patterns().values()]
        short, long = (value.encode("ascii") for value in self._cached)
        refuse = around.refuse

        async def reply(exchange: Exchange, path: str, prefix: str, root: str, send: Send) -> None:
            scope = exchange.scope
            steps = [step for step in path[len(prefix) :].split("/") if step]
            if "\0" in path:
                await send_answer(refuse(exchange, _BAD), scope, send)
                return
            if (
                _ENCODED_SLASH(scope.get("raw_path") or b"")
                or path.endswith("/")
                or any(step.startswith(".") for step in steps)
            ):
                await send_answer(refuse(exchange, _NOT_FOUND), scope, send)
                return
            codings: list[str] = []
            if self.precompressed:
                accepted, offered = exchange.values_of(b"accept-encoding"), list(_CODINGS)
                while (best := choose(accepted, offered)) != b"identity":
                    codings.append(best.decode())
                    offered.remove(best)
            file = await asyncio.to_thread(find, root, steps, codings)
            if file is None:
                await send_answer(refuse(exchange, _NOT_FOUND), scope, send)
                return
            try:
                kept = long if any(one.search(path) for one in patterns) else short
                said = described(exchange, file, path, kept, varies=self.precompressed)
                if isinstance(said, Refusal):
                    await send_answer(refuse(exchange, said), scope, send)
                else:
                    await send_file(*said, file, scope, send)
            finally:
                file.close()

        def wrap(app: ASGIApp) -> ASGIApp:
            async def static(scope: Scope, receive: Receive, send: Send) -> None:
                if scope["type"] == "http":
                    path = local(scope)
                    for prefix, root in prefixes:
                        if path.startswith(prefix):
                            exchange = Exchange(scope["headers"])
                            exchange.scope = scope
                            await reply(exchange, path, prefix, root, send)
                            return
                await app(scope, receive, send)

            return static

        return Act(wrap=wrap)

    def render(self, draft: Draft) -> None:
        if draft.target != "nginx" or not self.mounts:
            return
        short, long = self._cached
        draft.say(
            "http",
            "map $uri $static_cache {",
            *(f'    "~{_escaped(pattern)}" "{long}";' for pattern in self._patterns().values()),
            *(f'    "~^{_escaped(re.escape(prefix))}/" "{short}";' for prefix in self.mounts),
            "}",
            why="How long files are kept; a name with a hash in it never changes its content.",
        )
        draft.say("server", "add_header Cache-Control $static_cache;")
        for prefix, directory in self.mounts.items():
            where = os.path.abspath(directory)
            if any(c in where for c in _UNQUOTABLE):
                raise RenderError(
                    f"{where!r} cannot stand in a configuration file", hint="rename the directory"
                )
            draft.say(
                "locations",
                f"location ^~ {prefix}/ {{",
                f'    alias "{where}/";',
                "    try_files $uri =404;",
                f'    disable_symlinks on "from={where}/";',
                "    if_modified_since before;",
                "    max_ranges 1;",
                *(_PRECOMPRESSED if self.precompressed else ()),
                "",
                "    types {",
                *(f'        "{name}" {" ".join(known)};' for name, known in TYPES.items()),
                "    }",
                "",
                '    if ($request_uri ~* "^[^?]*%(2f|5c)") {',
                "        return 404;",
                "    }",
                "",
                f'    location ~ "^{_escaped(re.escape(prefix))}/(.*/)?[.]" {{',
                "        return 404;",
                "    }",
                "}",
                why="From disk, without asking the app, as the app itself would answer. Hidden "
                "files (.git, .env), directories and links are not there.",
            )

    def audit(self, audit: Audit) -> Iterator[Finding]:
        source = audit.origin("static.mounts")
        for prefix, directory in self.mounts.items() if self.enabled else ():
            if not File(directory).is_dir():
                message = f"{prefix} is mounted on {directory}, which is no directory"
                yield self.MISSING(message, source=source)
            elif self.precompressed:
                for sibling in _stale(directory):
                    yield self.STALE(f"{sibling} is older than the file beside it", source=source)

    def prove(self, site: Site) -> Iterator[Finding]:
        for prefix, directory in self.mounts.items() if self.enabled else ():
            name = _sample(directory)
            if name is None:
                continue
            path = f"{prefix}/{name}"
            reply = site.ask("GET", path)
            kept = reply.all("cache-control")
            etag = reply.get("etag")
            if reply.status != 200:
                yield self.UNCACHED(f"GET {path} answers {reply.status}")
            elif len(kept) != 1 or kept[0] not in self._cached:
                yield self.UNCACHED(
                    f"GET {path} says Cache-Control: {' and '.join(kept) or 'none'}"
                )
            elif etag is None or site.ask("GET", path, [("If-None-Match", etag)]).status != 304:
                yield self.UNCACHED(f"GET {path} with its own ETag is not answered 304")
            here = os.path.basename(os.path.abspath(directory))
            for odd in (f"{prefix}../{here}/{name}", f"{prefix}/..%2f{here}/{name}"):
                escaped = site.ask("GET", odd)
                if escaped.status == 200 and escaped.body == reply.body:
                    yield self.ESCAPES(f"GET {odd} leaves the directory and comes back")


_BAD = Refusal(400, "Invalid path")
_NOT_FOUND = Refusal(404, "No such file")

_PRECOMPRESSED = (
    "    gzip_static on;",
    "    gzip_vary on;",
    "    gzip_proxied any;",
)


def _escaped(pattern: str) -> str:
    """A regular expression inside nginx's quotes."""
    return pattern.replace("\\", "\\\\")


def _files(directory: str) -> Iterator[File]:
    """Files of a mount, in order; no more than a glance at a huge one."""
    found = (path for path in File(directory).rglob("*") if path.is_file())
    return (
        path
        for path in islice(found, _MANY)
        if not any(part.startswith(".") for part in path.relative_to(directory).parts)
    )


def _stale(directory: str) -> Iterator[File]:
    for path in _files(directory):
        original = path.with_suffix("")
        compressed = path.suffix in SUFFIXES.values() and original.is_file()
        if compressed and path.stat().st_mtime < original.stat().st_mtime:
            yield path


def _sample(directory: str) -> str | None:
    """A file to ask for, if the mount's directory is on this machine."""
    if not File(directory).is_dir():
        return None
    names = (path.relative_to(directory).as_posix() for path in _files(directory))
    return next((name for name in names if re.fullmatch(r"[A-Za-z0-9._/-]+", name)), None)
