"""
One probe: a connection as live requests make it, a question on it, and whether the answer is good.

Driven by ``probe.prober``. TLS is verified as on the data path, by the same contexts; heads are read by the same strict parser,
so a server whose answers wsproxy would refuse is not well. Every wait is limited; what fails is told, never raised. Must not touch
shared state.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from wsproxy._fast.http.chunked import read_chunks
from wsproxy._fast.http.head import HEAD_ERRORS
from wsproxy.dataplane.connect import READ_BYTES, open_streams, read_head
from wsproxy.dataplane.tls import BoundedReads
from wsproxy.dataplane.upstream_tls import connect_options
from wsproxy.errors import OWN_LACKS
from wsproxy.probe.names import Names
from wsproxy.probe.targets import Target

USER_AGENT = f"wsproxy-probe/{version('wsproxy')}"
# Of a page; a health page has some hundred bytes. What is longer is looked at so far, and the connection is cut.
MOST_BODY_BYTES = 65536
# With type = "tcp": a port that only passes connections on to an application that is not there closes them at once.
STAY_S = 0.1
_WITHOUT_BODY = frozenset((204, 304))


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of a probe, in words; ``error``: errno where there is one. Not counted: it says nothing of the server."""

    is_good: bool
    words: str
    error: int = 0
    is_counted: bool = True


class _BadAnswerError(Exception):
    """It came, and is not what was asked for."""


async def ask(target: Target, names: Names) -> Finding:
    """Probes once. # network I/O."""
    timeout_s = target.probe.timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            return Finding(True, await _ask(target, names))
    except TimeoutError:
        return Finding(False, f"no answer within {timeout_s:g} s", errno.ETIMEDOUT)
    except _BadAnswerError as error:
        return Finding(False, str(error))
    except ssl.SSLCertVerificationError as error:
        return Finding(False, f"TLS: {error.verify_message}", errno.EPROTO)
    except ssl.SSLError as error:
        reason = (error.reason or "failed").lower().replace("_", " ")
        return Finding(False, f"TLS: {reason}", errno.EPROTO)
    except socket.gaierror as error:
        words = f"{target.pool.host}: {error.strerror}"
        return Finding(False, words, errno.EHOSTUNREACH, error.errno != socket.EAI_MEMORY)
    except OSError as error:
        number = error.errno or 0
        return Finding(False, error.strerror or str(error), number, number not in OWN_LACKS)


async def _ask(target: Target, names: Names) -> str:
    """What was good."""
    reader, writer = await _connect(target, names)
    try:
        if target.probe.type == "tcp":
            found = await _stays(reader)
        else:
            writer.write(question(target))
            found = await _judge(target, reader)
    except BaseException:
        writer.transport.abort()
        raise
    writer.close()  # over TLS the server is told; nobody waits for it
    return found


async def _connect(
    target: Target, names: Names
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As the data path: each address of the host in turn; the reason of the last one."""
    pool = target.pool
    options = connect_options(pool)
    if options:
        options["ssl_handshake_timeout"] = target.probe.timeout_s
    addresses = await names.resolve(pool.host)
    for left, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
        try:
            async with asyncio.timeout(target.probe.timeout_s / len(addresses)):
                streams = await open_streams(address, pool, options)
        except OSError:  # TimeoutError is one
            if not left:
                raise
            continue
        tls = streams[1].get_extra_info("ssl_object")
        if isinstance(tls, BoundedReads):
            tls.left = MOST_BODY_BYTES  # records: of the longest page, one byte each
        return streams
    raise OSError(errno.EHOSTUNREACH, f"{pool.host} has no address")


def question(target: Target) -> bytes:
    """The request."""
    probe = target.probe
    lines = (
        f"GET {probe.path} HTTP/1.1",
        f"Host: {probe.host or pool_address(target)}",
        f"User-Agent: {USER_AGENT}",
        "Accept: */*",
        "Connection: close",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii", "replace")


async def _stays(reader: asyncio.StreamReader) -> str:
    try:
        async with asyncio.timeout(STAY_S):
            data = await reader.read(1)
    except TimeoutError:
        return "connected"
    if not data:
        raise _BadAnswerError("it accepts connections and closes them")
    return "connected"


async def _judge(target: Target, reader: asyncio.StreamReader) -> str:
    head, rest = await read_head(reader, "the probe")
    status = int(head["status"])
    if not any(first <= status <= last for first, last in target.expected):
        allowed = ", ".join(map(str, target.probe.status))
        raise _BadAnswerError(f"found status {status}; allowed is {allowed}")
    body = b"" if status in _WITHOUT_BODY else await _read_body(head, rest, reader)
    wanted = target.probe.body
    if wanted and wanted.encode() not in body:
        raise _BadAnswerError(f"found a page of status {status} without the text of probe.body")
    return f"status {status}"


async def _read_body(head: dict[str, Any], data: bytearray, reader: asyncio.StreamReader) -> bytes:
    """The page, or its first 64 KiB: it must come to its end as it says itself."""
    length = head["content_length"]
    while len(data) < MOST_BODY_BYTES:
        if head["chunked"]:
            body, is_whole = _read_chunks(bytes(data))
            if is_whole:
                return body
        elif 0 <= length <= len(data):
            return bytes(data[:length])
        piece = await reader.read(READ_BYTES)
        if not piece:
            if head["chunked"] or length >= 0:
                raise OSError(errno.ECONNRESET, "connection closed within the answer")
            return bytes(data)
        data += piece
    if head["chunked"]:
        return _read_chunks(bytes(data))[0][:MOST_BODY_BYTES]
    return bytes(data[:MOST_BODY_BYTES])


def _read_chunks(data: bytes) -> tuple[bytes, bool]:
    try:
        body, _, is_whole, _ = read_chunks([data])
    except ValueError as error:
        raise OSError(errno.EPROTO, f"no HTTP in answer to the probe: {HEAD_ERRORS[error.args[0]][1]}") from None  # fmt: skip
    return body, is_whole


def where(target: Target) -> str:
    """What was asked, for messages: no query, which may have a key in it."""
    pool, probe = target.pool, target.probe
    address = pool_address(target)
    if probe.type == "tcp":
        return f"connection to {address}"
    scheme = "https" if pool.tls is not None else "http"
    return f"GET {scheme}://{address}{probe.path.partition('?')[0]}"


def pool_address(target: Target) -> str:
    """HOST:PORT of the server; IPv6 in brackets."""
    host = target.pool.host or "(no Transport)"
    return f"[{host}]:{target.pool.port}" if ":" in host else f"{host}:{target.pool.port}"
