"""Which bodies go through the worker's pipe; that they arrive is seen in tests/blackbox/test_large_bodies.py."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import gc
import os
import platform
import resource
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import wire
from tests.support.bed import Bed, config_of, server
from tests.support.wire import Origin
from wsproxy._fast.net.pipe import Pipe
from wsproxy._fast.net.poller import PlainTransport
from wsproxy.config.settings import Settings, UpstreamSettings

pytestmark = pytest.mark.asan

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
MIB = 1 << 20
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
# What the first read takes with the head, and what one read takes of a request.
FIRST_READ = 8192
READ_SIZE = 262144
LEAST_READ = 4096
HIGH_WATER = 65536


@pytest.fixture(autouse=True)
def no_socket_left() -> Iterator[None]:
    yield
    wire.close_all()


def passed(bed: Bed) -> int:
    assert bed.engine.pipe is not None
    return bed.engine.pipe.passed


@pytest.mark.parametrize(
    ("size", "least", "most"),
    [(2, 0, 0), (FIRST_READ, 0, 0), (16_000, 0, 0), (MIB, MIB - FIRST_READ, MIB)],
)
async def test_large_answers_go_through_it(size: int, least: int, most: int) -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        upstream, _ = await origin.accept_request()
        await upstream.send(OK % size + b"x" * size)
        assert await client.read_answer() == (200, b"x" * size)
        assert least <= passed(bed) <= most


@pytest.mark.parametrize(("kept_kb", "is_piped"), [(0, True), (-1, False)])
async def test_large_uploads_go_through_it_unless_they_are_kept(
    kept_kb: int, is_piped: bool
) -> None:
    """``PostBufferSize``: what may be sent again must have been seen."""
    origin = Origin()
    config = config_of(server("s", origin.port), post_buffer_size_kb=kept_kb)
    async with Bed(config) as bed:
        client = await bed.client()
        await client.send(POST % (4 * MIB) + b"x" * MIB)
        upstream, _ = await origin.accept_request()
        await client.send(b"y" * 3 * MIB)
        assert await upstream.read_exactly(4 * MIB) == b"x" * MIB + b"y" * 3 * MIB
        await upstream.send(OK % 0)
        assert (await client.read_answer())[0] == 200
        assert (passed(bed) > MIB) is is_piped


async def test_no_more_of_an_upload_is_copied_than_makes_it_too_large_to_keep() -> None:
    """All of it is here before its server is: it is read with the head, up to PostBufferSize and no further, then piped."""
    origin = Origin()
    kept = 64 * 1024
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(POST % MIB + b"x" * MIB)
        upstream, _ = await origin.accept_request()
        assert await upstream.read_exactly(MIB) == b"x" * MIB
        assert passed(bed) >= MIB - kept - LEAST_READ
        await upstream.send(OK % 2 + b"ok")
        assert await client.read_answer() == (200, b"ok")


@pytest.mark.parametrize("ahead", range(0, MIB, MIB // 4))
async def test_for_who_does_not_read_no_more_than_a_share_is_kept(ahead: int) -> None:
    """What is in the pipe and is not taken has to be kept; a MiB goes into it, but only where the socket has room for it."""
    origin = Origin()
    data = bytes(4 * MIB)

    def kept() -> int:
        transports = [each for each in gc.get_objects() if isinstance(each, PlainTransport)]
        return max(each.get_write_buffer_size() for each in transports)

    async with Bed(config_of(server("s", origin.port), post_buffer_size_kb=0)) as bed:
        client = await bed.client()
        await client.send(POST % (1024 * MIB))
        await origin.accept_request()
        await client.send(data[:ahead])  # where the room ends is another place of the MiB each time
        await bed.until(lambda: passed(bed) >= ahead - 2 * FIRST_READ)
        await bed.until(lambda: client.send_now(data) == 0 and kept() > 0)
        assert passed(bed) > MIB
        assert kept() <= HIGH_WATER + READ_SIZE  # who holds less than that is fed on


async def test_chunked_answers_do_not() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        upstream, _ = await origin.accept_request()
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        await upstream.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + 4 * chunk + b"0\r\n\r\n"
        )
        await client.read_until(b"\r\n0\r\n\r\n")
        assert passed(bed) == 0


async def test_without_it_bodies_are_copied() -> None:
    origin = Origin()
    settings = Settings(upstream=UpstreamSettings(splice=False))
    async with Bed(config_of(server("s", origin.port)), settings) as bed:
        assert bed.engine.pipe is None
        client = await bed.client()
        await client.send(GET)
        upstream, _ = await origin.accept_request()
        await upstream.send(OK % MIB + b"x" * MIB)
        assert await client.read_answer() == (200, b"x" * MIB)


SPLICE = {"x86_64": 275, "aarch64": 76}
SENDTO = {"x86_64": 44, "aarch64": 206}


def fail_calls(numbers: dict[str, int], error: int) -> None:
    """In this thread, for ever: a sandbox that answers this system call with an error (seccomp(2))."""
    number = numbers[platform.machine()]
    load, jump, give_back = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | error
    steps = [
        (load, 0, 0, 0),
        (jump, 0, 1, number),
        (give_back, 0, 0, refuse),
        (give_back, 0, 0, allow),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) == 0


def test_where_splice_is_forbidden_bodies_are_copied() -> None:
    async def exchange() -> None:
        origin = Origin()
        async with Bed(config_of(server("s", origin.port))) as bed:
            client = await bed.client()
            for _ in range(2):
                await client.send(GET)
                upstream, _ = await origin.accept_request()
                await upstream.send(OK % MIB + b"x" * MIB)
                assert await client.read_answer() == (200, b"x" * MIB)
                upstream.close()
            assert passed(bed) == 0

    def run() -> None:
        fail_calls(SPLICE, errno.ENOSYS)
        asyncio.run(exchange())

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()


def test_a_lack_of_descriptors_is_told() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = os.dup(0)
    os.close(taken)
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken, hard))
    try:
        with pytest.raises(OSError, match="Too many open files") as caught:
            Pipe()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == errno.EMFILE


def test_its_descriptors_end_with_it() -> None:
    before = set(os.listdir("/proc/self/fd"))
    pipe = Pipe()
    assert len(set(os.listdir("/proc/self/fd")) - before) == 2
    del pipe
    assert set(os.listdir("/proc/self/fd")) == before


async def test_a_reset_that_was_read_is_no_end_because_a_send_fails_too() -> None:
    """Read behind the first 8 KiB: the next send is told EPIPE, the next read 0, and the answer ends with its connection."""
    origin = Origin()
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(POST % 2 + b"a")
        upstream, _ = await origin.accept_request()
        upstream.send_now(head + bytes(FIRST_READ - len(head)))
        upstream.reset()
        client.send_now(b"b")  # served after the answer, in the same round
        with pytest.raises(ConnectionResetError):
            await client.read_to_end()


async def test_an_answer_whose_exchange_is_dropped_goes_nowhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The slow path fails just when the answer begins: of the exchange nothing is left to send to."""
    gone, origin = Origin(), Origin()
    gone.close()
    async with Bed(config_of(server("gone", gone.port), server("s", origin.port))) as bed:
        bed.slow.answer_began = None  # type: ignore[method-assign,assignment]
        client = await bed.client()
        await client.send(GET)
        upstream, _ = await origin.accept_request()
        await upstream.send(OK % MIB + b"x" * MIB)
        assert await client.is_ended()
        assert "internal error in answer_began" in caplog.text
        assert passed(bed) == 0


def test_an_error_that_a_send_was_told_is_no_end() -> None:
    """What the kernel says once it does not say to who reads: an answer that ends with its connection is not whole."""

    async def exchange() -> None:
        origin = Origin()
        async with Bed(config_of(server("s", origin.port))) as bed:
            client = await bed.client()
            await client.send(POST % 3 + b"a")
            upstream, _ = await origin.accept_request()
            await upstream.read_exactly(1)
            await upstream.send(b"HTTP/1.1 200 OK\r\n\r\npart")
            await client.read_until(b"part")
            client.send_now(b"b")
            upstream.end_sending()
            fail_calls(SENDTO, errno.ETIMEDOUT)
            with pytest.raises(ConnectionResetError):
                await client.read_to_end()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, exchange()).result()
