"""
Clients of a WebSocket echo: each sends a message when the one before came back.

Driven by ``measure`` in place of wrk. Only the proxy's CPU time a message is of interest: how fast Python is here is not. Messages are
masked frames of 128 bytes; the stub server sends them back as they came, and a proxy does not look into them.
"""

from __future__ import annotations

import base64
import os
import selectors
import socket
import time
from contextlib import ExitStack

from wsproxy.bench import traffic
from wsproxy.bench.open_loop import percentile
from wsproxy.bench.site import Site
from wsproxy.bench.wrk import WrkError, WrkResult

PAYLOAD = 128
# FIN and binary; masked, 126: the length is in the next two bytes (RFC 6455 5.2)
FRAME = b"\x82\xfe" + PAYLOAD.to_bytes(2) + b"\x01\x02\x03\x04" + bytes(PAYLOAD)
ANSWER_S = 5.0
SWITCHED = b"HTTP/1.1 101 "


def load(site: Site, port: int, connections: int, seconds: float) -> WrkResult:
    """
    What so many clients saw in this time: messages in place of requests. I/O.

    Raises: WrkError where a connection is not upgraded.
    """
    visits = traffic.visits(site)
    with ExitStack() as stack:
        poll = stack.enter_context(selectors.DefaultSelector())
        sent_at: dict[int, float] = {}
        for number in range(connections):
            sock = stack.enter_context(_upgraded(visits[number % len(visits)], port))
            poll.register(sock, selectors.EVENT_READ, [sock, 0])
        began = time.monotonic()
        for key in poll.get_map().values():
            key.data[0].sendall(FRAME)
            sent_at[key.fd] = time.monotonic()
        times: list[float] = []
        while (now := time.monotonic()) < began + seconds:
            for key, _ in poll.select(began + seconds - now):
                sock, read = key.data
                data = sock.recv(65536)
                if not data:
                    msg = "a WebSocket was closed amid its messages"
                    raise WrkError(msg)
                read += len(data)
                if read >= len(FRAME):
                    read -= len(FRAME)
                    times.append(time.monotonic() - sent_at[key.fd])
                    sock.sendall(FRAME)
                    sent_at[key.fd] = time.monotonic()
                key.data[1] = read
    took = time.monotonic() - began
    times_us = sorted(int(each * 1e6) for each in times)
    return WrkResult(
        requests=len(times), duration_us=int(took * 1e6), body_and_head_bytes=len(times) * len(FRAME),
        connect_errors=0, read_errors=0, write_errors=0, status_errors=0, timeouts=0,
        p50_us=percentile(times_us, 0.5), p99_us=percentile(times_us, 0.99),
    )  # fmt: skip


def _upgraded(visit: traffic.Visit, port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), ANSWER_S)
    key = base64.b64encode(os.urandom(16)).decode()
    headers = [
        ("Host", traffic.host_field(visit.host, port)),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
        ("Cookie", visit.cookie),
    ]
    lines = [f"GET {visit.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head and (piece := sock.recv(1024)):
        head += piece
    if not head.startswith(SWITCHED):
        sock.close()
        msg = f"a WebSocket was answered with {head[:40]!r}, not {SWITCHED.decode()}"
        raise WrkError(msg)
    return sock
