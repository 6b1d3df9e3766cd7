"""X-Forwarded fields and Forwarded are written like the oracle does it; every other byte stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.oracles import forwarded as forwarded_oracle
from tests.support.oracles import rewrite
from tests.support.session_heads import (
    FORWARDED_LINES,
    REQUEST_OTHERS,
    head_of,
    is_request,
    service_of,
)
from wsproxy._fast.decide.edits import rewrite_request

pytestmark = pytest.mark.asan

PEER = b"192.0.2.1"


@given(
    first=st.sampled_from([b"GET / HTTP/1.1", b"GET / HTTP/1.0", b"GET http://o:81/ HTTP/1.1"]),
    host=st.sampled_from([[b"Host: h:8080"], [b"Host: [::1]:1"], []]),
    lines=st.lists(st.one_of(FORWARDED_LINES, FORWARDED_LINES, REQUEST_OTHERS), max_size=6),
    peer=st.sampled_from([PEER, b"2001:db8::7", b"unknown"]),
    local_host=st.sampled_from([b"127.0.0.1", b"::1"]),
    trusted=st.booleans(),
    x_forwarded=st.booleans(),
    forwarded=st.booleans(),
    secure=st.booleans(),
)
def test_forwarded_fields_are_the_oracles(
    first: bytes,
    host: list[bytes],
    lines: list[bytes],
    peer: bytes,
    local_host: bytes,
    trusted: bool,
    x_forwarded: bool,
    forwarded: bool,
    secure: bool,
) -> None:
    data = head_of(first, [*host, *lines])
    written = rewrite_request(
        data,
        peer=peer,
        local_host=local_host,
        trusted=trusted,
        service=service_of(x_forwarded=x_forwarded, forwarded=forwarded),
        secure=secure,
    )
    if not is_request(data):
        assert isinstance(written, int)
        return
    edited, more = forwarded_oracle.write(
        data,
        peer=peer,
        local_host=local_host,
        trusted=trusted,
        x_forwarded=x_forwarded,
        forwarded=forwarded,
        secure=secure,
    )
    expected = rewrite.request(
        edited, peer=peer, local_host=local_host, port=80, keep_private=False, failover=False, secure=secure, more=more
    )  # fmt: skip
    assert written == expected
