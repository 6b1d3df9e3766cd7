"""
A worker takes another configuration while requests of the present one run: on real sockets, each ends by its own.

What is asked of the slow path, http_plugin.log, X-Wsproxy-Explain, the queue and the fallback here is asked by exchanges of
both configurations side by side.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.operators import take_down
from tests.support.wire import Origin, Wire
from wsproxy._fast.proxy.upstream import Upstream
from wsproxy._fast.tell.access_line import AccessLog
from wsproxy._fast.tell.witness import LogLevel
from wsproxy.config.access_format import parse_format
from wsproxy.config.model import (
    Config,
    Route,
    ServerCluster,
    Uri,
    UriGroup,
    VirtualHost,
    VirtualHostGroup,
)
from wsproxy.config.settings import FallbackSettings, QueueSettings, RetrySettings, Settings
from wsproxy.config.settings_told import ExplainSettings
from wsproxy.dataplane.plan import Plan
from wsproxy.dataplane.worker import take_plan
from wsproxy.logs.plugin_writer import LogPlan, PluginLog
from wsproxy.routing.sessions import session_names

pytestmark = pytest.mark.asan

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n%b\r\n"
MISS = b"GET /none HTTP/1.1\r\nHost: h\r\n%b\r\n"
ASK = b"X-Wsproxy-Explain: 1\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
TELLS = ExplainSettings(trusted=("127.0.0.1",))


def named(port: int, name: str, **more: object) -> Config:
    """All of it has this name: the groups, the cluster, its server."""
    return Config(
        virtual_host_groups=(
            VirtualHostGroup("another", (VirtualHost("nobody:1", "nobody", 1),)),
            VirtualHostGroup(f"{name}-hosts", (VirtualHost("*:*", "*", None),)),
        ),
        uri_groups=(UriGroup(f"{name}-uris", (Uri("/app/*", affinity_cookie=f"{name}-cookie"),)),),
        server_clusters=(ServerCluster(f"{name}-cluster", servers=(server(name, port, **more),)),),
        routes=(
            Route(f"{name}-cluster", f"{name}-uris", "another"),
            Route(f"{name}-cluster", f"{name}-uris", f"{name}-hosts"),
        ),
    )


async def waits_at(bed: Bed, origin: Origin, request: bytes) -> tuple[Wire, Wire]:
    """A client whose request is at its server, and the server's end."""
    client = await bed.client()
    await client.send(request)
    wire, _ = await origin.accept_request()
    return client, wire


async def test_failures_are_judged_by_the_settings_of_the_request() -> None:
    """Old: never sent twice, 500 for all. New: another server, and what it was."""
    origins = [Origin() for _ in range(3)]
    old, new, backup = origins
    once = Settings(retry=RetrySettings(strict_once=True, error_status="plugin"))
    async with Bed(config_of(server("old", old.port), server("b", backup.port)), once) as bed:
        first, old_wire = await waits_at(bed, old, GET % b"")
        bed.take(config_of(server("new", new.port), server("b", backup.port)), Settings())
        second, new_wire = await waits_at(bed, new, GET % b"")
        old_wire.reset()
        assert (await first.read_answer())[0] == 500
        assert not backup.has_waiting()
        new_wire.reset()
        wire, _ = await backup.accept_request()
        await wire.send(b"HTTP/nonsense\r\n\r\n")
        assert (await second.read_answer())[0] == 502


