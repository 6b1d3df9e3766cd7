"""
Judges the ``[[edge]]`` tables of wsproxy.toml, and reads the pages that they name. # I/O.

Driven by ``config.settings_file``. What may be set in answers is decided here: a field that frames a message, belongs to one
connection or carries a session is not an operator's to write, as a client or a server would read another message than we do.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from wsproxy.config.address import MAX_PORT, parse_address
from wsproxy.config.check_content import compress_flaws, file_flaws
from wsproxy.config.check_settings import KeyPath, Say
from wsproxy.config.file_types import type_of
from wsproxy.config.problems import nearest, printable
from wsproxy.config.settings_content import CompressSettings
from wsproxy.config.settings_edge import (
    FRAMING,
    INTERCEPTED,
    MOST_EDGES,
    MOST_HEADER_FIELDS,
    MOST_NETWORKS,
    MOST_PAGE_BYTES,
    MOST_VALUE_BYTES,
    OWN_ERRORS,
    EdgeSettings,
    HeaderSettings,
    Page,
    RedirectSettings,
    duties_of,
)
from wsproxy.config.settings_tls import absolute

ALL = "all"

_STATUSES = tuple(map(str, OWN_ERRORS))

# RFC 9110 5.6.2
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_HOST = re.compile(r"(?=.{1,255}$)(\*\.)?[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_-])?")
_IPV6_HOST = re.compile(r"\[[0-9A-Fa-f:.]{2,45}\]")
# RFC 3986 3.3 and 3.4, as it goes into Location.
_TARGET = re.compile(r"/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@/%-]*(\?[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*)?")
_PATH = re.compile(r"[ -~]+")
# What no path has any more that was tidied: with it in `paths` a table fits nothing, and a `deny` that fits nothing is none.
_UNTIDY = re.compile(r"//|/\.{1,2}(/|$)|[?#;]|%[0-9A-Fa-f]{2}")

_SESSIONS = frozenset({"set-cookie", "set-cookie2"})
_PRIVATE = ("$ws", "_ws_", "x-wsproxy-", "sec-websocket-")


def with_absolute_pages(edge: EdgeSettings, folder: Path) -> EdgeSettings:
    """The same table; its files no longer depend on where wsproxy was started."""
    pages = edge.error_pages and {
        status: absolute(name, folder) for status, name in edge.error_pages.items()
    }
    files = edge.files
    if files is not None:
        files = msgspec.structs.replace(files, root=absolute(files.root, folder))
    return msgspec.structs.replace(
        edge, error_pages=pages, maintenance=absolute(edge.maintenance, folder), files=files
    )


def check_edges(edges: Sequence[EdgeSettings], say: Say) -> tuple[Page, ...]:
    """Tells what is wrong with them; the pages that they name, each once. # I/O."""
    pages: dict[str, Page] = {}
    if len(edges) > MOST_EDGES:
        text = f"edge: found {len(edges)} tables; allowed are up to {MOST_EDGES}"
        say("error", "setting-value", ("edge", MOST_EDGES), text)
        return ()
    for index, edge in enumerate(edges):
        at: KeyPath = ("edge", index)
        for name, text in _flaws(edge):
            path = tuple(name.split("."))
            say("error", "setting-value", (*at, *path), f"edge.{name}: {text}")
        if not duties_of(edge):
            text = "edge: found a table that does nothing; allowed is one with redirect, headers, allow, deny, error_pages, maintenance, compress or files"
            say("error", "setting-value", at, text)
        for name, where in _pages_of(edge):
            if where not in pages:
                try:
                    pages[where] = read_page(where)
                except OSError as error:
                    text = f'edge.{name}: found "{printable(where)}", which cannot be read: {error.strerror or error}; allowed is a file of at most {MOST_PAGE_BYTES} bytes'
                    say("error", "setting-value", (*at, name), text)
    return tuple(pages.values())


def read_page(path: str) -> Page:
    """
    The page in a file. # I/O.

    Raises:
        OSError: it cannot be read, or is too long.
    """
    # A FIFO would be waited for until somebody writes into it, in a reload for ever.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(file, "rb") as opened:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError("it is no regular file")
        body = opened.read(MOST_PAGE_BYTES + 1)
    if len(body) > MOST_PAGE_BYTES:
        raise OSError(f"it has more than {MOST_PAGE_BYTES} bytes")
    return Page(path, type_of(path, "utf-8"), body)


def _may_have_page(edge: EdgeSettings, status: str) -> bool:
    return status in _STATUSES or status in map(str, edge.intercept)


def _pages_of(edge: EdgeSettings) -> Iterator[tuple[str, str]]:
    for status, name in (edge.error_pages or {}).items():
        if _may_have_page(edge, status):
            yield "error_pages", name
    if edge.maintenance:
        yield "maintenance", edge.maintenance


def _flaws(edge: EdgeSettings) -> Iterator[tuple[str, str]]:
    """(setting, what is wrong with it)."""
    yield from _selection_flaws(edge)
    if isinstance(edge.redirect, RedirectSettings):
        yield from _redirect_flaws(edge.redirect)
    if edge.redirect is not None and edge.files is not None:
        yield (
            "files",
            "found it with redirect; allowed is one of them in a table: the first table that has one answers",
        )
    yield from _header_flaws(edge.headers)
    for name in ("allow", "deny", "maintenance_allow"):
        yield from _network_flaws(name, getattr(edge, name))
    yield from _page_flaws(edge)
    if edge.files is not None:
        for key, text in file_flaws(edge.files, edge.paths):
            yield f"files.{key}", text
    if isinstance(edge.compress, CompressSettings):
        for key, text in compress_flaws(edge.compress):
            yield f"compress.{key}", text


