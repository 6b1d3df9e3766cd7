"""``[[edge]]``: what is read, what a refusal says, and what a reload tells of a change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsproxy.config.edge_words import edge_changes
from wsproxy.config.settings import Settings
from wsproxy.config.settings_edge import (
    INTERCEPTED,
    MOST_PAGE_BYTES,
    RedirectSettings,
    redirect_of,
)
from wsproxy.config.settings_file import parse_settings
from wsproxy.errors import ConfigRefusedError

FILE = Path("/nowhere/wsproxy.toml")


def refusal(text: str, file: Path = FILE) -> list[str]:
    with pytest.raises(ConfigRefusedError) as refused:
        parse_settings(text, file)
    return [line.removeprefix(f"{file}:") for line in str(refused.value).splitlines()]


def test_both_ways_to_say_a_redirect_mean_the_same() -> None:
    text = '[[edge]]\nredirect = "https"\n[[edge]]\nredirect = { to = "https" }\n[[edge]]\nredirect = "none"'
    short, long, none = parse_settings(text, FILE).edge
    assert redirect_of(short) == redirect_of(long) == RedirectSettings(to="https")
    assert redirect_of(none) is None


def test_fields_may_stand_in_a_table_of_their_own() -> None:
    text = '[[edge]]\n[edge.headers]\nremove = ["A"]\n[edge.headers.set]\nX-B = "c"'
    [edge] = parse_settings(text, FILE).edge
    assert edge.headers.set == {"X-B": "c"}
    assert edge.headers.remove == ("A",)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('redirect = "htps"', '2: edge.redirect: found "htps"; allowed is "https" or "none" or a table'),
        ('redirect = { prot = 1 }', "2: found unknown setting edge.redirect.prot; did you mean port?"),
        ('redirect = { status = 300, to = "https" }', "2: edge.redirect.status: found 300; allowed is 301 or 302 or 303 or 307 or 308"),
        ("redirect = {}", '2: edge.redirect: found no target; allowed is "https", or a table with to, host, port or path'),
        ('redirect = { host = "a/b" }', '2: edge.redirect.host: found "a/b"; allowed is a host name without scheme, port and path'),
        ('redirect = { path = "//evil.example" }', '2: edge.redirect.path: found "//evil.example"; allowed is a path, and a query, as browsers send it: it begins with one /, and what is no ASCII is written as %XX'),
        ('header = 3', "2: found unknown setting edge.header; did you mean headers?"),
        ("ports = [0]", "2: edge.ports: found 0; allowed are ports from 1 to 65535"),
        ('listener = "80"', '2: edge.listener: found \'80\'; allowed is HOST:PORT (for port 80: 127.0.0.1:80 or :80)'),
        ('listener = ":80"\nports = [80]', '2: edge.listener: found ":80" beside ports; allowed is one of them'),
        ('hosts = ["a:80"]', '2: edge.hosts: found "a:80"; allowed is a host name without a port, "*." in front of it for any name under it, or an address'),
        ('paths = ["/a*b*"]', '2: edge.paths: found "/a*b*"; allowed is a path, decoded, with at most one "*": "/app/*", "*.jsp", "/favicon.ico"'),
        ('paths = ["/a//b"]', '2: edge.paths: found "/a//b"; allowed is a path as it is when it was tidied: no //, no /../, no query, no ;parameters, and a space where clients write %20'),
        ('deny = ["10.1.2.3/8"]', '2: edge.deny: found "10.1.2.3/8" (10.1.2.3/8 has host bits set); allowed is an address, a network like 10.0.0.0/8, or "all"'),
        ('error_pages = { 499 = "x" }', '2: edge.error_pages: found "499"; allowed are what wsproxy answers itself: 400, 403, 404, 405, 408, 412, 413, 414, 416, 417, 431, 500, 502, 503, 504, 505; and errors of servers in intercept'),
        ('intercept = [404]', '2: edge.intercept: found 404 without a page; allowed with one in the same table: error_pages = { 404 = "FILE" }'),
        ('intercept = [401]', f"2: edge.intercept: found 401; allowed are errors of servers: {', '.join(map(str, INTERCEPTED))}"),
        ('intercept = [200]', f"2: edge.intercept: found 200; allowed are errors of servers: {', '.join(map(str, INTERCEPTED))}"),
        ('maintenance = "no.html"', '2: edge.maintenance: found "/nowhere/no.html", which cannot be read: No such file or directory; allowed is a file of at most 262144 bytes'),
        ('headers.set = { "X y" = "1" }', '2: edge.headers.set: found "X y"; allowed is the name of a field: letters, digits, -'),
        ('headers.set = { A = "1" }\nheaders.add = { a = "2" }', '3: edge.headers.add: found "a" again; allowed is each field once in a table'),
        ('headers.set = { A = "ä" }', '2: edge.headers.set: found A = "ä"; allowed are up to 4096 characters of ASCII, without line breaks'),
        ('headers.set = { A = "a\\r\\nB: c" }', '2: edge.headers.set: found "a\\r\\nB: c", which has a line break in it; allowed is text without'),
        ('redirect = "https"\nfiles = { root = "/" }', "3: edge.files: found it with redirect; allowed is one of them in a table: the first table that has one answers"),
        ("files = {}", "2: edge.files: found no root; allowed is one: folder of the files; relative to the folder of wsproxy.toml"),
        ('files = { root = "/", precompressed = ["xz"] }', '2: edge.files.precompressed: found [\'xz\']; allowed is a list of "br" or "gz" or "zst"'),
        ('compress = { with = ["br"] }', '2: edge.compress.with: found [\'br\']; allowed is a list of "gzip" or "zstd"'),
        ('listener = "localhost:80"', '2: edge.listener: found "localhost:80"; allowed is the address that clients come to, or :80 for any'),
        ('listener = "*:80"', '2: edge.listener: found "*:80"; allowed is the address that clients come to, or :80 for any'),
        *((f'paths = ["{path}"]', f'2: edge.paths: found "{path}"; allowed is a path as it is when it was tidied: no //, no /../, no query, no ;parameters, and a space where clients write %20')
          for path in ("/a/..", "/a/.", "/a;b", "/a%20b")),
    ],
)  # fmt: skip
def test_problem_says_what_is_allowed(lines: str, problem: str) -> None:
    more = "" if lines.startswith(("redirect", "files", "compress")) else '\nredirect = "none"'
    assert refusal(f"[[edge]]\n{lines}{more}") == [problem]


@pytest.mark.parametrize("what", ["set", "remove"])
@pytest.mark.parametrize(
    "name",
    [
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "Keep-Alive",
        "Upgrade",
        "Date",
        "Set-Cookie",
        "$WSRA",
        "X-Wsproxy-Explain",
        "Sec-WebSocket-Accept",
    ],
)
def test_fields_that_frame_or_carry_sessions_are_refused(what: str, name: str) -> None:
    value = f'{{ "{name}" = "1" }}' if what == "set" else f'["{name}"]'
    [line] = refusal(f"[[edge]]\nheaders.{what} = {value}")
    assert line.startswith(f'2: edge.headers.{what}: found "{name}", which ')


def test_table_that_does_nothing_is_refused() -> None:
    [line] = refusal("[[edge]]\nports = [80]")
    assert line.startswith("1: edge: found a table that does nothing; allowed is one with redirect")


def test_more_tables_than_there_may_be_are_refused() -> None:
    text = '[[edge]]\nredirect = "https"\n' * 65
    assert refusal(text) == ["129: edge: found 65 tables; allowed are up to 64"]


def test_pages_are_read_once_with_their_kind(tmp_path: Path) -> None:
    (tmp_path / "sorry.html").write_text("sorry")
    (tmp_path / "big.txt").write_bytes(b"x" * (MOST_PAGE_BYTES + 1))
    text = '[[edge]]\nerror_pages = { 502 = "sorry.html", 503 = "sorry.html" }\nmaintenance = "sorry.html"'
    file = tmp_path / "wsproxy.toml"
    [page] = parse_settings(text, file).edge_pages
    assert page.path == str(tmp_path / "sorry.html")
    assert (page.kind, page.body) == ("text/html; charset=utf-8", b"sorry")
    [line] = refusal('[[edge]]\nmaintenance = "big.txt"', file)
    assert "cannot be read: it has more than 262144 bytes" in line


def test_page_has_the_kind_of_files_and_waits_for_nobody(tmp_path: Path) -> None:
    """By the table of files and not the machine's; a FIFO would hold up a reload for ever."""
    (tmp_path / "sorry.svg").write_bytes(b"<svg/>")
    (tmp_path / "sorry.webp").write_bytes(b"RIFF")
    os.mkfifo(tmp_path / "pipe")
    text = '[[edge]]\nerror_pages = { 404 = "sorry.svg", 416 = "sorry.webp" }'
    pages = parse_settings(text, tmp_path / "wsproxy.toml").edge_pages
    assert [page.kind for page in pages] == ["image/svg+xml", "image/webp"]
    problem = f'2: edge.error_pages: found "{tmp_path}/pipe", which cannot be read: it is no regular file; allowed is a file of at most {MOST_PAGE_BYTES} bytes'
    text = '[[edge]]\nerror_pages = { 412 = "pipe" }'
    assert refusal(text, tmp_path / "wsproxy.toml") == [problem]