async def test_retry_ends_at_a_server_that_is_in_no_new_configuration(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its ledger and its cluster's name are those of the old one."""
    caplog.set_level(logging.INFO, "wsproxy.request")
    first, second, new = Origin(), Origin(), Origin()
    async with Bed(config_of(server("a", first.port), server("b", second.port))) as bed:
        client, wire = await waits_at(bed, first, GET % b"")
        bed.take(named(new.port, "new"))
        wire.reset()
        wire, head = await second.accept_request()
        assert b"$WSFO: true" in head
        await wire.send(OK)
        assert (await client.read_answer())[0] == 200
        assert "served after a failure in cluster cluster: a (" in caplog.text
        assert await wire.is_ended()  # nobody else goes there any more
        client, wire = await waits_at(bed, new, GET % b"")
        await wire.send(OK)
        assert (await client.read_answer())[0] == 200


async def test_decision_is_told_in_the_names_of_the_request() -> None:
    """Also one that is told only in the answer, after the other configuration was taken; and who may know is its own."""
    old, new = Origin(), Origin()
    async with Bed(named(old.port, "old"), Settings(explain=TELLS)) as bed:
        first, old_wire = await waits_at(bed, old, GET % ASK)
        bed.take(named(new.port, "new"))
        second, new_wire = await waits_at(bed, new, GET % ASK)
        bed.take(named(new.port, "third"), Settings())
        third, third_wire = await waits_at(bed, new, GET % ASK)
        for wire in (third_wire, new_wire, old_wire):
            await wire.send(OK)
        head = await first.read_head()
        assert b"X-Wsproxy-Route: old-hosts / old-uris -> old-cluster\r\n" in head
        assert b"X-Wsproxy-Server: old\r\n" in head
        head = await second.read_head()
        assert b"X-Wsproxy-Route: new-hosts / new-uris -> new-cluster\r\n" in head
        assert b"X-Wsproxy-Server: new\r\n" in head
        assert b"X-Wsproxy" not in await third.read_head()


class Log:
    """http_plugin.log of one worker."""

    def __init__(self, folder: Path, level: LogLevel) -> None:
        self._path = folder / "http_plugin.log"
        self._plan = LogPlan(str(self._path), int(level), "new")
        self.writer: PluginLog | None = None

    def make(self, plan: Plan) -> PluginLog:
        self.writer = PluginLog(self._plan, plan)
        return self.writer

    def look(self) -> None:
        assert self.writer is not None
        self.writer.sweep()

    def lines(self) -> dict[int, str]:
        """What was written, by number of the request."""
        assert self.writer is not None
        self.writer.close()
        found: dict[int, str] = {}
        for line in self._path.read_text().splitlines(keepends=True):
            number = int(line.partition("] ")[2].split()[1], 16)
            found[number] = found.get(number, "") + line
        return found


SESSIONS = b"Cookie: old-cookie=0000OLDSECRET:x; new-cookie=0000NEWSECRET:x\r\n"


async def serve_both(bed: Bed, old: Origin, new: Origin) -> None:
    """A request that begins by the old configuration, one by the new one; then both are answered."""
    first = await waits_at(bed, old, GET % SESSIONS)
    bed.take(named(new.port, "new"))
    second = await waits_at(bed, new, GET % SESSIONS)
    for client, wire in (first, second):
        await wire.send(OK)
        assert (await client.read_answer())[0] == 200


async def test_plugin_log_has_the_names_of_the_request(tmp_path: Path) -> None:
    """At Trace: groups, score, cluster, cookie, server, in the lines of each request its own."""
    old, new = Origin(), Origin()
    log = Log(tmp_path, LogLevel.TRACE)
    async with Bed(named(old.port, "old"), make_witness=log.make) as bed:
        await serve_both(bed, old, new)
    for number, name in enumerate(("old", "new"), 1):
        lines = log.lines()[number]
        assert f"Found a match '*:*' to 'h:80' in VhostGroup: {name}-hosts with score" in lines
        assert f"Found a match '/app/*' to '/app/x' in UriGroup: {name}-uris with score" in lines
        assert f"Setting the server group: {name}-cluster; highScore: 6; highExactMatch: 5" in lines
        assert f"Checking the cookie affinity: {name}-cookie" in lines
        assert f"Server {name} picked, weight" in lines
        assert f"Server {name} : pendingRequests 0" in lines
        assert "Ending the request" in lines


async def test_logs_mask_what_the_configuration_of_the_request_calls_a_session(
    tmp_path: Path,
) -> None:
    """http_plugin.log and access log: clone ids are told of its own cookie, nothing of what may be any secret."""
    old, new = Origin(), Origin()
    log = Log(tmp_path, LogLevel.DEBUG)
    lines: list[bytes] = []
    parts = parse_format("%{old-cookie}C|%{new-cookie}C|%U")
    config = named(old.port, "old")
    access = AccessLog(parts, lambda block, _: lines.append(block), session_names(config))
    async with Bed(config, make_witness=log.make) as bed:
        bed.engine.log_access(access)
        await serve_both(bed, old, new)
        access.flush()
    assert "   Cookie: old-cookie=0000***:x; new-cookie=***\n" in log.lines()[1]
    assert "   Cookie: old-cookie=***; new-cookie=0000***:x\n" in log.lines()[2]
    assert b"".join(lines) == b"0000***:x|***|/app/x\n***|0000***:x|/app/x\n"


async def test_level_that_is_raised_shows_who_is_passed_over_by_old_requests(
    tmp_path: Path,
) -> None:
    """As SIGUSR2 does it, after another configuration was taken."""
    first, last, new = Origin(), Origin(), Origin()
    servers = [server("a", first.port), server("full", 1), server("c", last.port)]
    log = Log(tmp_path, LogLevel.ERROR)
    async with Bed(config_of(*servers), make_witness=log.make) as bed:
        old = bed.plan.clusters[0]
        assert old is not None
        client, wire = await waits_at(bed, first, GET % b"")
        bed.take(named(new.port, "new"))
        take_down(old, 1)
        bed.state.log_level = LogLevel.TRACE
        log.look()
        wire.reset()
        wire, _ = await last.accept_request()
        await wire.send(OK)
        assert (await client.read_answer())[0] == 200
        take_down(old, 1, on=False)
    lines = log.lines()[1]
    assert "Checking status of full, ignoreWeights 0, markedDown 0, retryNow 0" in lines
    assert "wlbAllows 0 reachedMaxConnectionsLimit 0" in lines
    assert "Server c picked, weight" in lines


@pytest.mark.parametrize("begins_with", ["directory", "404"])
async def test_fallback_is_that_of_the_request(tmp_path: Path, begins_with: str) -> None:
    """A file that is being sent to a slow client, beside a 404; and the other way round."""
    size = 8 << 20
    (tmp_path / "none").write_bytes(b"x" * size)
    files = Settings(fallback=FallbackSettings(mode="directory", directory=str(tmp_path)))
    nothing = Settings()
    settings = [files, nothing] if begins_with == "directory" else [nothing, files]
    async with Bed(config_of(server("s", 1)), settings[0]) as bed:
        clients = []
        for now in settings:
            bed.take(config_of(server("s", 1)), now)
            clients.append(await bed.client(receive_buffer=8192))
            await clients[-1].send(MISS % b"")
            head = await clients[-1].read_head()
            assert head.startswith(b"HTTP/1.1 200" if now is files else b"HTTP/1.1 404")
        # The file goes on, by its own fallback, whenever its client reads.
        assert await clients[settings.index(files)].read_exactly(size) == b"x" * size


async def test_fallback_to_another_server_ends_there() -> None:
    old, new = Origin(), Origin()

    def to(origin: Origin) -> Settings:
        upstream = f"127.0.0.1:{origin.port}"
        return Settings(
            fallback=FallbackSettings(mode="upstream", upstream=upstream), explain=TELLS
        )

    async with Bed(config_of(server("s", 1)), to(old)) as bed:
        first, old_wire = await waits_at(bed, old, MISS % ASK)
        bed.take(config_of(server("s", 1)), to(new))
        second, new_wire = await waits_at(bed, new, MISS % ASK)
        for client, wire, origin in ((first, old_wire, old), (second, new_wire, new)):
            await wire.send(OK)
            assert b"X-Wsproxy-Server: 127.0.0.1:%d\r\n" % origin.port in await client.read_head()


async def test_missing_folder_leaves_the_worker_as_it_is(tmp_path: Path) -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        gone = FallbackSettings(mode="directory", directory=str(tmp_path / "gone"))
        before = bed.engine.view
        with pytest.raises(FileNotFoundError):
            bed.take(config_of(server("s", 1)), Settings(fallback=gone))
        assert bed.engine.view is before
        client, wire = await waits_at(bed, origin, GET % b"")
        await wire.send(OK)
        assert (await client.read_answer())[0] == 200


async def test_reason_why_no_route_matches_is_that_of_the_request() -> None:
    async with Bed(named(1, "old"), Settings(explain=TELLS)) as bed:
        client = await bed.client()
        for name in ("old", "new"):
            if name == "new":
                bed.take(named(1, "new"))
            await client.send(MISS % ASK)
            head = await client.read_head()
            assert (
                b"VirtualHostGroup %b-hosts takes h:80, no Uri takes /none" % name.encode() in head
            )
            await client.read_exactly(int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0]))


