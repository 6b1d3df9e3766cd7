"""Plain connections in the worker's epoll set: what a transport promises to its stream, and what goes wrong around it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from tests.support import wire
from tests.support.bed import Bed, config_of, server
from tests.support.wire import Origin, Wire, listening_socket
from wsproxy._fast.net import doors
from wsproxy._fast.net.doors import Door
from wsproxy._fast.proxy.http1 import Http1Protocol

pytestmark = pytest.mark.asan

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
HEAD = b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
LARGE = 8 << 20  # more than two kernels take
READ_SIZE = 262144  # of one read
HIGH_WATER = 65536


@pytest.fixture(autouse=True)
def no_socket_left() -> Iterator[None]:
    yield
    wire.close_all()


@dataclass(slots=True)
class Notes:
    """What a stream was told; must not hold the stream, ``Bed`` looks for those that are left."""

    calls: list[str] = field(default_factory=list)
    error: str = ""
    transport: Any = None


class Recorder(Http1Protocol):
    """Writes down what its transport tells it."""

    notes: Notes

    def connection_made(self, transport: Any) -> None:
        self.notes.calls.append("made")
        self.notes.transport = transport
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.notes.calls.append("lost")
        self.notes.error = repr(error)
        super().connection_lost(error)

    def pause_writing(self) -> None:
        self.notes.calls.append("pause")
        super().pause_writing()

    def resume_writing(self) -> None:
        self.notes.calls.append("resume")
        super().resume_writing()


@contextlib.asynccontextmanager
async def recorded(
    make: type[Recorder] = Recorder, *, origin: Origin | None = None, receive_buffer: int = 0
) -> AsyncIterator[tuple[Bed, Notes, Wire]]:
    """A connection in the set of a worker: what its stream was told, and the peer's end."""
    async with Bed(config_of(server("s", origin.port if origin else 1))) as bed:
        sock = listening_socket()
        notes = Notes()

        def accept() -> Recorder:
            stream = make(bed.engine)
            stream.notes = notes
            return stream

        door = doors.listen(bed.engine.poller, sock, accept)
        peer = await Wire.connect(sock.getsockname()[1], receive_buffer=receive_buffer)
        await bed.until(lambda: bool(notes.calls))
        yield bed, notes, peer
        door.close()


# --- when a connection is watched -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def unswept() -> AsyncIterator[tuple[Bed, Wire, Wire]]:
    """A client whose first request was there as it was accepted, and the warm connection to the server that has it; no sweep comes by itself."""
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        bed.sweeper.cancel()
        sock = listening_socket()
        door = doors.listen(bed.engine.poller, sock, partial(Http1Protocol, bed.engine))

        def ask(path: bytes) -> Wire:
            client = Wire(socket.create_connection(sock.getsockname()))
            client.send_now(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % path)
            return client

        first = ask(b"/app/w")
        upstream, _ = await origin.accept_request()
        await upstream.send(OK)
        assert (await first.read_answer())[0] == 200
        first.close()
        await bed.until(lambda: bed.streams(Http1Protocol) == 0)
        peer = ask(b"/app/x")
        assert (await upstream.read_head()).startswith(b"GET /app/x")
        yield bed, peer, upstream
        door.close()


async def test_client_that_leaves_before_its_first_answer_is_noticed_by_a_sweep() -> None:
    """Until then it is not in the set: most of those who say `close` never have to be."""
    async with unswept() as (bed, peer, _):
        peer.reset()
        for _ in range(50):
            await asyncio.sleep(0)
        assert bed.streams(Http1Protocol) == 1
        bed.engine.sweep()
        await bed.until(lambda: bed.streams(Http1Protocol) == 0)


async def test_client_is_watched_from_its_first_answer_on() -> None:
    """No sweep is needed for its second request, nor for what it had sent ahead of the first answer."""
    async with unswept() as (bed, peer, upstream):
        await peer.send(b"GET /app/y HTTP/1.1\r\nHost: h\r\n\r\n")
        for following in (b"/app/y", b"/app/z", b""):
            if following == b"/app/z":
                await peer.send(b"GET /app/z HTTP/1.1\r\nHost: h\r\n\r\n")
            await upstream.send(OK)
            assert (await peer.read_answer())[0] == 200
            if following:
                assert (await upstream.read_head()).startswith(b"GET " + following)
        peer.close()
        await bed.until(lambda: bed.streams(Http1Protocol) == 0)


# --- what a transport promises ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_stream_hears_of_its_end_once_and_never_within_a_call(how: str) -> None:
    async with recorded() as (bed, notes, peer):
        transport = notes.transport
        getattr(transport, how)()
        getattr(transport, how)()
        transport.abort()
        assert notes.calls == ["made"]
        assert transport.is_closing()
        assert (
            transport.fileno() >= 0
        )  # until its stream has heard of the end nobody else can have the number
        await bed.until(lambda: "lost" in notes.calls)
        assert notes.calls == ["made", "lost"]
        assert notes.error == "None"
        assert transport.fileno() == -1
        assert await peer.read_to_end() == b""