def test_what_was_read_is_no_setting() -> None:
    assert refusal("edge_pages = []")[0].startswith("1: found unknown setting edge_pages")


def test_reload_names_each_table_that_is_otherwise(tmp_path: Path) -> None:
    (tmp_path / "m.html").write_text("1")
    file = tmp_path / "wsproxy.toml"
    first = '[[edge]]\nports = [80]\nredirect = "https"\n'
    last = '[[edge]]\nhosts = ["a", "b", "c"]\nmaintenance = "m.html"\n'
    before = parse_settings(first + last, file)
    changed = parse_settings(first.replace("80", "80, 81") + last, file)
    assert list(edge_changes(before, changed)) == ["[[edge]] 1 (ports 80, 81) is changed: ports"]
    assert list(edge_changes(before, parse_settings(last, file))) == [
        "[[edge]] 1 (ports 80) is gone: redirect"
    ]
    assert list(edge_changes(Settings(), before)) == [
        "[[edge]] 1 (ports 80) is new: redirect",
        "[[edge]] 2 (hosts a, b and 1 more) is new: maintenance",
    ]
    (tmp_path / "m.html").write_text("2")
    again = parse_settings(first + last, file)
    assert list(edge_changes(before, again)) == [f"page {tmp_path}/m.html is changed"]
    assert before != again
