"""Each way in which an exchange can end, on real sockets: the two letters, status and bytes that the access log has of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import socket
import struct
import termios
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.causes import letters_of_causes
from tests.support.wire import DeafOrigin, Origin, Wire
from wsproxy._fast.proxy.downstream import Downstream
from wsproxy._fast.proxy.http1 import Http1
from wsproxy._fast.proxy.running import answer_board, end_tunnels
from wsproxy._fast.state.board import Board
from wsproxy._fast.tell.access_line import AccessLog
from wsproxy.config.access_format import parse_format
from wsproxy.config.settings import QueueSettings, Settings, TimeoutSettings, UpstreamSettings

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: %d\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
UPGRADE = b"GET /app/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
# More than the kernels and the proxy hold for a client that does not read.
MUCH = 16 << 20


@dataclass
class Scene:
    """A proxy before one server; what it wrote of its requests: (cause, status, %X, bytes of the body, tries)."""

    bed: Bed
    origin: Origin
    log: AccessLog
    blocks: list[bytes] = field(default_factory=list)

    def lines(self) -> list[tuple[str, int, str, int, int]]:
        self.log.flush()
        rows = (line.split() for line in b"".join(self.blocks).decode().splitlines())
        return [(row[0], int(row[1]), row[2], int(row[3]), int(row[4])) for row in rows]

    async def line(self) -> tuple[str, int, str, int, int]:
        """The only one."""
        await self.bed.until(lambda: bool(self.lines()))
        (line,) = self.lines()
        return line

    async def asked(self, request: bytes = GET) -> tuple[Wire, Wire]:
        """A client whose request the server has: both."""
        client = await self.bed.client()
        await client.send(request)
        wire, _ = await self.origin.accept_request()
        return client, wire

    async def begun(self) -> tuple[Wire, Wire]:
        """The same, and it has two bytes of an answer of ten."""
        client, wire = await self.asked()
        await wire.send(HEAD % 10 + b"ok")
        await client.read_head()
        await client.read_exactly(2)
        return client, wire

    async def tunnel(self) -> tuple[Wire, Wire]:
        client, wire = await self.asked(UPGRADE)
        await wire.send(SWITCH)
        await client.read_head()
        return client, wire

    async def fill(self, wire: Wire, *, most: int = MUCH) -> int:
        """An answer that its client does not read, as far as it goes; bytes of its body."""
        await wire.send(HEAD % most)
        sent = 0
        idle = 0
        while sent < most and idle < 200:
            count = wire.send_now(b"x" * min(65536, most - sent))
            sent += count
            idle = 0 if count else idle + 1
            await self.bed.pass_time(0.001)
        return sent

    async def waiting(self) -> tuple[Wire, Wire, Wire]:
        """A client that has the server's only place, with its server; and one that waits in the queue."""
        first, wire = await self.asked()
        second = await self.bed.client()
        await second.send(GET)
        cluster = self.bed.plan.clusters[0]
        assert cluster is not None
        await self.bed.until(lambda: cluster.queue_length == 1)
        return first, wire, second

    async def connecting(self) -> None:
        """Until somebody tries to connect to the server."""
        await self.bed.until(lambda: bool(self.bed.inflight()[0]))
        await self.bed.pass_time(0.01)

    def kill(self, number: int = 1) -> None:
        """As ``wsproxy kill`` ends a request."""
        board = Board(1)
        board.ask(os.getpid(), number)
        answer_board(self.bed.engine, board)


Play = Callable[[Scene], Awaitable[object]]


@dataclass(frozen=True)
class Ending:
    """How it is brought about, and what the line says of it."""

    play: Play
    status: int
    connection: str = "X"
    body: int | None = 0  # None: what a page of ours has
    tries: int = 1
    settings: Settings = Settings()  # noqa: RUF009  # frozen
    attributes: tuple[tuple[str, object], ...] = ()
    deaf: bool = False


def times(**more: float) -> Settings:
    return Settings(timeouts=TimeoutSettings(**more))


QUEUE = Settings(queue=QueueSettings(size=9, wait_s=600))
ONE_PLACE = (("max_connections", 1),)
SOON = 0.05


async def well(scene: Scene) -> None:
    client, wire = await scene.asked()
    await wire.send(HEAD % 2 + b"ok")
    await client.read_answer()


