"""
Media types of files by their endings: one table, whatever the machine has in /etc/mime.types.

Called by ``dataplane.files`` and ``config.check_edge``. Pure. Python's own table, and what it lacks or older versions of it have otherwise.
"""

from __future__ import annotations

import mimetypes

_UNKNOWN = "application/octet-stream"
# For both: Python 3.11 knows half of them.
_TYPES = {
    ".7z": "application/x-7z-compressed",
    ".avif": "image/avif",
    ".ico": "image/vnd.microsoft.icon",
    ".jar": "application/java-archive",
    ".jnlp": "application/x-java-jnlp-file",
    ".js": "text/javascript",  # RFC 9239
    ".json": "application/json",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".mp4": "video/mp4",
    ".ogg": "audio/ogg",
    ".otf": "font/otf",
    ".properties": "text/plain",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}  # fmt: skip
# `x.tar.gz` is an archive; as a tar with Content-Encoding: gzip it would reach the disk unpacked, under the wrong name.
_PACKED = {
    "br": _UNKNOWN,
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
    "zstd": "application/zstd",
}

_table = mimetypes.MimeTypes()  # the library's table alone: no file is read into it
for _ending, _kind in _TYPES.items():
    _table.add_type(_kind, _ending)


def type_of(name: str, charset: str) -> str:
    """The Content-Type of a file with this name; ``charset``: of texts, empty: not said."""
    if name.lower().endswith(".zst"):  # Python below 3.14 does not know it
        return _PACKED["zstd"]
    kind, packed = _table.guess_type(name.replace(":", "_"))  # `data:` is no scheme here
    if packed is not None:
        return _PACKED.get(packed, _UNKNOWN)
    if kind is None:
        return _UNKNOWN
    return f"{kind}; charset={charset}" if charset and kind.startswith("text/") else kind