# --- the queue ---------------------------------------------------------------------------------------------------------


def queued(size: int, wait_s: float = 600) -> Settings:
    return Settings(queue=QueueSettings(size=size, wait_s=wait_s))


def waiting(bed: Bed) -> int:
    cluster = bed.plan.clusters[0]
    assert cluster is not None
    return cluster.queue_length


async def test_one_queue_for_both_in_the_order_in_which_they_came() -> None:
    """The same server in another order, behind one that is new: places in the one are not those of the other."""
    origin, other = Origin(), Origin()
    shared = server("s", origin.port, max_connections=1)
    full = server("a", other.port, max_connections=1)
    async with Bed(config_of(shared), queued(4)) as bed:
        holder, wire = await waits_at(bed, origin, GET % b"")
        first = await bed.client()
        await first.send(GET % b"")
        await bed.until(lambda: waiting(bed) == 1)
        bed.take(config_of(full, shared), queued(4))
        new_holder, new_wire = await waits_at(bed, other, GET % b"")
        second = await bed.client()
        await second.send(GET % b"")
        await bed.until(lambda: waiting(bed) == 2)
        third = await bed.client()
        await third.send(GET % b"")
        await bed.until(lambda: waiting(bed) == 3)
        await new_wire.send(
            OK
        )  # of the new server, which who waits by the old configuration does not have
        await new_holder.read_answer()
        assert b"GET /app/x" in await new_wire.read_head()
        await bed.until(lambda: waiting(bed) == 2)
        await wire.send(OK)
        await holder.read_answer()
        assert not second.has_received()
        # One connection, as the pool of a server that stayed as it was lives on.
        assert b"GET /app/x" in await wire.read_head()
        await wire.send(OK)
        assert (await first.read_answer())[0] == 200
        assert b"GET /app/x" in await wire.read_head()
        await wire.send(OK)
        assert (await third.read_answer())[0] == 200
        await new_wire.send(OK)
        assert (await second.read_answer())[0] == 200