async def own_answer(scene: Scene) -> None:
    client = await scene.bed.client()
    await client.send(GET.replace(b"app", b"none"))
    await client.read_answer()


async def leaves_within_request(scene: Scene) -> None:
    client, _ = await scene.asked(POST)
    client.close()


async def leaves_queue(scene: Scene) -> None:
    _, _, second = await scene.waiting()
    second.reset()
    await scene.line()


async def leaves_while_connecting(scene: Scene) -> None:
    client = await scene.bed.client()
    await client.send(GET)
    await scene.connecting()
    client.reset()


async def leaves_before_answer(scene: Scene) -> None:
    client, _ = await scene.asked()
    client.reset()


async def leaves_within_answer(scene: Scene) -> None:
    client, _ = await scene.begun()
    client.reset()


async def server_refuses(scene: Scene) -> None:
    scene.origin.close()
    client = await scene.bed.client()
    await client.send(GET)
    await client.read_answer()


async def server_closes(scene: Scene) -> None:
    client, wire = await scene.asked(POST + b"123456789")
    wire.close()
    await client.read_answer()


async def server_breaks_off(scene: Scene) -> None:
    client, wire = await scene.begun()
    wire.close()
    await client.is_ended()


async def answers_late(scene: Scene) -> None:
    client, _ = await scene.asked(POST + b"123456789")
    await client.read_answer()


async def goes_on_late(scene: Scene) -> None:
    client, _ = await scene.begun()
    await client.is_ended()


async def own_page(scene: Scene) -> None:
    client = await scene.bed.client()
    await client.send(GET)
    await client.read_answer()


async def waits_in_vain(scene: Scene) -> None:
    _, _, second = await scene.waiting()
    await second.read_answer()
    await scene.line()


async def no_room(scene: Scene) -> None:
    await scene.asked()
    second = await scene.bed.client()
    await second.send(GET)
    await second.read_answer()
    await scene.line()


async def comes_too_slowly(scene: Scene) -> None:
    client, _ = await scene.asked(POST)
    await client.read_answer()


async def does_not_read(scene: Scene) -> None:
    client = await scene.bed.client(receive_buffer=4096)
    await client.send(GET)
    wire, _ = await scene.origin.accept_request()
    await scene.fill(wire)
    await scene.line()


async def bad_request(scene: Scene) -> None:
    client = await scene.bed.client()
    await client.send(b"GET /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n")
    await client.read_answer()


async def bad_answer(scene: Scene) -> None:
    client, wire = await scene.asked(POST + b"123456789")
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")
    await client.read_answer()


async def bad_chunk(scene: Scene) -> None:
    client, wire = await scene.asked()
    await wire.send(CHUNKS)
    await client.read_head()
    await client.read_exactly(7)
    await wire.send(b"x\r\n")
    await client.is_ended()


async def no_descriptor(scene: Scene) -> None:
    client = await scene.bed.client()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        await client.send(GET)
        await client.read_answer()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def killed_within_request(scene: Scene) -> None:
    await scene.asked(POST)
    scene.kill()


async def killed_in_queue(scene: Scene) -> None:
    await scene.waiting()
    scene.kill(2)
    await scene.line()


async def killed_while_connecting(scene: Scene) -> None:
    client = await scene.bed.client()
    await client.send(GET)
    await scene.connecting()
    scene.kill()


async def killed_before_answer(scene: Scene) -> None:
    await scene.asked()
    scene.kill()


async def killed_within_answer(scene: Scene) -> None:
    await scene.begun()
    scene.kill()


async def error_of_ours(scene: Scene) -> None:
    def fail(downstream: Downstream) -> None:
        del downstream  # what is raised is kept with its frames, by whoever reports
        raise RuntimeError("for the test")

    scene.bed.slow.connect = fail  # type: ignore[method-assign]
    client = await scene.bed.client()
    await client.send(GET)
    await client.is_ended()


