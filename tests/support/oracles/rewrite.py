"""
Heads as they go on, written the slow and obvious way (RFC 9110 7.6, PLUGIN.md 6).

Driven by tests/unit/_fast; builds on the oracle that reads heads. Must not share code with ``wsproxy/_fast``.
"""

from __future__ import annotations

from tests.support.oracles.http_head import (
    HOP_BY_HOP,
    LOOK_ALIKE,
    NEVER_DROPPED,
    OWN,
    OWN_OPTIONS,
    kind_of,
    parse_request,
    parse_response,
    split_list,
)

# What is written anew, whatever came.
REWRITTEN = HOP_BY_HOP | {b"connection", b"host", b"transfer-encoding"}
CRLF = b"\r\n"


def lines_of(head: bytes) -> list[bytes]:
    return head.partition(b"\r\n\r\n")[0].split(CRLF)


def name_of(line: bytes) -> bytes:
    return line.partition(b":")[0].lower()


def nominated(lines: list[bytes]) -> set[bytes]:
    """Fields that Connection names; framing and Host cannot be taken away so."""
    options: set[bytes] = set()
    for line in lines:
        if name_of(line) == b"connection":
            options |= {each.lower() for each in split_list(line.partition(b":")[2])}
    return options - OWN_OPTIONS - NEVER_DROPPED


def rewritten_names(*, keep_trailer: bool) -> set[bytes]:
    return REWRITTEN - {b"trailer"} if keep_trailer else REWRITTEN


def is_own(name: bytes) -> bool:
    """Between a client and wsproxy, or what looks like a field that is written anew: neither side's goes on to the other."""
    return kind_of(name) in (OWN, LOOK_ALIKE)


def is_private(name: bytes) -> bool:
    return name.startswith((b"$ws", b"_ws_"))


def request(
    data: bytes,
    *,
    peer: bytes,
    local_host: bytes,
    port: int,
    keep_private: bool,
    failover: bool,
    secure: bool = False,
    via: bytes = b"",
    trailers: bool = False,
    more: list[bytes] | None = None,
) -> bytes | None:
    """
    The head that the server gets; None while ``data`` is not whole. Raises RefusedError.

    ``more``: lines that are written after the client's.
    """
    head = parse_request(data)
    if head is None:
        return None
    fields = lines_of(data)[1:]
    dropped = nominated(fields)
    method, target, minor = head["method"], head["target"], head["minor"]
    assert isinstance(method, bytes)
    assert isinstance(target, bytes)
    assert isinstance(minor, int)
    host = head["host"] or local_host
    authority = head["authority"] or local_host
    assert isinstance(host, bytes)
    assert isinstance(authority, bytes)
    if not head["authority"] and b":" in local_host:
        authority = b"[" + local_host + b"]"
    out = [b"%b %b HTTP/1.1" % (method, target), b"Host: " + authority]
    given: set[bytes] = set()
    rewritten = rewritten_names(
        keep_trailer=bool(trailers and head["chunked"] and not head["nominates_others"])
    )
    for line in fields:
        name = name_of(line)
        if name in rewritten or (name in dropped and not is_private(name)):
            continue  # Connection takes no private field away: a trusted proxy's word would be lost
        if (is_private(name) and not keep_private) or is_own(name):
            continue
        if name == b"expect" and minor == 0:
            continue
        out.append(line)
    if (
        keep_private
    ):  # what Connection took away is gone, but it was given: it is not replaced by ours
        given = {name_of(line) for line in fields}
    out += more or []
    if trailers and head["te_trailers"]:
        out += [b"TE: trailers", b"Connection: TE"]
    if head["chunked"]:
        out.append(b"Transfer-Encoding: chunked")
    if via:
        out.append(b"Via: 1.%d %b" % (minor, via))
    own = [
        (b"$WSIS", b"true" if secure else b"false"),
        (b"$WSSC", b"https" if secure else b"http"),
        (b"$WSRA", peer),
        (b"$WSRH", peer),
        (b"$WSPR", b"HTTP/1.%d" % minor),
        (b"$WSSN", host),
        (b"$WSSP", b"%d" % port),
        (b"_WS_HAPRT_WLMVERSION", b"-1"),
    ]
    out += [b"%b: %b" % row for row in own if row[0].lower() not in given]
    if failover and b"$wsfo" not in given:
        out.append(b"$WSFO: true")
    return CRLF.join(out) + CRLF + CRLF


def response(
    data: bytes,
    *,
    close: bool,
    say_keep_alive: bool,
    drop_length: bool,
    drop_chunked: bool,
    date: bytes = b"",
    keep_trailer: bool = False,
    more: list[bytes] | None = None,
) -> bytes | None:
    """The head that the client gets, with ``more`` as for requests; None while ``data`` is not whole. Raises RefusedError."""
    head = parse_response(data)
    if head is None:
        return None
    fields = lines_of(data)[1:]
    dropped = nominated(fields)
    status_text = head["status_text"]
    assert isinstance(status_text, bytes)
    rewritten = rewritten_names(keep_trailer=keep_trailer)
    out = [b"HTTP/1.1 " + (status_text if len(status_text) > 3 else status_text + b" ")]
    for line in fields:
        name = name_of(line)
        if name in rewritten or name in dropped or is_private(name) or is_own(name):
            continue
        if name == b"content-length" and drop_length:
            continue
        out.append(line)
    out += more or []
    if date:
        out.append(date.removesuffix(CRLF))
    if head["chunked"] and not drop_chunked:
        out.append(b"Transfer-Encoding: chunked")
    if close:
        out.append(b"Connection: close")
    elif say_keep_alive:
        out.append(b"Connection: keep-alive")
    return CRLF.join(out) + CRLF + CRLF
