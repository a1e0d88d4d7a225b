"""Media types of files by their extension, the same in the app and in the rendered server.

Each machine has a table of its own, and so would answer differently; this one is fixed. IANA's
names, with the charset where text would otherwise be guessed at.
"""

OTHER = "application/octet-stream"

_UTF_8 = "; charset=utf-8"
_TABLE = {
    f"text/html{_UTF_8}": "html htm",
    f"text/css{_UTF_8}": "css",
    f"text/javascript{_UTF_8}": "js mjs",
    f"text/plain{_UTF_8}": "txt text log",
    f"text/markdown{_UTF_8}": "md",
    f"text/csv{_UTF_8}": "csv",
    f"text/xml{_UTF_8}": "xml",
    f"text/vtt{_UTF_8}": "vtt",
    f"text/calendar{_UTF_8}": "ics",
    "application/json": "json map",
    "application/ld+json": "jsonld",
    "application/manifest+json": "webmanifest",
    "application/atom+xml": "atom",
    "application/rss+xml": "rss",
    "application/pdf": "pdf",
    "application/wasm": "wasm",
    "application/gzip": "gz",
    "application/zip": "zip",
    "application/zstd": "zst",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg oga opus",
    "audio/mp4": "m4a",
    "audio/wav": "wav",
    "font/otf": "otf",
    "font/ttf": "ttf",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "image/avif": "avif",
    "image/gif": "gif",
    "image/jpeg": "jpg jpeg",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/webp": "webp",
    "image/vnd.microsoft.icon": "ico",
    "video/mp4": "mp4 m4v",
    "video/webm": "webm",
    "video/quicktime": "mov",
}
TYPES = {name: tuple(extensions.split()) for name, extensions in _TABLE.items()}
"""Media type to its extensions."""

_BY_EXTENSION = {one: name for name, extensions in TYPES.items() for one in extensions}


def media_type(path: str) -> str:
    """The type of a file, by its last extension."""
    name = path.rpartition("/")[2]
    _, dot, extension = name.rpartition(".")
    return _BY_EXTENSION.get(extension.lower(), OTHER) if dot else OTHER