IO_TIMEOUT = (("server_io_timeout_s", 1),)
ENDINGS: dict[str, Ending] = {
    "--": Ending(well, 200, "+", 2),
    "LR": Ending(own_answer, 404, "+", None, tries=0),
    "CR": Ending(leaves_within_request, 499),
    "CQ": Ending(leaves_queue, 499, settings=QUEUE, attributes=ONE_PLACE, tries=0),
    "CC": Ending(leaves_while_connecting, 499, deaf=True),
    "CH": Ending(leaves_before_answer, 499),
    "CD": Ending(leaves_within_answer, 200, body=2),
    "cR": Ending(comes_too_slowly, 408, "-", None, settings=times(body_s=SOON)),
    "cD": Ending(does_not_read, 200, body=-1, settings=times(body_s=SOON)),
    "SC": Ending(server_refuses, 503, "+", None),
    "SH": Ending(server_closes, 502, "+", None),
    "SD": Ending(server_breaks_off, 200, body=2),
    "sQ": Ending(waits_in_vain, 503, "+", None, settings=Settings(queue=QueueSettings(size=9, wait_s=SOON)), attributes=ONE_PLACE, tries=0),
    "sC": Ending(own_page, 503, "+", None, attributes=(("connect_timeout_s", 1),), deaf=True),
    "sH": Ending(answers_late, 504, "+", None, attributes=IO_TIMEOUT),
    "sD": Ending(goes_on_late, 200, body=2, attributes=IO_TIMEOUT),
    "PR": Ending(bad_request, 400, "-", None, tries=0),
    "PQ": Ending(no_room, 503, "+", None, attributes=ONE_PLACE, tries=0),
    "PH": Ending(bad_answer, 502, "+", None),
    "PD": Ending(bad_chunk, 200, body=7),
    "RC": Ending(no_descriptor, 503, "+", None),
    "KR": Ending(killed_within_request, 500),
    "KQ": Ending(killed_in_queue, 500, settings=QUEUE, attributes=ONE_PLACE, tries=0),
    "KC": Ending(killed_while_connecting, 500, deaf=True),
    "KH": Ending(killed_before_answer, 500),
    "KD": Ending(killed_within_answer, 200, body=2),
    "I-": Ending(error_of_ours, 500),
}  # fmt: skip
# Of an answer that was whole before: see below.
LAST = {"CL", "cL", "KL"}


def scene_of(ending: Ending | None = None, settings: Settings | None = None) -> Scene:
    ending = ending or Ending(well, 200)
    origin = Origin()
    port = DeafOrigin().port if ending.deaf else origin.port
    bed = Bed(config_of(server("s", port, **dict(ending.attributes))), settings or ending.settings)
    blocks: list[bytes] = []
    items = parse_format("%{cause}x %>s %X %B %{tries}x")
    log = AccessLog(items, lambda lines, count: blocks.append(lines))
    bed.engine.log_access(log)
    return Scene(bed, origin, log, blocks)


def test_each_cause_is_caused() -> None:
    assert sorted([*ENDINGS, *LAST]) == sorted(letters_of_causes().values())


@pytest.mark.parametrize("letters", ENDINGS)
async def test_cause(letters: str) -> None:
    ending = ENDINGS[letters]
    scene = scene_of(ending)
    async with scene.bed:
        await ending.play(scene)
        found = await scene.line()
        body = found[3]
        if ending.body is None:
            assert body > 0
        elif ending.body >= 0:
            assert body == ending.body
        assert found == (letters, ending.status, ending.connection, body, ending.tries)


# --- bytes that a client does not take: exactly those that the kernel had taken for it are told -----------------------

CHUNK = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def client_of(scene: Scene) -> Http1:
    (client,) = (each for each in scene.bed.engine.streams() if isinstance(each, Http1))
    return client


async def held(scene: Scene, *fields: bytes) -> tuple[Wire, int]:
    """A client that does not read, and an answer, whole, of which the proxy keeps the last bytes for it; its body's length."""
    client = await scene.bed.client(receive_buffer=4096)
    await client.send(GET[:-2] + b"".join(fields) + b"\r\n")
    wire, _ = await scene.origin.accept_request()
    await wire.send(b"HTTP/1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n")
    length = 0
    while client_of(scene).held == 0:
        await wire.send(CHUNK)
        length += len(CHUNK)
        await scene.bed.pass_time(0.004)
    assert scene.lines() == []
    await wire.send(LAST_CHUNK)
    await scene.bed.until(lambda: scene.bed.inflight() == [0])
    return client, length + len(LAST_CHUNK)


