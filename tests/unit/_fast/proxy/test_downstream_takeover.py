"""What is counted of sessions that had to leave their server, by reason; and partition tables as they are kept."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.operators import take_down
from tests.support.wire import Origin, Wire
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.state.segment import now_ms
from wsproxy.config.settings import AffinitySettings, QueueSettings, RetrySettings, Settings

OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 0\r\n\r\n"
SESSION = "0000aaaaaaaaaaaaaaaaaaaaaaa"
NOTHING = dict.fromkeys(
    ("requests", "remembered", "moved", "unknown_clone", "down", "out", "full", "tried"), 0
)


class Trio(Bed):
    """A primary and two backups with the clone ids c0, c1, c2, and one client."""

    def __init__(self, settings: Settings | None = None, **first: object) -> None:
        self.origins = [Origin() for _ in range(3)]
        first_server = server("s0", self.origins[0].port, clone_id="c0", **first)
        others = [
            server(f"s{at}", self.origins[at].port, clone_id=f"c{at}", server_io_timeout_s=0)
            for at in (1, 2)
        ]
        super().__init__(config_of(first_server, *others), settings)
        built = self.plan.clusters[0]
        assert built is not None
        self.cluster: Cluster = built

    async def ask(self, client: Wire, cookie: str, at: int) -> None:
        """A request with this cookie that server ``at`` gets and answers."""
        await client.send(
            f"GET /app/x HTTP/1.1\r\nHost: h\r\nCookie: JSESSIONID={cookie}\r\n\r\n".encode()
        )
        wire, _ = await self.origins[at].accept_request()
        await wire.send(OK[:-2] + b"Connection: close\r\n\r\n")
        assert (await client.read_answer())[0] == 200

    def counts(self) -> dict[str, int]:
        """Those that are not 0."""
        counted = self.cluster.affinity_counts()
        assert counted.keys() == NOTHING.keys()
        return {name: number for name, number in counted.items() if number}


async def test_requests_without_an_owner_are_not_counted() -> None:
    async with Trio() as bed:
        client = await bed.client()
        for cookie in ("", SESSION, f"{SESSION}:", f"{SESSION}:-1", f"{SESSION}:-1:-1"):
            await bed.ask(client, cookie, 0)
        assert bed.counts() == {}


async def test_request_at_its_owner_is_one_and_no_more() -> None:
    async with Trio() as bed:
        client = await bed.client()
        for cookie in (f"{SESSION}:c0", f"{SESSION}:gone:c0", f"{SESSION}:-1:c0"):
            await bed.ask(client, cookie, 0)
        assert bed.counts() == {"requests": 3}


@pytest.mark.parametrize("reason", ["down", "out", "full"])
async def test_broken_affinity_is_counted_by_reason(reason: str) -> None:
    """Once for the request that had to leave; those that follow are remembered; the list's next server is no break."""
    async with Trio(max_connections=1) as bed:
        client = await bed.client()
        if reason == "down":
            bed.cluster.set_down(0, 0, now_ms())
        elif reason == "out":
            take_down(bed.cluster, 0)
        else:
            assert bed.cluster.take_server(0, 5, now_ms()) == 0
        await bed.ask(client, f"{SESSION}:gone:c0", 1)
        assert bed.counts() == {"requests": 1, "moved": 1, reason: 1}
        for _ in range(2):
            await bed.ask(client, f"{SESSION}:c0", 1)
        assert bed.counts() == {"requests": 3, "remembered": 2, "moved": 1, reason: 1}
        await bed.ask(client, f"{SESSION[::-1]}:c0:c2", 2)
        assert bed.counts() == {"requests": 4, "remembered": 2, "moved": 1, reason: 1}
        if reason == "full":
            bed.cluster.release_server(0, 5)


@pytest.mark.parametrize("clone", ["gone", "-G02E6", "3CH8NFEO3I"])
async def test_unknown_clone_ids_leave_nothing_behind(clone: str) -> None:
    """Counted, and not remembered: from outside nobody may fill the memory, or move a session with one stray request."""
    async with Trio() as bed:
        client = await bed.client()
        await bed.ask(client, f"{SESSION}:{clone}", 0)
        assert bed.counts() == {"requests": 1, "unknown_clone": 1}
        await bed.ask(client, f"{SESSION}:c2", 2)
        # Nor do they find what is remembered of their session: they name no server that it would have to leave.
        bed.cluster.set_down(2, 0, now_ms())
        take_down(bed.cluster, 0)
        await bed.ask(client, f"{SESSION}:c2", 1)
        take_down(bed.cluster, 0, on=False)
        await bed.ask(client, f"{SESSION}:{clone}", 0)
        await bed.ask(client, f"{SESSION}:c2", 1)
        assert bed.counts() == {
            "requests": 5, "unknown_clone": 2, "moved": 1, "remembered": 1, "down": 1,
        }  # fmt: skip


