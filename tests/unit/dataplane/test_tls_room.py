"""A TLS connection is not begun where its handshake may find no memory: CPython 3.11 would end the process."""

from __future__ import annotations

import os
import resource
import ssl
from pathlib import Path

import pytest

from tests.support.forks import start_child
from wsproxy.dataplane.tls import ROOM_BYTES, BoundedContext

REFUSED, MADE = 3, 4


@pytest.mark.parametrize(
    ("left", "ends_with"), [(ROOM_BYTES // 2, REFUSED), (64 * ROOM_BYTES, MADE)]
)
def test_a_connection_needs_room(left: int, ends_with: int) -> None:
    context = BoundedContext(ssl.PROTOCOL_TLS_CLIENT)

    def work() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + left
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        try:
            context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="shop.example")
        except MemoryError:
            os._exit(REFUSED)
        os._exit(MADE)

    child = start_child(work)
    os.close(child.answer)
    assert os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) == ends_with