async def test_line_of_a_whole_answer_is_written_when_its_last_byte_is_taken() -> None:
    scene = scene_of()
    async with scene.bed:
        client, length = await held(scene)
        assert client_of(scene).held > 0
        assert scene.lines() == []
        await client.read_until(b"\r\n" + LAST_CHUNK)
        assert await scene.line() == ("--", 200, "+", length, 1)


async def test_client_that_leaves_without_the_last_bytes() -> None:
    scene = scene_of()
    async with scene.bed:
        client, length = await held(scene)
        kept = client_of(scene).held
        client.reset()
        assert await scene.line() == ("CL", 200, "X", length - kept, 1)


async def test_client_that_does_not_take_the_last_bytes_in_time() -> None:
    scene = scene_of(settings=times(body_s=SOON, linger_s=SOON))
    async with scene.bed:
        _, length = await held(scene, b"Connection: close\r\n")
        (cause, status, connection, body, tries) = await scene.line()
        assert (cause, status, connection, tries) == ("cL", 200, "X", 1)
        assert 0 < body < length


async def test_client_that_has_not_the_last_bytes_when_the_proxy_stops() -> None:
    scene = scene_of()
    async with scene.bed:
        _, length = await held(scene)
        kept = client_of(scene).held
        scene.bed.engine.close_all()
        assert await scene.line() == ("KL", 200, "X", length - kept, 1)


def our_end(client: Wire) -> int:
    """A descriptor of the proxy's socket, which is in this process; whoever gets it closes it."""
    name = client.sock.getsockname()
    for number in os.listdir("/proc/self/fd"):
        try:
            sock = socket.socket(fileno=os.dup(int(number)))
        except OSError:  # gone already, or no socket
            continue
        with sock, contextlib.suppress(OSError):
            if sock.getpeername() == name:
                return os.dup(sock.fileno())
    raise AssertionError("the proxy has no such client")


def bytes_received(client: Wire) -> int:
    """What has come to the client's kernel: tcp_info's tcpi_bytes_received."""
    info = client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int(struct.unpack_from("=Q", info, 128)[0])


def unconfirmed(fd: int) -> int:
    """What the sending kernel has that the other has not confirmed (SIOCOUTQ)."""
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0" * 4))[0])


@pytest.mark.parametrize("splice", [True, False])
async def test_bytes_are_those_that_the_kernel_took(splice: bool) -> None:
    """Of a client that reads a part and leaves: what came to its kernel, and what ours still had for it, is what is told."""
    scene = scene_of(settings=Settings(upstream=UpstreamSettings(splice=splice)))
    async with scene.bed:
        client = await scene.bed.client(receive_buffer=65536)
        await client.send(GET)
        wire, _ = await scene.origin.accept_request()
        await wire.send(HEAD % MUCH)
        head = await client.read_head()
        read = 0
        sent = 0
        for _ in range(40):
            sent += wire.send_now(b"x" * min(262144, MUCH - sent))
            if client.has_received():
                read += len(await client.receive(100_001))
            await scene.bed.pass_time(0.001)
        before = -1
        fd = our_end(client)
        try:
            while before != (before := bytes_received(client) + unconfirmed(fd)):
                await scene.bed.pass_time(0.05)  # what is on its way arrives
            taken = before
        finally:
            os.close(fd)
        pipe = scene.bed.engine.pipe
        assert (pipe is not None and pipe.passed > 0) is splice
        client.reset()
        (cause, status, connection, body, _) = await scene.line()
        assert (cause, status, connection) == ("CD", 200, "X")
        assert body == taken - len(head)
        assert read < body < sent


async def test_tunnels_say_how_they_end() -> None:
    """In order: by either side; cut, silent for too long, or ended for another program's sake."""
    found = []
    for how in range(5):
        scene = scene_of(
            Ending(well, 200, attributes=(("ws_server_idle_timeout_s", 1),) if how == 3 else ())
        )
        async with scene.bed:
            client, wire = await scene.tunnel()
            if how == 0:
                wire.close()
                await client.is_ended()
                client.close()
            elif how == 1:
                client.reset()
            elif how == 2:
                wire.reset()
            elif how == 4:
                end_tunnels(scene.bed.engine, 0)
            found.append((await scene.line())[:3])
    assert found == [
        ("--", 101, "-"), ("CD", 101, "X"), ("SD", 101, "X"), ("sD", 101, "-"), ("KD", 101, "-"),
    ]  # fmt: skip
