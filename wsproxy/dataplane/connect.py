"""
New connections to servers, and the exchange that proves that a server is behind one (ExtendedHandshake).

Driven by ``dataplane.slowpath``. Every wait is limited by ConnectTimeout; what fails is an OSError or a TimeoutError.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from wsproxy._fast.http.head import HEAD_ERRORS, read_response
from wsproxy._fast.proxy.engine import Engine
from wsproxy._fast.proxy.pool import Pool
from wsproxy._fast.proxy.upstream import Upstream, UpstreamProtocol
from wsproxy.dataplane.proxy_protocol import Ends, write_header
from wsproxy.dataplane.resolve import Resolver
from wsproxy.dataplane.upstream_tls import connect_options

# With these a gateway says that it does not reach what is behind it; anything else is the server's own word.
GATEWAY_FAILURES = frozenset((502, 503, 504))
READ_BYTES = 65536
HEAD_END = b"\r\n\r\n"


async def open_upstream(
    engine: Engine,
    resolver: Resolver,
    pool: Pool,
    ends: Ends | None = None,
    try_until: Callable[[float], None] = lambda _: None,
) -> Upstream:
    """
    A new connection; each address of the host is tried, each for ConnectTimeout.

    ``ends``: the client that it is for, told to servers that want a PROXY header. ``try_until`` hears before each step how long
    that may take.

    Raises:
        OSError: no address of the server can be connected to; the reason of the last one.
        TimeoutError: the same, after ConnectTimeout.
    """
    options = connect_options(pool)
    try_until(pool.connect_timeout_s)
    async with asyncio.timeout(pool.connect_timeout_s):
        addresses = await resolver.resolve(pool.host)
    # Of an error that is kept, the frame that keeps it is a part: a circle, which would hold the exchange and its configuration.
    for left, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
        try:
            if pool.extended_handshake:
                try_until(pool.connect_timeout_s)
                await _shake_hands(address, pool, options)
            try_until(pool.connect_timeout_s)
            return await _connect(engine, address, pool, options, ends)
        except OSError:  # TimeoutError is one
            if not left:
                raise
    raise OSError(f"{pool.host} has no address")


async def _connect(
    engine: Engine, address: str, pool: Pool, options: dict[str, Any], ends: Ends | None
) -> Upstream:
    loop = asyncio.get_running_loop()
    upstream = UpstreamProtocol(engine, pool)
    is_connected = False
    try:
        async with asyncio.timeout(pool.connect_timeout_s):
            if options and pool.proxy_protocol == "none":
                await loop.create_connection(lambda: upstream, address, pool.port, **options)
            else:
                sock = await _connected_socket(address, pool, ends)
                if options:
                    await loop.create_connection(lambda: upstream, sock=sock, **options)
                else:
                    engine.poller.adopt(sock.detach(), upstream)
            is_connected = True
    except TimeoutError:
        raise TimeoutError(
            errno.ETIMEDOUT, f"no connection within {pool.connect_timeout_s:g} s"
        ) from None
    finally:
        if not is_connected:
            # Given up in the moment in which it was made: uvloop closes it and never says so.
            upstream.connection_lost(None)
    return upstream


async def _connected_socket(address: str, pool: Pool, ends: Ends | None) -> socket.socket:
    """A connected socket; a PROXY header was sent on it if asked: before anything else, a TLS handshake too."""
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, (address, pool.port))
        if pool.proxy_protocol != "none":
            await loop.sock_sendall(sock, write_header(pool.proxy_protocol, ends))  # I/O
    except OSError as error:
        sock.close()
        # asyncio's own words repeat the address; operators know the system's
        raise OSError(error.errno, os.strerror(error.errno or 0)) from None
    except BaseException:
        # Without memory the loop may watch it and say that it does not: libuv ends the process for a descriptor that is gone.
        try:
            loop.remove_writer(sock)
        finally:
            sock.close()
        raise
    return sock


async def _shake_hands(address: str, pool: Pool, options: dict[str, Any]) -> None:
    """
    Returns where the server answers a request that means nothing (``OPTIONS *``, RFC 9110 9.3.7).

    On a connection of its own: Liberty answers it with 404 and closes (Tomcat: 200), so the request could not follow.
    """
    try:
        async with asyncio.timeout(pool.connect_timeout_s):
            status = await _ask_options(address, pool, options)
    except TimeoutError:
        raise TimeoutError(
            errno.ETIMEDOUT, f"no answer to ExtendedHandshake within {pool.connect_timeout_s:g} s"
        ) from None
    if status in GATEWAY_FAILURES:
        raise OSError(errno.EPROTO, f"ExtendedHandshake was answered with {status}")


async def _ask_options(address: str, pool: Pool, options: dict[str, Any]) -> int:
    """The status of the answer to ``OPTIONS *``; its body is not read."""
    host = f"[{pool.host}]" if ":" in pool.host else pool.host
    if pool.proxy_protocol == "none":
        reader, writer = await asyncio.open_connection(address, pool.port, **options)
    else:
        reader, writer = await open_streams(address, pool, options)
    try:
        writer.write(
            f"OPTIONS * HTTP/1.1\r\nHost: {host}:{pool.port}\r\nConnection: close\r\n\r\n".encode()
        )
        head, _ = await read_head(reader, "ExtendedHandshake")
        return int(head["status"])
    finally:
        writer.transport.abort()


async def open_streams(
    address: str, pool: Pool, options: dict[str, Any]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """
    A connection that no client's request goes over; where the server wants a PROXY header it says that.

    Raises:
        OSError: there is none; in the system's words.
    """
    sock = await _connected_socket(address, pool, None)
    return await asyncio.open_connection(sock=sock, **options)


async def read_head(reader: asyncio.StreamReader, asked: str) -> tuple[dict[str, Any], bytearray]:
    """
    The head of the answer to what was ``asked``, as ``read_response`` gives it, and what has come behind it.

    Raises:
        OSError: there is none, or it is no HTTP.
    """
    data = bytearray()
    looked = 0  # no head ends before
    while True:
        head: int | dict[str, Any] = 0
        # Read anew only where it may be whole, or too long: one that drips would cost as much again with each byte.
        if not looked or len(data) > READ_BYTES or data.find(HEAD_END, looked) >= 0:
            head = read_response(bytes(data))
        looked = max(0, len(data) - len(HEAD_END) + 1)
        if isinstance(head, int):
            if head < 0:
                words = HEAD_ERRORS[-head][1]
                raise OSError(errno.EPROTO, f"no HTTP in answer to {asked}: {words}")
            piece = await reader.read(READ_BYTES)
            if not piece:
                raise OSError(errno.ECONNRESET, f"connection closed in {asked}")
            data += piece
            continue
        del data[: head["size"]]
        if head["status"] >= 200:
            return head, data
        looked = 0  # 1xx
