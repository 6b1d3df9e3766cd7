"""Without Python in between, TLS connections do what they do through the ssl module."""

from __future__ import annotations

import random
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.tls_pipe import client_context, server_context
from wsproxy._fast.net import libssl
from wsproxy._fast.net.records import MOST_RECORDS
from wsproxy.dataplane.tls import BoundedContext, BoundedReads

pytestmark = pytest.mark.asan

WAYS = [True, False] if libssl.is_used() else [False]


class Pair:
    """A server's side as listeners have it, and a client of the ssl module's own, shaken."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        self.arrived, self.sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        made = server.wrap_bio(self.arrived, self.sent, server_side=True)
        assert isinstance(made, BoundedReads)
        self.near = made
        self.far = client.wrap_bio(self.sent, self.arrived, server_hostname="h")
        for side in (self.far, self.near, self.far, self.near):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue

    def read_all(self, most: int) -> bytes:
        """What is here, as event loops read it, turn by turn."""
        found = b""
        buffer = bytearray(most)
        while True:
            self.near.left = MOST_RECORDS
            turn = b""
            try:
                while count := self.near.read(most, buffer):
                    assert isinstance(count, int)
                    turn += buffer[:count]
            except ssl.SSLWantReadError:
                pass
            found += turn
            if not turn:
                return found


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    folder = tmp_path_factory.mktemp("tls")
    ca = Authority()
    pair = ca.issue("h").write_pem(folder, "server")
    return server_context(pair, kind=BoundedContext), ca.write_pem(folder)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The next test finds what this one found."""
    was_used = libssl.is_used()
    yield
    libssl.use(was_used)


def pair_of(
    contexts: tuple[ssl.SSLContext, Path], *, direct: bool, version: ssl.TLSVersion | None = None
) -> Pair:
    libssl.use(direct)
    made = Pair(contexts[0], client_context(contexts[1], version=version))
    assert made.near.is_direct() == direct
    return made


@pytest.mark.skipif(
    sys.version_info >= (3, 14) or sys.implementation.name != "cpython",
    reason="not looked into yet",
)
def test_it_is_used_where_the_ssl_module_is_known_and_shared() -> None:
    """Where this fails although OpenSSL is a shared library, requests over TLS cost 1.15 times as much."""
    linked = [line for line in Path("/proc/self/maps").read_text().splitlines() if "libssl" in line]
    assert libssl.is_used() == bool(linked)


BEFORE = {
    "another version": "ssl.OPENSSL_VERSION_NUMBER += 1",
    "another inside": (
        "ssl.SSLContext = type('Other', (ssl.SSLContext,), {'num_tickets': property(lambda _: 2, lambda *_: None)})"
    ),
    "not to be found": "import _ssl; del _ssl.__file__",
    "nothing": "",
}


@pytest.mark.skipif(not libssl.owns(), reason="not looked into yet")
@pytest.mark.parametrize("what", BEFORE)
def test_sockets_of_our_own_need_all_to_be_as_expected(what: str) -> None:
    """At start: the version, a number that Python sets and we read, the library itself. Where one is not, TLS goes on as it did."""
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            f"import ssl; {BEFORE[what]}\nfrom wsproxy._fast.net import libssl; print(libssl.way())",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    expected = {"nothing": "sockets", "not to be found": "python"}.get(what, "loop")
    assert done.stdout.strip() == expected


def test_a_connection_made_of_other_parts_is_left_to_python(
    contexts: tuple[ssl.SSLContext, Path],
) -> None:
    """Another context, another BIO, or none: nothing in there is looked at."""
    own, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = pair_of(contexts, direct=WAYS[0]).near
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    inner = tls.wrap_bio(own, other)._sslobj  # type: ignore[attr-defined]
    made.join(inner, ssl.MemoryBIO(), own, tls)
    assert made.is_direct() == WAYS[0]
    made.join(inner, ssl.MemoryBIO(), other, tls)
    assert not made.is_direct()
    made.join(inner, ssl.MemoryBIO(), own, contexts[0])
    assert not made.is_direct()
    made.join(object(), ssl.MemoryBIO(), own, tls)
    assert not made.is_direct()
    made.join(inner, object(), own, tls)  # type: ignore[arg-type]
    assert not made.is_direct()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("direct", WAYS)
def test_bytes_arrive_as_they_were_sent_however_they_are_cut(
    contexts: tuple[ssl.SSLContext, Path], direct: bool, version: ssl.TLSVersion
) -> None:
    """Records of all sizes, in pieces of all sizes, into buffers of all sizes; and the other way."""
    rng = random.Random(7)
    pair = pair_of(contexts, direct=direct, version=version)
    for _ in range(30):
        sent = b""
        for _ in range(rng.randrange(1, 4)):
            data = rng.randbytes(rng.choice([1, 2, 700, 16383, 16384, 40000]))
            pair.far.write(data)
            sent += data
        wire = pair.arrived.read()
        found = b""
        while wire:
            step = rng.choice([1, 4, 5, 6, 1000, 16405, 300000])
            pair.arrived.write(wire[:step])
            wire = wire[step:]
            found += pair.read_all(rng.choice([3000, 131072]))
        assert found == sent
        assert pair.near.is_quiet()
        assert not pair.near.has_rest()
        assert pair.near.write(sent) == len(sent)
        back = b""
        while len(back) < len(sent):
            back += pair.far.read(300000)
        assert back == sent


@pytest.mark.parametrize("direct", WAYS)
def test_the_end_and_what_is_broken_have_python_s_own_words(
    contexts: tuple[ssl.SSLContext, Path], direct: bool
) -> None:
    """close_notify is 0; a changed byte is the library's error with its reason; afterwards nothing can be read."""
    pair = pair_of(contexts, direct=direct)
    pair.far.write(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        pair.far.unwrap()
    buffer = bytearray(100)
    assert pair.near.read(100, buffer) == 4
    assert pair.near.read(100, buffer) == 0
    assert pair.near.is_ended
    pair = pair_of(contexts, direct=direct)
    pair.far.write(b"data")
    wire = bytearray(pair.arrived.read())
    wire[-1] ^= 1
    pair.arrived.write(wire)
    with pytest.raises(ssl.SSLError) as caught:
        pair.near.read(100, buffer)
    assert caught.value.reason == "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"


@pytest.mark.parametrize("direct", WAYS)
def test_a_buffer_that_nobody_may_write_to_is_refused(
    contexts: tuple[ssl.SSLContext, Path], direct: bool
) -> None:
    """And the record is not lost."""
    pair = pair_of(contexts, direct=direct)
    pair.far.write(b"data")
    with pytest.raises((BufferError, TypeError)):
        pair.near.read(100, b"0123")  # type: ignore[arg-type]
    assert pair.read_all(100) == b"data"


@pytest.mark.parametrize("direct", WAYS)
def test_writes_take_every_kind_of_bytes(
    contexts: tuple[ssl.SSLContext, Path], direct: bool
) -> None:
    pair = pair_of(contexts, direct=direct)
    for data in (b"a", bytearray(b"b"), memoryview(b"c")):
        assert pair.near.write(data) == 1
        assert pair.far.read(10) == bytes(data)