async def test_calls_after_the_end_do_nothing() -> None:
    async with recorded() as (bed, notes, _):
        transport = notes.transport
        transport.abort()
        await bed.until(lambda: "lost" in notes.calls)
        transport.write(b"x")
        transport.pause_reading()
        transport.resume_reading()
        transport.write_eof()
        transport.close()
        transport.abort()
        assert transport.get_write_buffer_size() == 0
        assert transport.get_extra_info("peername") is None
        await asyncio.sleep(0)
        assert notes.calls == ["made", "lost"]


async def test_close_sends_everything_that_waits_and_then_the_end() -> None:
    async with recorded(receive_buffer=4096) as (bed, notes, peer):
        notes.transport.write(b"x" * LARGE)
        notes.transport.close()
        assert notes.calls == ["made", "pause"]
        assert len(await peer.read_to_end()) == LARGE
        await bed.until(lambda: "lost" in notes.calls)
        assert notes.error == "None"


async def test_abort_drops_what_waits() -> None:
    async with recorded(receive_buffer=4096) as (bed, notes, peer):
        notes.transport.write(b"x" * LARGE)
        notes.transport.close()
        notes.transport.abort()
        await bed.until(lambda: "lost" in notes.calls)
        assert len(await peer.read_to_end()) < LARGE


async def test_end_of_one_direction_follows_what_waits() -> None:
    """The other direction goes on."""
    async with recorded(receive_buffer=4096) as (bed, notes, peer):
        notes.transport.write(b"x" * LARGE)
        notes.transport.write_eof()
        notes.transport.write(b"too late")
        assert len(await peer.read_to_end()) == LARGE
        assert "lost" not in notes.calls
        peer.close()
        await bed.until(lambda: "lost" in notes.calls)


async def test_stream_is_paused_above_the_high_mark_and_resumed_below_the_low_one() -> None:
    async with recorded(receive_buffer=4096) as (bed, notes, peer):
        transport = notes.transport
        transport.write(b"x" * HIGH_WATER)
        assert notes.calls == ["made"]
        transport.write(b"x" * LARGE)
        transport.write(b"x")
        assert notes.calls == ["made", "pause"]
        assert len(await peer.read_exactly(HIGH_WATER + LARGE + 1)) == HIGH_WATER + LARGE + 1
        await bed.until(lambda: "resume" in notes.calls)
        assert notes.calls == ["made", "pause", "resume"]
        assert transport.get_write_buffer_size() == 0


async def test_bytes_that_came_while_reading_was_paused_are_read_afterwards() -> None:
    async with recorded() as (bed, notes, peer):
        notes.transport.pause_reading()
        await peer.send(b"GET /other HTTP/1.1\r\nHost: h\r\n\r\n")
        await bed.pass_time(0.05)
        assert not peer.has_received()
        notes.transport.resume_reading()
        assert (await peer.read_answer())[0] == 404


async def test_reading_goes_on_after_reads_that_fill_the_buffer() -> None:
    """The last byte of what came is the end of a full read: nothing waits in the kernel, and nothing is lost."""
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        body = b"x" * (4 * READ_SIZE - len(HEAD % (1 << 20)))
        await client.send(HEAD % len(body) + body)
        upstream, head = await origin.accept_request()
        assert head.startswith(b"POST")
        assert await upstream.read_exactly(len(body)) == body
        await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert (await client.read_answer())[0] == 200


async def test_addresses_of_both_ends() -> None:
    async with recorded() as (_, notes, peer):
        assert notes.transport.get_extra_info("peername") == peer.sock.getsockname()
        assert notes.transport.get_extra_info("sockname") == peer.sock.getpeername()
        assert notes.transport.get_extra_info("sslcontext") is None
        assert notes.transport.get_extra_info("cipher", "none") == "none"


def any_address(family: socket.AddressFamily, address: str) -> socket.socket:
    sock = socket.socket(family)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind((address, 0))
    sock.listen()
    sock.setblocking(False)
    return sock


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::"),
        (socket.AF_INET6, "::ffff:0.0.0.0"),
        (socket.AF_INET6, "::ffff:127.0.0.2"),
    ],
)
async def test_address_that_a_client_came_to_is_told_and_not_any(
    family: socket.AddressFamily, address: str
) -> None:
    """Where the listening socket is bound to all of them, in each of the ways to say so."""
    async with Bed(config_of(server("s", 1))) as bed:
        sock = any_address(family, address)
        told: list[tuple[str, int]] = []

        class Greeter(Http1Protocol):
            def connection_made(self, transport: Any) -> None:
                told.extend(transport.get_extra_info(name) for name in ("peername", "sockname"))
                super().connection_made(transport)

        door = doors.listen(bed.engine.poller, sock, partial(Greeter, bed.engine))
        with socket.create_connection(("127.0.0.2", sock.getsockname()[1])) as peer:
            await bed.until(lambda: bool(told))
            assert told == [peer.getsockname(), peer.getpeername()]
        door.close()


