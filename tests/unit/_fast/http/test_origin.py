"""What a TrustedProxy says of its client is read as the oracle reads it, and the private headers say it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.oracles import http_head
from tests.support.oracles.believed import believe
from tests.support.session_heads import head_of, is_request
from wsproxy._fast.decide.edits import rewrite_request
from wsproxy._fast.http.origin import Trust, TrustedProxies
from wsproxy.config.address import trusted_network

pytestmark = pytest.mark.asan

NETWORKS = ["127.0.0.1", "10.0.0.0/8", "2001:db8::/33", "::ffff:172.16.0.9", "fd00::1", "192.168.128.0/17"]  # fmt: skip
PROXIES = TrustedProxies(tuple(each for each in map(trusted_network, NETWORKS) if each))
LISTED = [ipaddress.ip_network("172.16.0.9/32" if "::ffff" in each else each) for each in NETWORKS]
TRUST = {
    "x-forwarded": Trust.TRUST_X_FORWARDED,
    "forwarded": Trust.TRUST_FORWARDED,
    "none": Trust.TRUST_NOTHING,
}

ADDRESSES = st.sampled_from(
    [b"203.0.113.9", b"10.1.2.3", b"10.255.255.255", b"11.0.0.0", b"192.168.127.1", b"192.168.128.1", b"127.0.0.1", b"172.16.0.9",
     b"2001:db8::1", b"2001:DB8:8000::1", b"[2001:db8:7fff::1]", b"[2001:db9::1]:4711", b"203.0.113.9:81", b"::ffff:10.0.0.7",
     b"::ffff:203.0.113.9", b"fd00::1", b"unknown", b"_hidden", b"", b"1.2.3", b"203.0.113.09", b"203.0.113.9:", b"[::1", b"[::1]x",
     b"203.0.113.9:99999", b"fe80::1%eth0", b"1:2:3:4:5:6:7:8", b"x" * 60]
)  # fmt: skip
BLANK = st.sampled_from([b"", b" ", b"\t "])
LISTS = st.lists(st.builds(lambda a, b, c: b + a + c, ADDRESSES, BLANK, BLANK), max_size=5).map(b",".join)  # fmt: skip
FOR = st.builds(lambda value: b"X-Forwarded-For: " + value, LISTS)
PROTO = st.builds(
    lambda name, value: name + b": " + value,
    st.sampled_from([b"X-Forwarded-Proto", b"x-forwarded-proto"]),
    st.sampled_from([b"https", b"HTTPS", b"http", b"http, https", b"https,http", b"wss", b"ws", b"", b"ftp", b"https,"]),
)  # fmt: skip
PORT = st.sampled_from([b"443", b"8443", b"0", b"65535", b"65536", b"80, 443", b"x", b"", b"0443", b"123456"]).map(lambda port: b"X-Forwarded-Port: " + port)  # fmt: skip
HOST = st.sampled_from([b"shop.example", b"shop.example:8443", b"[::1]:81", b"[::1]", b"a:b", b"", b"a:1, b:2", b"::1"]).map(lambda host: b"X-Forwarded-Host: " + host)  # fmt: skip
PAIRS = st.one_of(
    ADDRESSES.map(lambda each: b"for=" + each),
    ADDRESSES.map(lambda each: b'For="' + each + b'"'),
    st.sampled_from([b"proto=https", b"proto=http", b"PROTO = HTTPS", b'host="h:8443"', b"host=h", b'host="a,b;c"', b"by=x", b"",
                     b'ext="a\\"b,for=6.6.6.6"', b'for="', b"for", b'"'])
)  # fmt: skip
ELEMENTS = st.lists(PAIRS, max_size=3).map(b";".join)
FORWARDED = st.lists(ELEMENTS, max_size=5).map(lambda each: b"Forwarded: " + b", ".join(each))
PRIVATE = st.sampled_from([b"$WSRA: 198.51.100.4", b"$WSRA: nobody", b"$WSIS: true", b"$wssc: https", b"$WSSP: 8081", b"X-Real-IP: 6.6.6.6"])  # fmt: skip


def private(head: bytes) -> dict[bytes, bytes]:
    """The private headers of a request, by name."""
    rows = (line.partition(b": ") for line in head.split(b"\r\n"))
    return {name.upper(): value for name, _, value in rows if name.startswith(b"$")}


@settings(max_examples=500, deadline=None)
@given(
    lines=st.lists(
        st.one_of(FOR, FOR, PROTO, PORT, HOST, FORWARDED, FORWARDED, PRIVATE), max_size=6
    ),
    host=st.sampled_from([b"h", b"h:8080"]),
    trust=st.sampled_from(["x-forwarded", "x-forwarded", "forwarded", "forwarded", "none"]),
    secure=st.booleans(),
)
@example(
    [b"X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.0.0.1", b"X-Forwarded-For: 127.0.0.1"],
    b"h",
    "x-forwarded",
    False,
)
@example(
    [b"X-Forwarded-For: " + b", ".join([b"203.0.113.9"] + [b"10.0.0.1"] * 40)],
    b"h",
    "x-forwarded",
    False,
)
@example(
    [b"Forwarded: " + b", ".join([b"for=203.0.113.9"] + [b"for=10.0.0.1;proto=https"] * 40)],
    b"h",
    "forwarded",
    False,
)
@example(
    [
        b'Forwarded: for=6.6.6.6, for="[2001:db9::1]:1";proto=https;host="h:8443", for=10.0.0.1;proto=http'
    ],
    b"h",
    "forwarded",
    False,
)
def test_client_is_the_oracles(lines: list[bytes], host: bytes, trust: str, secure: bool) -> None:
    data = head_of(b"GET / HTTP/1.1", [b"Host: " + host, *lines])
    written = rewrite_request(
        data, proxies=PROXIES, trust=TRUST[trust], trusted=True, keep_private=True, secure=secure
    )
    if not is_request(data):
        assert isinstance(written, int)
        return
    parsed = http_head.parse_request(data)
    assert parsed is not None
    told = believe(
        data, trust=trust, proxies=LISTED, secure=secure, port=8080 if b":" in host else -1
    )
    assert isinstance(written, bytes)
    found = private(written)
    own = private(data)
    client = str(told.client) if told.client else "192.0.2.1"
    default = 443 if told.secure else 80
    assert found == {
        **found,
        b"$WSRA": client.encode(),
        b"$WSRH": client.encode(),
        b"$WSIS": b"true" if told.secure else b"false",
        b"$WSSC": b"https" if told.secure else b"http",
        b"$WSSP": b"%d" % (told.port if told.port >= 0 else default),
        **own,
    }


@pytest.mark.parametrize(
    "text", [b"unknown", b"", b"10.0.0.1 ", b"x" * 100, b"10.0.0", b"11.0.0.1", b"2001:db8:8000::"]
)
def test_who_is_no_trusted_proxy(text: bytes) -> None:
    assert text not in PROXIES


@pytest.mark.parametrize(
    "text",
    [b"10.0.0.1", b"::ffff:10.9.9.9", b"2001:db8:7fff:ffff::", b"fd00::1%eth0", b"172.16.0.9"],
)
def test_who_is_a_trusted_proxy(text: bytes) -> None:
    assert text in PROXIES


def test_wrong_networks_are_refused() -> None:
    for wrong in ((b"1234", 8), (bytes(16), 129), (bytes(16), -1)):
        with pytest.raises(ValueError, match="allowed are 16 bytes"):
            TrustedProxies((wrong,))
    assert b"::" in TrustedProxies(((bytes(16), 0),))
    assert b"10.0.0.1" not in TrustedProxies()