async def test_place_of_a_server_that_left_goes_to_who_waits_for_it() -> None:
    left, stays = Origin(), Origin()
    async with Bed(config_of(server("left", left.port, max_connections=1)), queued(4)) as bed:
        holder, wire = await waits_at(bed, left, GET % b"")
        first = await bed.client()
        await first.send(GET % b"")
        await bed.until(lambda: waiting(bed) == 1)
        bed.take(config_of(server("stays", stays.port, max_connections=1)))
        new_holder, new_wire = await waits_at(bed, stays, GET % b"")
        second = await bed.client()
        await second.send(GET % b"")
        await bed.until(lambda: waiting(bed) == 2)
        await wire.send(OK)
        await holder.read_answer()
        (
            wire,
            _,
        ) = await left.accept_request()  # a new connection: nothing is kept for a server that left
        await wire.send(OK)
        assert (await first.read_answer())[0] == 200
        await new_wire.send(OK)
        await new_holder.read_answer()
        assert b"GET /app/x" in await new_wire.read_head()
        await new_wire.send(OK)
        assert (await second.read_answer())[0] == 200


async def test_wait_is_as_long_as_its_own_configuration_says() -> None:
    """And who waits for a server that left is refused in its time."""
    left, stays = Origin(), Origin()
    async with Bed(
        config_of(server("left", left.port, max_connections=1)), queued(4, wait_s=0.05)
    ) as bed:
        bed.sweeper.cancel()
        holder, wire = await waits_at(bed, left, GET % b"")
        first = await bed.client()
        await first.send(GET % b"")
        await bed.until(lambda: waiting(bed) == 1)
        bed.take(config_of(server("stays", stays.port, max_connections=1)), queued(4))
        new_holder, new_wire = await waits_at(bed, stays, GET % b"")
        second = await bed.client()
        await second.send(GET % b"")
        await bed.until(lambda: waiting(bed) == 2)
        await bed.pass_time(0.06)
        bed.slow.room.sweep()
        assert (await first.read_answer())[0] == 503
        assert waiting(bed) == 1
        for client, end in ((holder, wire), (new_holder, new_wire)):
            await end.send(OK)
            assert (await client.read_answer())[0] == 200
        await new_wire.read_head()
        await new_wire.send(OK)
        assert (await second.read_answer())[0] == 200


