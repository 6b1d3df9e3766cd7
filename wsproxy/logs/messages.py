"""
The messages of http_plugin.log: level, component, function and words of each, once for reading and for writing.

Driven by ``plugin_reader`` (which beginnings are wanted), ``replay`` (their fields) and by whoever writes such a log. Must not read
or write anything. Words are those of PLUGIN.md 7.3; a message that releases word differently has several shapes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from wsproxy._fast.logs.fields import Code, FieldReader
from wsproxy._fast.tell.witness import LogLevel

__all__ = [
    "READERS",
    "SHAPES",
    "Code",
    "Fields",
    "Shape",
    "read_fields",
    "read_tolerantly",
    "shape_of",
    "wanted",
]

# Of a message, in their order: texts as bytes, numbers as int.
Fields = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """
    One wording of a message: ``template`` has ``{name}`` for text and ``{name:d}`` for a whole number.

    ``component`` and ``function`` are empty where a message has none.
    """

    code: Code
    level: LogLevel
    component: str
    function: str
    template: str
    reader: FieldReader = field(init=False, repr=False)  # as it is nearly always
    pattern: re.Pattern[bytes] = field(init=False, repr=False)  # whatever may be in a field

    def __post_init__(self) -> None:
        """Compiles the template."""
        object.__setattr__(self, "reader", make_reader(self.template))
        object.__setattr__(self, "pattern", _compile(self.template))

    @property
    def begin(self) -> bytes:
        """What every such message begins with."""
        return self.template.partition("{")[0].encode()

    def text(self, **fields: object) -> str:
        """The message with these fields, as it stands behind the level."""
        message = self.template.format(**fields)
        where = ": ".join(filter(None, (self.component, self.function)))
        return f"{where}: {message}" if where else message


# Longest text whose fields may hold anything: real ones end with a URI.
MOST_TOLERATED = 4096

# Word processors have turned some of the quotes in published logs into curled ones.
_QUOTE = rb"(?:'|\xe2\x80[\x98\x99])"
_FIELD = re.compile(r"\{(\w+)(:d)?\}")


def _compile(template: str) -> re.Pattern[bytes]:
    """
    The template as a pattern that a whole message matches.

    A text ends where what follows it stands first. It is atomic with that: a later one fits no better, because the next text
    may hold anything. Otherwise a client that repeats pieces of the message in its URI has all ways to divide it tried.
    """
    parts = [b""]  # each but the first begins with a text
    at = 0
    for found in _FIELD.finditer(template):
        parts[-1] += _literal(template[at : found.start()])
        name = found[1].encode()
        if found[2]:
            parts[-1] += rb"(?P<%b>-?\d{1,12})" % name
        else:
            parts.append(rb"(?P<%b>.*?)" % name)
        at = found.end()
    parts[-1] += _literal(template[at:]) + rb"\s*"
    atomic = [rb"(?>%b)" % part for part in parts[1:-1]]
    return re.compile(b"".join([parts[0], *atomic, *parts[1:][-1:]]), re.DOTALL)


def make_reader(template: str) -> FieldReader:
    """The same for fields without quotes and blanks: twenty times as quick."""
    found = list(_FIELD.finditer(template))
    ends = [0, *(each.end() for each in found)]
    starts = [*(each.start() for each in found), len(template)]
    words = [template[end:start].encode() for end, start in zip(ends, starts, strict=True)]
    return FieldReader(words, [each[2] is not None for each in found])


def _literal(text: str) -> bytes:
    return re.escape(text.encode()).replace(rb"'", _QUOTE).replace(rb"\ ", rb"\s+")


_PLUGIN, _ERROR, _STATS = LogLevel.PLUGIN, LogLevel.ERROR, LogLevel.STATS
_DETAIL, _DEBUG, _TRACE = LogLevel.DETAIL, LogLevel.DEBUG, LogLevel.TRACE

# The first shape of a code is the one to write.
SHAPES: tuple[Shape, ...] = (
    Shape(Code.LOADED, _PLUGIN, "", "", "Plugins loaded."),
    Shape(Code.WEB_SERVER, _PLUGIN, "", "", "Webserver: {name}"),
    Shape(
        Code.RELOADED,
        _TRACE,
        "ws_common",
        "websphereUpdateConfig",
        "Config was successfully reloaded",
    ),
    Shape(Code.BEGIN, _DEBUG, "ws_common", "websphereBeginRequest", "Beginning a client request"),
    Shape(
        Code.REQUEST_IS,
        _DETAIL,
        "ws_common",
        "websphereBeginRequest",
        "Request is: host='{host}'; uri='{uri}'",
    ),
    Shape(
        Code.REQUEST_IS,
        _DETAIL,
        "ws_common",
        "websphereHandleRequest",
        "Request is: host='{host}'; uri='{uri}'",
    ),
    Shape(
        Code.VHOST_MATCH,
        _DEBUG,
        "ws_common",
        "websphereVhostMatch",
        "Found a match '{pattern}' to '{subject}' in VhostGroup: {group} with score {score:d}, exact match {exact:d}",
    ),
    Shape(
        Code.URI_MATCH,
        _DEBUG,
        "ws_common",
        "websphereUriMatch",
        "Found a match '{pattern}' to '{subject}' in UriGroup: {group} with score {score:d}, exact match {exact:d}",
    ),
    Shape(Code.NO_ROUTE, _TRACE, "ws_common", "websphereFindServerGroup", "No route found"),
    Shape(Code.NO_ROUTE, _TRACE, "ws_common", "websphereShouldHandleRequest", "No route found"),
    Shape(
        Code.GROUP,
        _DETAIL,
        "ws_common",
        "websphereFindServerGroup",
        "Setting the server group: {group}; highScore: {score:d}; highExactMatch: {exact:d};"
        " affinityCookie: {cookie}; affinityURL: {url}",
    ),
    Shape(
        Code.PARSING,
        _DEBUG,
        "ws_common",
        "websphereParseCloneID",
        "Parsing clone ids from '{value}'",
    ),
    Shape(Code.CLONE, _TRACE, "ws_common", "websphereParseCloneID", "Adding clone id '{clone}'"),
    Shape(
        Code.CHECKING,
        _STATS,
        "ws_server_group",
        "serverGroupCheckServerStatus",
        "Checking status of {server}, ignoreWeights {ignore:d}, markedDown {down:d}, retryNow {retry:d},"
        " retryInSec {seconds}, wlbAllows {allows:d} reachedMaxConnectionsLimit {full:d}",
    ),
    Shape(
        Code.CHECKING,
        _TRACE,
        "ws_server_group",
        "serverGroupCheckServerStatus",
        "Checking status of {server}, ignoreWeights {ignore:d}, markedDown {down:d}, retryNow {retry:d}, wlbAllows {allows:d}",
    ),
    Shape(
        Code.IS_DOWN,
        _TRACE,
        "ws_server_group",
        "serverGroupCheckServerStatus",
        "Server {server} is marked down; retry in {seconds:d}",
    ),
    Shape(
        Code.MAX_CONNECTIONS,
        _DEBUG,
        "ws_server",
        "serverHasReachedMaxConnections",
        "server {server} - currentConnectionsCount {current:d}, maxConnectionsCount {most:d}.",
    ),
    Shape(
        Code.MOVED,  # wsproxy's own: the plug-in does not remember
        _TRACE,
        "ws_server_group",
        "serverGroupFindClone",
        "The session has moved to '{server}'",
    ),
    Shape(
        Code.PICKED,
        _TRACE,
        "ws_server_group",
        "lockedServerGroupUseServer",
        "Server {server} picked, weight {weight:d}.",
    ),
    Shape(
        Code.PICKED,
        _TRACE,
        "ws_server_group",
        "serverGroupIncrementConnectionCount",
        "Server {server} picked, pendingConnectionCount {pending:d} totalConnectionsCount {total:d}.",
    ),
    Shape(
        Code.TRANSPORT,
        _DETAIL,
        "ws_common",
        "websphereFindTransport",
        "Setting the transport(case {case:d}): {host} on port {port:d}",
    ),
    Shape(
        Code.REUSED,
        _TRACE,
        "ws_common",
        "websphereGetStream",
        "Reusing existing stream from queue, socket = {socket:d}",
    ),
    Shape(
        Code.NEW_STREAM,
        _DETAIL,
        "ws_common",
        "websphereGetStream",
        "Created a new stream; queue was empty, socket = {socket:d} Local Port={port:d}",
    ),
    *(
        Shape(Code.REQUEST_LINE, _DETAIL, "", "", method + " {target} HTTP/1.{minor:d}")
        for method in (
            "GET",
            "POST",
            "HEAD",
            "PUT",
            "DELETE",
            "OPTIONS",
            "PATCH",
            "TRACE",
            "PROPFIND",
        )
    ),
    Shape(Code.HOST, _DETAIL, "", "", "Host: {value}"),
    Shape(Code.HOST, _DETAIL, "", "", "host: {value}"),
    Shape(Code.COOKIE, _DETAIL, "", "", "Cookie: {value}"),
    Shape(Code.COOKIE, _DETAIL, "", "", "cookie: {value}"),
    Shape(Code.IS_SECURE, _DETAIL, "", "", "$WSIS: {value}"),
    Shape(Code.SCHEME, _DETAIL, "", "", "$WSSC: {value}"),
    Shape(Code.STATUS_LINE, _DETAIL, "", "", "HTTP/1.{minor:d} {status:d} {reason}"),
    Shape(Code.STATUS_LINE, _DETAIL, "", "", "HTTP/1.{minor:d} {status:d}"),
    Shape(Code.SET_COOKIE, _DETAIL, "", "", "Set-Cookie: {value}"),
    Shape(Code.SET_COOKIE, _DETAIL, "", "", "set-cookie: {value}"),
    Shape(
        Code.CONTENT,
        _TRACE,
        "lib_htrequest",
        "htrequestWrite",
        "Writing the request content, length {length:d}",
    ),
    Shape(
        Code.CONNECT_FAILED,
        _ERROR,
        "ws_common",
        "websphereGetStream",
        "Failed to connect to app server on host '{host}' ({errno:d}): Connect (local port {port:d})",
    ),
    Shape(
        Code.CONNECT_FAILED,
        _ERROR,
        "ws_common",
        "websphereGetStream",
        "Failed to connect to app server on host '{host}', OS err={errno:d}",
    ),
    Shape(Code.CONNECT_TIMEOUT, _ERROR, "ws_common", "websphereGetStream", "Connect timeout fired"),
    Shape(Code.NO_STREAM, _ERROR, "ws_common", "websphereExecute", "Failed to create the stream"),
    Shape(
        Code.IO_TIMEOUT,
        _ERROR,
        "",
        "",
        "ServerIOTimeout fired. Time out {seconds:d}. retry count {count:d}."
        " serverIOTimeoutRetry {most:d}, retry {retry}, rc {rc:d}",
    ),
    Shape(
        Code.BAD_RESPONSE,
        _ERROR,
        "lib_htresponse",
        "htresponseRead",
        "Response code {status:d} received. Error occured in reading response {number:d}.",
    ),
    Shape(
        Code.FAILED_TRY,
        _ERROR,
        "ws_common",
        "websphereHandleRequest",
        "Failed to execute the transaction to '{server}'on host '{host}'; will try another one",
    ),
    Shape(
        Code.FAILED_TRY,
        _ERROR,
        "ws_common",
        "websphereHandleRequest",
        "Failed to execute the transaction to '{server}' on host '{host}'; will try another one",
    ),
    Shape(Code.MARKING, _ERROR, "ws_server", "serverSetFailoverStatus", "Marking {server} down"),
    Shape(
        Code.NO_SERVER,
        _ERROR,
        "ws_common",
        "websphereWriteRequestReadResponse",
        "Failed to find an app server to handle this request",
    ),
    Shape(Code.FAILED, _ERROR, "ws_common", "websphereHandleRequest", "Failed to handle request"),
    Shape(
        Code.FAILED,
        _ERROR,
        "ws_common",
        "websphereHandleRequest",
        "Failed to handle request rc={rc:d}",
    ),
    Shape(
        Code.COUNTERS,
        _STATS,
        "ws_server",
        "serverSetFailoverStatus",
        "Server {server} : pendingRequests {pending:d} failedRequests {failed:d}"
        " affinityRequests {affinity:d} totalRequests {total:d}.",
    ),
    Shape(
        Code.COUNTERS,
        _STATS,
        "ws_server",
        "serverSetFailoverStatus",
        "Server {server} : pendingConnections {pending:d} failedConnections {failed:d}"
        " affinityConnections {affinity:d} totalConnections {total:d}.",
    ),
    Shape(Code.END, _TRACE, "ws_common", "websphereEndRequest", "Ending the request"),
    Shape(
        Code.CLONE_MATCH,
        _TRACE,
        "ws_server_group",
        "serverGroupFindClone",
        "Match for clone '{server}'",
    ),
    Shape(Code.CONTENT_LENGTH, _DETAIL, "", "", "Content-Length: {length:d}"),
    Shape(Code.CONTENT_LENGTH, _DETAIL, "", "", "content-length: {length:d}"),
    Shape(
        Code.CLOSED,  # wsproxy's own: how the plug-in words it is not known
        _ERROR,
        "lib_htresponse",
        "htresponseRead",
        "The app server has closed the stream before the response",
    ),
    # wsproxy's own: the plug-in has no probes. Tid 0: no request has met it. The first one stands before `Marking ... down`.
    Shape(
        Code.PROBE_FAILED,
        _ERROR,
        "ws_server",
        "serverSetFailoverStatus",
        "A probe of '{server}' in '{group}' failed: {why}",
    ),
    Shape(
        Code.PROBE_BACK,
        LogLevel.WARNING,
        "ws_server",
        "serverSetFailoverStatus",
        "A probe has brought '{server}' in '{group}' back",
    ),
    # wsproxy's own, too: `probe.initial`. No `Marking` follows, for that it is new is no error.
    Shape(
        Code.PROBE_AWAITED,
        LogLevel.WARNING,
        "ws_server",
        "serverSetFailoverStatus",
        "New, and down until a probe says otherwise: '{server}' in '{group}'",
    ),
)

_BY_CODE: dict[int, tuple[Shape, ...]] = {
    code: tuple(shape for shape in SHAPES if shape.code is code) for code in Code
}


# The usual wording of each code; by code.
READERS: list[FieldReader | None] = [None, *(_BY_CODE[code][0].reader for code in Code)]


def wanted() -> list[tuple[bytes, bytes, int]]:
    """What ``LineScanner`` looks for: each function and beginning once."""
    rows = {
        (shape.function.encode(), shape.begin.rstrip(b" '"), int(shape.code)) for shape in SHAPES
    }
    # the longer beginning first: it is the more exact one
    return sorted(rows, key=lambda row: (row[0], -len(row[1]), row[1]))


def shape_of(code: Code) -> Shape:
    """How a message of this code is written."""
    return _BY_CODE[code][0]


def read_fields(code: int, text: bytes, at: int) -> Fields | None:
    """The fields of a message that ``LineScanner`` gave this code; None: its rest has another shape."""
    reader = READERS[code]
    assert reader is not None
    found = reader.read(text, at)
    return read_tolerantly(code, text, at) if found is None else found


def read_tolerantly(code: int, text: bytes, at: int) -> Fields | None:
    """The same for a message that does not have the usual wording."""
    if len(text) > MOST_TOLERATED:
        return None
    for shape in _BY_CODE[code]:
        found = shape.pattern.fullmatch(text, at)
        if found is not None:
            kinds = _FIELD.findall(shape.template)
            return tuple(
                int(value) if is_number else value
                for value, (_, is_number) in zip(found.groups(), kinds, strict=True)
            )
    return None
