"""
What connections of clients cost in memory: idle ones, and ones whose answer is awaited.

Driven by ``measure``. Pss of all processes of a proxy: what they share with each other counts once. What the kernel holds in socket
buffers is in no figure.
"""

from __future__ import annotations

import contextlib
import re
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

from wsproxy.bench import cputime, traffic
from wsproxy.bench.bed import Contestant
from wsproxy.bench.open_loop import spell
from wsproxy.bench.results import Held
from wsproxy.bench.site import HOST_NAME, Site

ANSWER_S = 30.0
SETTLE_S = 1.0  # a program that gives memory back does so after a while
AWAITED_US = 4_000_000  # so long a stub server keeps an answer
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


class HoldError(Exception):
    """A proxy did not keep its connections."""


def hold(
    contestant: Contestant,
    site: Site,
    connections: int,
    context: ssl.SSLContext | None,
    number: int,
) -> Held:
    """
    One round with one proxy. I/O.

    Raises: HoldError, OSError.
    """
    _raise_descriptors(connections * 2 + 256)
    visits = traffic.visits(site)
    quick, slow = (
        [spell(each.host, contestant.port, each.path, each.cookie, say=say) for each in visits]
        for say in ("", f"{AWAITED_US} 128 200")
    )
    before = pss_kib(contestant)
    with _connected(contestant.port, connections, context, quick) as socks:
        time.sleep(SETTLE_S)
        idle = pss_kib(contestant)
        for at, sock in enumerate(socks):
            sock.sendall(slow[at % len(slow)])
        time.sleep(SETTLE_S)
        active = pss_kib(contestant)
        for sock in socks:
            _read(sock)
    return Held(
        contestant.proxy.name, number, connections, before, (idle - before) / connections,
        (active - before) / connections,
    )  # fmt: skip


def pss_kib(contestant: Contestant) -> int:
    """Of all its processes. I/O."""
    if contestant.service is None:
        return 0
    total = 0
    for process in cputime.members(contestant.service.pid, cputime.read_processes()):
        with contextlib.suppress(OSError):  # it has just ended
            found = _PSS.search(Path(f"/proc/{process.pid}/smaps_rollup").read_text())
            total += int(found[1]) if found else 0
    return total


@contextlib.contextmanager
def _connected(
    port: int, count: int, context: ssl.SSLContext | None, requests: list[bytes]
) -> Iterator[list[socket.socket]]:
    """Each has had an answer, at once: a proxy does not wait long for the first request."""
    with contextlib.ExitStack() as stack:
        socks = []
        for at in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), ANSWER_S))
            if context is not None:
                sock = stack.enter_context(context.wrap_socket(sock, server_hostname=HOST_NAME))
            sock.sendall(requests[at % len(requests)])
            _read(sock)
            socks.append(sock)
        yield socks


def _read(sock: socket.socket) -> None:
    """The whole answer, of 128 bytes."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0 or len(data) < end + 4 + 128:
        piece = sock.recv(4096)
        if not piece:
            msg = f"a connection was closed after {data[:60]!r}"
            raise HoldError(msg)
        data += piece


def _raise_descriptors(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