async def test_place_that_a_configuration_without_a_queue_frees_goes_to_who_waits() -> None:
    """Nobody waits by the new one; who does by the old one is woken by its requests all the same, and the other way round."""
    origin = Origin()
    config = config_of(server("s", origin.port, max_connections=1))
    async with Bed(config, queued(4)) as bed:
        bed.sweeper.cancel()
        holder, wire = await waits_at(bed, origin, GET % b"")
        old = await bed.client()
        await old.send(GET % b"")
        await bed.until(lambda: waiting(bed) == 1)
        bed.take(config, Settings())
        refused = await bed.client()
        await refused.send(GET % b"")
        assert (await refused.read_answer())[0] == 503
        await wire.send(OK)
        await holder.read_answer()
        assert b"GET /app/x" in await wire.read_head()  # of `old`
        bed.take(config, queued(1))
        new = await bed.client()
        await new.send(GET % b"")
        await bed.until(lambda: waiting(bed) == 1)
        bed.take(config, Settings())
        await wire.send(OK)
        await old.read_answer()
        assert b"GET /app/x" in await wire.read_head()  # of `new`
        await wire.send(OK)
        assert (await new.read_answer())[0] == 200


# --- warm connections --------------------------------------------------------------------------------------------------


async def test_warm_connections_live_on_where_nothing_has_changed() -> None:
    """That of the other server is closed at once."""
    stays, goes = Origin(), Origin()
    async with Bed(config_of(server("s", stays.port), server("b", goes.port))) as bed:
        wires = []
        for down, origin in ((1, stays), (0, goes)):
            cluster = bed.plan.clusters[0]
            assert cluster is not None
            take_down(cluster, down)
            client, wire = await waits_at(bed, origin, GET % b"")
            await wire.send(OK)
            assert (await client.read_answer())[0] == 200
            take_down(cluster, down, on=False)
            wires.append(wire)
        assert bed.streams(Upstream) == 2
        bed.take(config_of(server("s", stays.port), server("b", goes.port, wait_for_continue=True)))
        assert await wires[1].is_ended()
        client = await bed.client()
        await client.send(GET % b"")
        await wires[0].read_head()
        await wires[0].send(OK)
        assert (await client.read_answer())[0] == 200
        # As before, with the one that was: nothing of the configuration in between is left.
        bed.take(config_of(server("s", stays.port), server("b", goes.port)))
        await client.send(GET % b"")
        await wires[0].read_head()
        await wires[0].send(OK)
        assert (await client.read_answer())[0] == 200


async def test_connection_in_use_is_closed_when_its_old_request_is_over() -> None:
    old, new = Origin(), Origin()
    async with Bed(config_of(server("s", old.port))) as bed:
        client, wire = await waits_at(bed, old, GET % b"")
        bed.take(config_of(server("s", new.port)))
        await wire.send(OK)
        assert (await client.read_answer())[0] == 200
        assert await wire.is_ended()


async def test_configuration_that_comes_back_keeps_connections_again() -> None:
    origin, other = Origin(), Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        first = bed.plan
        bed.take(config_of(server("s", other.port)))
        take_plan(bed.engine, first)
        client, wire = await waits_at(bed, origin, GET % b"")
        for _ in range(2):
            await wire.send(OK)
            assert (await client.read_answer())[0] == 200
            await client.send(GET % b"")
            await wire.read_head()
        await wire.send(OK)
        assert (await client.read_answer())[0] == 200