# --- a peer that is gone ------------------------------------------------------------------------------------------


async def test_answer_of_a_server_that_does_not_want_the_body_is_read_before_its_reset() -> None:
    """It closes with the body unread, so the bytes that wait can never be sent: its answer is there all the same."""
    origin = Origin(receive_buffer=4096)
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(HEAD % LARGE + b"x" * READ_SIZE)
        upstream, _ = await origin.accept_request()
        # Until the proxy reads no more: it holds bytes for the server.
        while client.send_now(b"x" * READ_SIZE):  # noqa: ASYNC110
            await asyncio.sleep(0)
        await bed.pass_time(0.05)
        # One batch: nothing runs between the two.
        sent = upstream.send_now(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        upstream.close()
        assert sent
        assert await client.read_answer() == (413, b"big")


async def test_reset_that_a_send_was_told_of_is_no_orderly_end() -> None:
    """The answer ends with its connection; a reset says that something is missing, and the client must see that."""
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(HEAD % 100 + b"x")
        upstream, _ = await origin.accept_request()
        await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\npart")
        assert (await client.read_until(b"part")).startswith(b"HTTP/1.1 200")
        # The client's bytes are the first event of the batch, so it is sending that meets the reset.
        client.send_now(b"y")
        upstream.reset()
        with pytest.raises(ConnectionResetError):
            await client.read_to_end()


# --- internal errors ----------------------------------------------------------------------------------------------


class Failing(Recorder):
    """Its ``resume_writing`` fails."""

    def resume_writing(self) -> None:
        del self  # the traceback holds this frame
        raise RuntimeError("on purpose")


async def test_failing_stream_is_dropped_with_its_error(caplog: pytest.LogCaptureFixture) -> None:
    """None would say that the peer ended in order: an answer that ends with its connection would pass for whole."""
    async with recorded(Failing, receive_buffer=4096) as (bed, notes, peer):
        notes.transport.write(b"x" * LARGE)
        await peer.is_ended()
        await bed.until(lambda: "lost" in notes.calls)
        assert (
            "ConnectionAbortedError" in notes.error
        )  # made beforehand: an end must need no memory
        assert "internal error with a connection" in caplog.text
        assert "on purpose" in caplog.text


class Unwilling(Recorder):
    """Its ``pause_writing`` fails: within the receiving of the server's connection that feeds it."""

    def pause_writing(self) -> None:
        del self
        raise RuntimeError("on purpose")


async def test_answer_cut_by_an_internal_error_does_not_pass_for_whole(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It ends with its connection: only a reset tells the client that something is missing."""
    origin = Origin()
    async with recorded(Unwilling, origin=origin, receive_buffer=4096) as (bed, _, peer):
        await peer.send(b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n")
        upstream, _ = await origin.accept_request()
        await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        await peer.read_head()

        def has_failed() -> bool:
            upstream.send_now(
                b"x" * READ_SIZE
            )  # more than the kernels take: the peer does not read
            return "internal error while handling received bytes" in caplog.text

        await bed.until(has_failed)
        with pytest.raises(ConnectionResetError):
            await peer.read_to_end()


class Unmade(Recorder):
    """Its ``connection_made`` fails."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        del self
        raise RuntimeError("on purpose")


async def test_stream_that_fails_at_its_beginning_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with recorded(Unmade) as (bed, notes, peer):
        assert await peer.is_ended()
        await bed.until(lambda: "lost" in notes.calls)
        assert "ConnectionAbortedError" in notes.error
        assert "internal error with a new connection" in caplog.text
        assert "on purpose" in caplog.text


class NoMemory(logging.Filter):
    """There is none for a record that tells an error, or that begins so."""

    def __init__(self, begins: str = "an error") -> None:
        super().__init__()
        self._begins = begins

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info or record.msg.startswith(self._begins):
            raise MemoryError
        return True


async def test_error_that_could_not_be_told_is_counted_and_told_at_a_sweep(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once: a connection never ends without a word."""
    logger = logging.getLogger("wsproxy.connection")
    starved = NoMemory()
    logger.addFilter(starved)
    try:
        async with recorded(Unmade) as (bed, notes, peer):
            assert await peer.is_ended()
            await bed.until(lambda: "lost" in notes.calls)
            assert "internal error" not in caplog.text
            bed.engine.poller.tend()
            bed.engine.poller.tend()
    finally:
        logger.removeFilter(starved)
    assert [record.getMessage() for record in caplog.records if "no memory" in record.msg] == [
        "no memory for messages: 1 internal errors are not told, each ended one connection or one step"
    ]


async def test_sweep_goes_on_where_the_count_cannot_be_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is told by a later one: what else a sweep does may be what frees memory."""
    logger = logging.getLogger("wsproxy.connection")
    starved = NoMemory("no memory")
    logger.addFilter(starved)
    try:
        async with recorded(Unmade) as (bed, notes, peer):
            assert await peer.is_ended()
            await bed.until(lambda: "lost" in notes.calls)
            bed.engine.poller.tend()
            assert "no memory" not in caplog.text
            logger.removeFilter(starved)
            bed.engine.poller.tend()
    finally:
        logger.removeFilter(starved)
    assert "no memory for messages: 1 internal errors are not told" in caplog.text


async def test_client_for_whom_no_stream_can_be_made_is_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The others of the batch get theirs."""
    async with Bed(config_of(server("s", 1))) as bed:
        sock = listening_socket()
        fails = iter([True, False])

        def make() -> Http1Protocol:
            if next(fails):
                raise RuntimeError("on purpose")
            return Http1Protocol(bed.engine)

        before = len(os.listdir("/proc/self/fd"))
        # Both wait before the set looks.
        first, peer = (Wire(socket.create_connection(sock.getsockname())) for _ in range(2))
        door = doors.listen(bed.engine.poller, sock, make)
        assert await first.read_to_end() == b""
        await peer.send(b"GET /other HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await peer.read_answer())[0] == 404
        assert "internal error with a new connection" in caplog.text
        first.close()
        assert len(os.listdir("/proc/self/fd")) == before + 2  # both ends of the other
        door.close()


def spoil(fd: int) -> None:
    """Puts something behind the descriptor that an epoll set does not take."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, fd)
    os.close(null)


@pytest.mark.parametrize("call", ["pause_reading", "resume_reading", "write"])
async def test_connection_that_the_set_does_not_take_is_dropped(
    call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody would ever wake it; and who called, most often another stream, is not the one that fails."""
    async with recorded() as (bed, notes, _):
        transport = notes.transport
        if call == "resume_reading":
            transport.pause_reading()
        spoil(transport.fileno())
        if call == "write":
            transport.write(b"x")
        else:
            getattr(transport, call)()
        assert notes.calls == ["made"]
        await bed.until(lambda: "lost" in notes.calls)
        assert "Error(" in notes.error
        assert "cannot wait for a connection" in caplog.text


# --- listening sockets --------------------------------------------------------------------------------------------


async def test_listening_socket_is_kept_as_long_as_the_set_knows_it() -> None:
    """The set has only its address."""
    async with Bed(config_of(server("s", 1))) as bed:
        sock = listening_socket()
        doors.listen(bed.engine.poller, sock, partial(Http1Protocol, bed.engine))
        gc.collect()
        assert any(
            isinstance(each, Door) and each.fileno() == sock.fileno() for each in gc.get_objects()
        )
        peer = await Wire.connect(sock.getsockname()[1])
        await peer.send(b"GET /other HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await peer.read_answer())[0] == 404


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Not one more can be had in this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)  # every number below is taken
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_lack_of_descriptors_is_said_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may last for hours, and is met each time that accepting is tried again."""
    monkeypatch.setattr(doors, "PAUSE_S", 0.001)
    async with Bed(config_of(server("s", 1))) as bed:
        peer = Wire(socket.create_connection(("127.0.0.1", bed.port)))
        with no_descriptor_left():
            await bed.until(lambda: "cannot accept connections: Too many open files" in caplog.text)
            await bed.pass_time(0.1)
            assert caplog.text.count("cannot accept connections") == 1
            assert bed.accepted == 0
        await peer.send(b"GET /other HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await peer.read_answer())[0] == 404


async def test_listening_socket_that_the_set_does_not_take_again_is_tried_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(doors, "PAUSE_S", 0.2)
    async with Bed(config_of(server("s", 1))) as bed:
        sock = listening_socket()
        kept, null = os.dup(sock.fileno()), os.open(os.devnull, os.O_RDONLY)
        door = doors.listen(bed.engine.poller, sock, partial(Http1Protocol, bed.engine))
        peer = Wire(socket.create_connection(sock.getsockname()))
        with no_descriptor_left():
            await bed.until(lambda: "Too many open files" in caplog.text)
            os.dup2(null, sock.fileno())  # what no epoll set takes
        await bed.pass_time(0.4)
        os.dup2(kept, sock.fileno())
        os.close(kept)
        os.close(null)
        await peer.send(b"GET /other HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await peer.read_answer())[0] == 404
        door.close()