@pytest.mark.parametrize("way_back", ["up", "taken back", "room"])
async def test_server_that_may_have_the_session_again_beats_the_memory(way_back: str) -> None:
    """Its cookie names it, so the next request is there, whatever is remembered."""
    async with Trio(max_connections=1) as bed:
        client = await bed.client()
        if way_back == "up":
            bed.cluster.set_down(0, 0, now_ms())
        elif way_back == "taken back":
            take_down(bed.cluster, 0)
        else:
            assert bed.cluster.take_server(0, 5, now_ms()) == 0
        await bed.ask(client, f"{SESSION}:c0", 1)
        await bed.ask(client, f"{SESSION}:c0", 1)
        if way_back == "up":
            bed.cluster.set_up(0)
        elif way_back == "taken back":
            take_down(bed.cluster, 0, on=False)
        else:
            bed.cluster.release_server(0, 5)
        await bed.ask(client, f"{SESSION}:c0", 0)
        assert bed.counts()["remembered"] == 1


async def test_session_that_may_wait_for_its_own_server_need_not_leave_it() -> None:
    """With a queue: its server is full, and the memory of the time when it was down is not asked."""
    async with Trio(Settings(queue=QueueSettings(size=5, wait_s=30)), max_connections=1) as bed:
        client = await bed.client()
        bed.cluster.set_down(0, 0, now_ms())
        await bed.ask(client, f"{SESSION}:c0", 1)
        bed.cluster.set_up(0)
        assert bed.cluster.take_server(0, 5, now_ms()) == 0
        async with asyncio.TaskGroup() as group:
            group.create_task(bed.ask(client, f"{SESSION}:c0", 0))
            await bed.until(lambda: bed.cluster.queue_length == 1)
            bed.cluster.release_server(0, 5)
        assert bed.counts() == {"requests": 2, "moved": 1, "down": 1}


async def test_one_request_of_a_session_that_moved_probes_its_server() -> None:
    """RetryInterval is over: one goes there, the others meanwhile to where the session is."""
    async with Trio() as bed:
        client, other = await bed.client(), await bed.client()
        bed.cluster.set_down(0, 0, now_ms())
        await bed.ask(client, f"{SESSION}:c0", 1)
        bed.cluster.set_down(0, 0, now_ms() - 3_600_000)
        await client.send(
            f"GET /app/x HTTP/1.1\r\nHost: h\r\nCookie: JSESSIONID={SESSION}:c0\r\n\r\n".encode()
        )
        wire, _ = await bed.origins[0].accept_request()
        await bed.ask(other, f"{SESSION}:c0", 1)
        await wire.send(OK[:-2] + b"Connection: close\r\n\r\n")
        assert (await client.read_answer())[0] == 200
        await bed.ask(other, f"{SESSION}:c0", 0)
        assert bed.counts() == {"requests": 4, "remembered": 1, "moved": 1, "down": 1}


@pytest.mark.parametrize("marks_down", [False, True])
async def test_session_sent_away_by_an_answer(marks_down: bool) -> None:
    """503: this request goes elsewhere, its session's next one to its own server. Not where the answer marks it down."""
    settings = Settings(retry=RetrySettings(server_errors="mark_down"))
    status = b"500 Oh" if marks_down else b"503 Busy"
    async with Trio(settings) as bed:
        client = await bed.client()
        await client.send(
            f"GET /app/x HTTP/1.1\r\nHost: h\r\nCookie: JSESSIONID={SESSION}:c0\r\n\r\n".encode()
        )
        wire, _ = await bed.origins[0].accept_request()
        await wire.send(b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % status)
        wire, _ = await bed.origins[1].accept_request()
        await wire.send(OK[:-2] + b"Connection: close\r\n\r\n")
        assert (await client.read_answer())[0] == 200
        take_down(bed.cluster, 1)
        await bed.ask(client, f"{SESSION}:c0", 2 if marks_down else 0)
        assert bed.counts()["requests"] == 2
        assert bed.counts().get("moved", 0) == (2 if marks_down else 0)


