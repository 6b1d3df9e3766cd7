"""Content-Type by a file's ending, the same on each machine."""

from __future__ import annotations

import pytest

from wsproxy.config.file_types import type_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("A.HTML", "text/html; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.woff2", "font/woff2"),
        ("a.wasm", "application/wasm"),
        ("a.xml", "application/xml"),
        ("a.png", "image/png"),
        ("a.pdf", "application/pdf"),
        ("a.tar.gz", "application/gzip"),
        ("a.js.gz", "application/gzip"),
        ("a.js.br", "application/octet-stream"),
        ("a.zst", "application/zstd"),
        ("a.txt.bz2", "application/x-bzip2"),
        ("a.zip", "application/zip"),
        ("data:text/html,a", "application/octet-stream"),
        ("a", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
    ],
)
def test_type(name: str, kind: str) -> None:
    assert type_of(name, "utf-8") == kind


def test_file_may_say_itself_what_its_characters_are() -> None:
    assert type_of("a.html", "") == "text/html"
    assert type_of("a.html", "iso-8859-1") == "text/html; charset=iso-8859-1"
