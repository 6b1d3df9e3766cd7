"""
Judges what is said of files and of compression: ``files`` and ``compress`` of an ``[[edge]]``, and the files of ``[fallback]``.

Driven by ``config.check_edge`` and ``config.check_settings``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from wsproxy._fast.proxy.squeeze import has_zstd
from wsproxy.config.problems import printable
from wsproxy.config.settings_content import CompressSettings, FilesSettings

# RFC 9110 8.3.1; in lower case, as they are compared.
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/([a-z0-9!#$&^_.+-]{1,127}|\*)")
_VALUE = re.compile(r"[!-~]([ -~]{0,1022}[!-~])?")
_CHARSET = re.compile(r"[A-Za-z0-9._-]{1,40}")
_BEGINNING = re.compile(r"/(?!/)[ -~]*")


def file_flaws(files: FilesSettings, paths: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """(Key, what is wrong with it); ``paths``: those that lead there, none: any. # I/O."""
    if not Path(files.root).is_dir():
        yield "root", f'found "{printable(files.root)}", which is no folder; allowed is one'
    strip = files.strip
    if strip and (not _BEGINNING.fullmatch(strip) or "%" in strip or "?" in strip or "/." in strip):
        allowed = "allowed is the beginning of a path, decoded, without . and .. in it"
        yield "strip", f'found "{printable(strip)}"; {allowed}'
    elif other := [path for path in paths if not f"{path}/".startswith(strip.rstrip("/") + "/")]:
        yield (
            "strip",
            f'found "{printable(strip)}" with a path "{printable(other[0])}", where no file can be found; allowed is what all paths begin with',
        )
    for name in files.index:
        if not name or "/" in name or name.startswith("."):
            yield (
                "index",
                f'found "{printable(name)}"; allowed is the name of a file in each folder, without a dot in front',
            )
    for key, value in (("cache_control", files.cache_control), ("charset", files.charset)):
        if value and not (_VALUE if key == "cache_control" else _CHARSET).fullmatch(value):
            yield f"{key}", f'found "{printable(value)}"; allowed is what a field may say'
    if len(set(files.precompressed)) < len(files.precompressed):
        yield "precompressed", "found an ending twice; allowed is each once, best first"


def compress_flaws(compress: CompressSettings) -> Iterator[tuple[str, str]]:
    """(Key, what is wrong with it)."""
    codings = compress.with_
    if not codings or len(set(codings)) < len(codings):
        yield (
            "with",
            "found none, or one twice; allowed are gzip, zstd, or both, best first",
        )
    if "zstd" in codings and not has_zstd():
        yield (
            "with",
            "found zstd, for which this Python has no library; allowed is gzip, or zstd with Python 3.14 or the package backports.zstd (pip install 'wsproxy[zstd]')",
        )
    if not compress.types:
        yield "types", "found none: nothing would be compressed; allowed are media types"
    for kind in compress.types:
        if not _MEDIA_TYPE.fullmatch(kind):
            allowed = (
                'allowed is a media type in lower case, without parameters: "text/html", "text/*"'
            )
            yield "types", f'found "{printable(kind)}"; {allowed}'