def _page_flaws(edge: EdgeSettings) -> Iterator[tuple[str, str]]:
    pages = edge.error_pages or {}
    for status in pages:
        if not _may_have_page(edge, status):
            known = ", ".join(_STATUSES)
            yield (
                "error_pages",
                f'found "{printable(status)}"; allowed are what wsproxy answers itself: {known}; and errors of servers in intercept',
            )
    for code in edge.intercept:
        if code not in INTERCEPTED:
            known = ", ".join(map(str, INTERCEPTED))
            yield "intercept", f"found {code}; allowed are errors of servers: {known}"
        elif str(code) not in pages:
            yield (
                "intercept",
                f'found {code} without a page; allowed with one in the same table: error_pages = {{ {code} = "FILE" }}',
            )


def _selection_flaws(edge: EdgeSettings) -> Iterator[tuple[str, str]]:
    if edge.listener:
        try:
            address = parse_address(edge.listener, is_listener=True)
        except ValueError as error:
            yield "listener", str(error)
        else:
            if edge.ports:
                yield "listener", f'found "{edge.listener}" beside ports; allowed is one of them'
            elif address.port == 0:
                yield "listener", f'found "{edge.listener}"; allowed is a port from 1 to {MAX_PORT}'
            elif not _is_address(address.host):
                yield (
                    "listener",
                    f'found "{printable(edge.listener)}"; allowed is the address that clients come to, or :{address.port} for any',
                )
    for port in edge.ports:
        if not 0 < port <= MAX_PORT:
            yield "ports", f"found {port}; allowed are ports from 1 to {MAX_PORT}"
    yield from _name_flaws(edge)


def _is_address(host: str) -> bool:
    """Or none: a name would be compared with the address that the client came to, and fit nothing."""
    try:
        return not host or ipaddress.ip_address(host) is not None
    except ValueError:
        return False


def _name_flaws(edge: EdgeSettings) -> Iterator[tuple[str, str]]:
    for host in edge.hosts:
        if not _HOST.fullmatch(host) and not _IPV6_HOST.fullmatch(host):
            allowed = 'allowed is a host name without a port, "*." in front of it for any name under it, or an address'
            yield "hosts", f'found "{printable(host)}"; {allowed}'
    for path in edge.paths:
        if not _PATH.fullmatch(path) or path.count("*") > 1 or path[0] not in "/*":
            allowed = 'allowed is a path, decoded, with at most one "*": "/app/*", "*.jsp", "/favicon.ico"'
            yield "paths", f'found "{printable(path)}"; {allowed}'
        elif _UNTIDY.search(path):
            yield (
                "paths",
                f'found "{printable(path)}"; allowed is a path as it is when it was tidied: no //, no /../, no query, no ;parameters, and a space where clients write %20',
            )


def _redirect_flaws(redirect: RedirectSettings) -> Iterator[tuple[str, str]]:
    host, path = redirect.host, redirect.path
    if host and (host.startswith("*") or not (_HOST.fullmatch(host) or _IPV6_HOST.fullmatch(host))):
        yield (
            "redirect.host",
            f'found "{printable(host)}"; allowed is a host name without scheme, port and path',
        )
    if path and not _TARGET.fullmatch(path):
        allowed = "allowed is a path, and a query, as browsers send it: it begins with one /, and what is no ASCII is written as %XX"
        yield "redirect.path", f'found "{printable(path)}"; {allowed}'
    if not (host or path or redirect.port or redirect.to != "same"):
        yield (
            "redirect",
            'found no target; allowed is "https", or a table with to, host, port or path',
        )


def _header_flaws(headers: HeaderSettings) -> Iterator[tuple[str, str]]:
    named = [("set", name) for name in headers.set or {}]
    named += [("add", name) for name in headers.add or {}]
    named += [("remove", name) for name in headers.remove]
    if len(named) > MOST_HEADER_FIELDS:
        yield (
            "headers",
            f"found {len(named)} fields; allowed are up to {MOST_HEADER_FIELDS} in a table",
        )
    seen: set[str] = set()
    for what, name in named:
        lower = name.lower()
        if not _TOKEN.fullmatch(name):
            yield (
                f"headers.{what}",
                f'found "{printable(name)}"; allowed is the name of a field: letters, digits, -',
            )
        elif why := _why_not(lower):
            yield (
                f"headers.{what}",
                f'found "{name}", {why}; allowed is a field that only the client reads, like "Strict-Transport-Security"',
            )
        elif lower in seen:
            yield f"headers.{what}", f'found "{name}" again; allowed is each field once in a table'
        seen.add(lower)
    for what, values in (("set", headers.set), ("add", headers.add)):
        for name, value in (values or {}).items():
            if not value.isascii() or len(value) > MOST_VALUE_BYTES:
                allowed = (
                    f"allowed are up to {MOST_VALUE_BYTES} characters of ASCII, without line breaks"
                )
                yield f"headers.{what}", f'found {name} = "{printable(value[:60])}"; {allowed}'


def _why_not(lower: str) -> str:
    """Why nobody may edit this field; empty: one may."""
    if lower in FRAMING:
        return "which says where a message ends, or belongs to one connection"
    if lower in _SESSIONS:
        return "which carries sessions: wsproxy completes it"
    if lower.startswith(_PRIVATE):
        return "which is the protocol's own"
    return ""


def _network_flaws(name: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    if len(texts) > MOST_NETWORKS:
        yield name, f"found {len(texts)} networks; allowed are up to {MOST_NETWORKS}"
    for text in texts:
        if text == ALL:
            continue
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            likely = nearest(text, [ALL])
            allowed = (
                f'did you mean "{likely}"?'
                if likely
                else 'allowed is an address, a network like 10.0.0.0/8, or "all"'
            )
            yield name, f'found "{printable(text)}" ({printable(str(error))}); {allowed}'
