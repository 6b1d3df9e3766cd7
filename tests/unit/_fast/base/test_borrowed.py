"""Memory that is only lent is out of bounds as soon as nobody may read it."""

from __future__ import annotations

import ctypes
import os

import pytest

from tests.support.stage import Stage

pytestmark = pytest.mark.asan

MISS = b"GET /none HTTP/1.1\r\nHost: h\r\n%b\r\n"


@pytest.mark.skipif("WSPROXY_ASAN" not in os.environ, reason="only in make test-asan")
def test_read_buffer_is_out_of_bounds_between_two_reads(stage: Stage) -> None:
    """Whoever keeps a pointer into it reads another client's bytes; AddressSanitizer tells."""
    is_poisoned = ctypes.CDLL(None).__asan_address_is_poisoned
    is_poisoned.argtypes = [ctypes.c_void_p]
    client = stage.client()
    view = client.protocol.get_buffer(-1)
    at = ctypes.addressof(ctypes.c_char.from_buffer(view))
    assert not is_poisoned(at)
    client.deliver(MISS % b"")
    assert is_poisoned(at)