async def test_failure_within_the_request_is_counted_as_tried() -> None:
    async with Trio() as bed:
        bed.origins[0].close()
        client = await bed.client()
        await bed.ask(client, f"{SESSION}:c0", 1)
        assert bed.counts() == {"requests": 1, "moved": 1, "tried": 1}
        await bed.ask(client, f"{SESSION}:c0", 1)
        assert bed.counts() == {"requests": 2, "remembered": 1, "moved": 1, "tried": 1}
        # The new one fails too: back to the normal way, which finds the owner down and takes the last.
        bed.origins[1].close()
        await bed.ask(client, f"{SESSION}:c0", 2)
        assert bed.counts() == {"requests": 3, "remembered": 2, "moved": 2, "tried": 2}


async def test_new_server_that_is_taken_down_is_left_like_any_other() -> None:
    async with Trio() as bed:
        client = await bed.client()
        take_down(bed.cluster, 0)
        await bed.ask(client, f"{SESSION}:c0", 1)
        take_down(bed.cluster, 1)
        await bed.ask(client, f"{SESSION}:c0", 2)
        take_down(bed.cluster, 1, on=False)
        await bed.ask(client, f"{SESSION}:c0", 2)
        assert bed.counts() == {"requests": 3, "remembered": 1, "moved": 2, "out": 2}


async def test_session_stays_as_long_as_its_owner_is_away() -> None:
    """Also where the cookie never names the new server: use keeps the memory, so it is not chosen anew each minute."""
    takeover_s = 3.0
    async with Trio(Settings(affinity=AffinitySettings(takeover_s=takeover_s))) as bed:
        client = await bed.client()
        take_down(bed.cluster, 0)
        until = now_ms() + takeover_s * 1500
        asked = 0
        while now_ms() < until:
            await bed.ask(client, f"{SESSION}:c0", 1)
            asked += 1
            await bed.pass_time(takeover_s / 10)
        assert bed.counts() == {
            "requests": asked,
            "remembered": asked - 1,
            "moved": 1,
            "out": 1,
        }
        take_down(bed.cluster, 0, on=False)
        await bed.ask(client, f"{SESSION}:c0", 0)


async def test_request_that_no_server_takes_is_not_counted() -> None:
    async with Trio() as bed:
        client = await bed.client()
        for at in range(3):
            take_down(bed.cluster, at)
        await client.send(b"GET /app/x;jsessionid=0000abc:c0 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.read_answer())[0] == 503
        assert bed.counts() == {}


async def partitions(bed: Trio, client: Wire, *lines: bytes) -> None:
    """An answer of the first server with these private fields, which the client must not see."""
    await client.send(b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n")
    wire, _ = await bed.origins[0].accept_request()
    await wire.send(
        b"".join(
            [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n", *lines, b"\r\n"]
        )
    )
    head = await client.read_head()
    assert b"WSPT" not in head.upper()
    assert b"HAPRT" not in head.upper()


async def test_partition_ids_are_no_clone_ids_that_nobody_has(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where servers send a partition table the file is not stale."""
    caplog.set_level(logging.INFO)
    setting = b"Set-Cookie: JSESSIONID=0001aaaaaaaaaaaaaaaaaaaaaaa:-G02E6\r\n"
    for version in (b"_WS_HAPRT_WLMVERSION: 7\r\n", b""):
        async with Trio() as bed:
            client = await bed.client()
            await partitions(bed, client, version, setting)
        assert ("which no Server" in caplog.text) is not bool(version)


async def test_partition_table_is_kept_raw_for_all_workers() -> None:
    """The last version; an answer without a table or with the version that is known changes nothing."""
    async with Trio() as bed:
        client = await bed.client()
        assert bed.cluster.partition_table() == (b"", b"")
        await partitions(bed, client, b"_WS_HAPRT_WLMVERSION: 7\r\n")
        assert bed.cluster.partition_table() == (b"7", b"")
        await partitions(bed, client, b"$wspt: a\r\n", b"_WS_HAPRT_WLMVERSION: 7\r\n$WSPT: b\r\n")
        assert bed.cluster.partition_table() == (b"7", b"a\nb")
        await partitions(bed, client, b"_WS_HAPRT_WLMVERSION: 7\r\n$WSPT: other\r\n")
        assert bed.cluster.partition_table() == (b"7", b"a\nb")
        large = b"x" * 20_000
        await partitions(
            bed, client, b"_WS_HAPRT_WLMVERSION: %b\r\n$WSPT: %b\r\n" % (b"9" * 40, large)
        )
        assert bed.cluster.partition_table() == (b"9" * 32, large[:16_384])
