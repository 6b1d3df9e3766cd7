"""
Settings of what is sent: ``files`` and ``compress`` of an ``[[edge]]`` table.

Driven by ``config.settings_edge``. Only structs.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

PrecompressedCoding = Literal["zst", "br", "gz"]
LiveCoding = Literal["zstd", "gzip"]

# What is text, and not compressed by itself already. Never a font, an image but SVG, an archive.
COMPRESSED_TYPES = (
    "text/html",
    "text/css",
    "text/plain",
    "text/xml",
    "text/javascript",
    "application/javascript",
    "application/json",
    "application/xml",
    "application/xhtml+xml",
    "application/rss+xml",
    "image/svg+xml",
)


# Of files, whoever leads to them: an [[edge]], or [fallback].
Index = Annotated[
    tuple[str, ...],
    Meta(description="names of the file that is sent for a folder, the first that is there"),
]
Precompressed = Annotated[
    tuple[PrecompressedCoding, ...],
    Meta(
        description='endings of compressed files, "zst", "br", "gz", best first: one that lies beside the file is sent to clients that take it'
    ),
]
CacheControl = Annotated[str, Meta(description="Cache-Control of the files; empty: none is sent")]
Charset = Annotated[
    str,
    Meta(
        description="what Content-Type says of the characters of text files; empty: nothing, the file says it"
    ),
]


class FilesSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``files`` of an ``[[edge]]``: static files instead of a server's answer."""

    root: Annotated[
        str,
        Meta(
            min_length=1,
            description="folder of the files; relative to the folder of wsproxy.toml",
        ),
    ]
    strip: Annotated[
        str,
        Meta(
            description="what is taken off the front of a request's path before the file is looked for, as Alias does; empty: nothing, as with DocumentRoot"
        ),
    ] = ""
    index: Index = ("index.html",)
    precompressed: Precompressed = ()
    cache_control: CacheControl = ""
    charset: Charset = "utf-8"


class CompressSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``compress`` of an ``[[edge]]``: answers of servers are compressed for clients that take that."""

    with_: Annotated[
        tuple[LiveCoding, ...],
        Meta(
            description='content codings, "zstd" and "gzip", best first; zstd needs Python 3.14 or backports.zstd'
        ),
    ] = field(default=("gzip",), name="with")
    types: Annotated[
        tuple[str, ...],
        Meta(description='media types that are compressed; "text/*" is every text'),
    ] = COMPRESSED_TYPES
    min_bytes: Annotated[
        int,
        Meta(ge=0, le=1_048_576, description="bytes below which an answer goes on as it is"),
    ] = 1024
    level: Annotated[
        int,
        Meta(ge=1, le=9, description="how hard to compress: 1 fast, 9 small"),
    ] = 5
