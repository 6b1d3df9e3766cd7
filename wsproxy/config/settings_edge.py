"""
``[[edge]]`` of wsproxy.toml: what a web server in front of the plug-in does before and beside it. A fixed set of duties, no rules.

Each table selects requests and says what is done with them. Read by ``config.settings_file``, judged by ``config.check_edge``,
compiled by ``dataplane.edges``. Only structs, and what is said about a table in one place.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from msgspec import Meta, Struct

from wsproxy.config.settings_content import CompressSettings, FilesSettings
from wsproxy.config.settings_process import LONGEST_S

# The compiled tables that fit a request are bits of one word. httpd's own samples have a handful of these for each VirtualHost.
MOST_EDGES = 64
# Statuses that wsproxy answers by itself: what `error_pages` can have a page for.
OWN_ERRORS = (400, 403, 404, 405, 408, 412, 413, 414, 416, 417, 431, 500, 502, 503, 504, 505)
# Of servers' errors these go through: a client that does not see their fields cannot log in, or speak another protocol.
NOT_INTERCEPTED = frozenset((401, 407, 426))
INTERCEPTED = tuple(int(each) for each in HTTPStatus if each >= 400 and each not in NOT_INTERCEPTED)
# What a page has at most: each process keeps it in memory, and a client waits for it while something is broken.
MOST_PAGE_BYTES = 262_144
# Networks of one list; they are looked through one after the other.
MOST_NETWORKS = 1024
# Fields that one table sets, adds and removes, all together, and the bytes of a value: heads have room for some KiB more.
MOST_HEADER_FIELDS = 64
MOST_VALUE_BYTES = 4096
NONE = "none"

RedirectTo = Literal["same", "http", "https"]
RedirectStatus = Literal[301, 302, 303, 307, 308]
RedirectWord = Literal["https", "none"]
Scheme = Literal["any", "http", "https"]

# RFC 9110 7.6.1 and 9112: these say where a message ends, or belong to one connection. RFC 6455 11.3 for the last ones.
FRAMING = frozenset(
    [
        "connection",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "date",
        "content-range",
        "accept-ranges",
    ]
)


class RedirectSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``edge.redirect`` as a table: where the client is sent instead."""

    to: Annotated[
        RedirectTo,
        Meta(
            description='scheme of the new address; "https", "http": only clients that came by the other one are sent on'
        ),
    ] = "same"
    host: Annotated[
        str, Meta(description="host of the new address; empty: the one that the client asked for")
    ] = ""
    port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="port of the new address; 0: the usual one of its scheme, or the client's where scheme and host stay",
        ),
    ] = 0
    path: Annotated[
        str,
        Meta(
            description="path of the new address, instead of path and query of the request; empty: those, as they came"
        ),
    ] = ""
    status: Annotated[
        RedirectStatus,
        Meta(
            description="308 for good, 307 for now, both with the same method; 301, 302 as older clients know them; 303 then GET"
        ),
    ] = 308


class HeaderSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``edge.headers``: fields of final answers."""

    set: Annotated[
        dict[str, str] | None,
        Meta(description="fields that answers have with this value, instead of what a server says"),
    ] = None
    add: Annotated[
        dict[str, str] | None,
        Meta(description="fields that answers have besides those of a server"),
    ] = None
    remove: Annotated[
        tuple[str, ...], Meta(description="fields of servers that clients do not get")
    ] = ()


class EdgeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[edge]]``: which requests, and what is done with them."""

    listener: Annotated[
        str,
        Meta(description="HOST:PORT or :PORT that the client came to; empty: any"),
    ] = ""
    ports: Annotated[
        tuple[int, ...], Meta(description="ports that the client came to; []: any")
    ] = ()
    scheme: Annotated[
        Scheme,
        Meta(description="what the client speaks, also where a TrustedProxy says so"),
    ] = "any"
    hosts: Annotated[
        tuple[str, ...],
        Meta(description='host names that are asked for, "*." for any name under one; []: any'),
    ] = ()
    paths: Annotated[
        tuple[str, ...],
        Meta(
            description='paths, "*" for any characters, once: "/app/*" (and "/app"), "*.jsp"; compared decoded and tidied; []: any'
        ),
    ] = ()
    clusters: Annotated[
        tuple[str, ...],
        Meta(description="ServerClusters that the request's Route leads to; []: any, and no Route"),
    ] = ()
    redirect: Annotated[
        RedirectSettings | RedirectWord | None,
        Meta(
            description='"https": clients of http are sent to https; "none": this table ends the search; a table: edge.redirect.…'
        ),
    ] = None
    headers: HeaderSettings = HeaderSettings()
    allow: Annotated[
        tuple[str, ...],
        Meta(
            description='addresses and networks of clients that may ask, or "all"; []: all but those in deny'
        ),
    ] = ()
    deny: Annotated[
        tuple[str, ...],
        Meta(description="the same that may not, whatever allow says: 403"),
    ] = ()
    error_pages: Annotated[
        dict[str, str] | None,
        Meta(
            description='files that answer instead of our own pages, by status: { 503 = "sorry.html" }'
        ),
    ] = None
    intercept: Annotated[
        tuple[int, ...],
        Meta(
            description="statuses of servers' errors that clients get the page of this table's error_pages for; []: errors of servers go through as they are"
        ),
    ] = ()
    maintenance: Annotated[
        str,
        Meta(description="file that is shown during maintenance; empty: our own page"),
    ] = ""
    maintenance_on: Annotated[
        bool,
        Meta(
            description="true: maintenance, without an operator's word (`wsproxy maintenance`): 503 instead of servers"
        ),
    ] = False
    maintenance_allow: Annotated[
        tuple[str, ...],
        Meta(description="addresses and networks of clients that are served all the same"),
    ] = ()
    retry_after_s: Annotated[
        int,
        Meta(
            ge=0,
            le=int(LONGEST_S),
            description="Retry-After of answers with 503, where no end of the maintenance is known; 0: none",
        ),
    ] = 0
    compress: Annotated[
        CompressSettings | Literal["none"] | None,
        Meta(
            description='a table: answers are compressed, edge.compress.…; "none": this table ends the search'
        ),
    ] = None
    files: Annotated[
        FilesSettings | None,
        Meta(description="a table: answered from a folder, edge.files.…"),
    ] = None


class Page(Struct, frozen=True):
    """What a file of ``error_pages`` or ``maintenance`` had when it was read."""

    path: str
    kind: str  # media type
    body: bytes


def redirect_of(edge: EdgeSettings) -> RedirectSettings | None:
    """Where it redirects to; None: nowhere, which may be what it says ("none")."""
    if isinstance(edge.redirect, RedirectSettings):
        return edge.redirect
    return RedirectSettings(to="https") if edge.redirect == "https" else None


def duties_of(edge: EdgeSettings) -> list[str]:
    """The names of what it does, as the settings have them; empty: nothing."""
    headers = edge.headers
    found = {
        "redirect": edge.redirect is not None,
        "headers": bool(headers.set or headers.add or headers.remove),
        "allow": bool(edge.allow),
        "deny": bool(edge.deny),
        "error_pages": bool(edge.error_pages),
        "maintenance": bool(
            edge.maintenance or edge.maintenance_on or edge.maintenance_allow or edge.retry_after_s
        ),
        "compress": edge.compress is not None,
        "files": edge.files is not None,
    }
    return [name for name, has in found.items() if has]
