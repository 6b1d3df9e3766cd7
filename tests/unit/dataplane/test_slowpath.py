"""What the log says, and what it must never say."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.bed import Bed, config_of, server
from tests.support.wire import Origin
from wsproxy._fast.state.changes import ChangeKind, visible_path
from wsproxy._fast.state.segment import now_ms

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize(
    ("target", "visible"),
    [
        (b"/a/b", "/a/b"),
        (b"/a?password=x", "/a"),
        (b"/a;jsessionid=0000abc:c1", "/a"),
        (b"/a;jsessionid=x/b?c", "/a"),
        (b"/a?b;c", "/a"),
        (b"*", "*"),
        (b"/\xff\x80", "/\\xff\\x80"),
    ],
)
def test_visible_path(target: bytes, visible: str) -> None:
    assert visible_path(target) == visible


@given(
    path=st.text("/ab%.", max_size=20), separator=st.sampled_from("?;"), rest=st.text(max_size=20)
)
def test_what_follows_the_path_is_never_visible(path: str, separator: str, rest: str) -> None:
    assert visible_path((path + separator + rest).encode()) == path


async def test_request_without_route_is_logged_without_its_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Bed(config_of(server("s", 1))) as bed:
        client = await bed.client()
        with caplog.at_level(logging.DEBUG):
            await client.send(b"GET /no;jsessionid=0000SECRET?q=SECRET HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await client.read_answer())[0] == 404
        assert "no route for /no" in caplog.text
        assert "SECRET" not in caplog.text


async def test_server_that_cannot_be_reached_is_marked_down_with_its_evidence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone, other = Origin(), Origin()
    gone.close()
    async with Bed(config_of(server("a", gone.port), server("b", other.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await other.accept_request()
        await wire.send(b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 0\r\n\r\n")
        await client.read_answer()
        assert (
            f"Marking a down: cluster cluster, 127.0.0.1:{gone.port}: could not connect"
            in caplog.text
        )
        assert bed.server_state(0)["down_errno"] == 111
        (change,) = bed.state.changes()
        assert change.kind is ChangeKind.MARKED_DOWN
        assert (change.cluster, change.server, change.worker, change.error) == (
            "cluster",
            "a",
            0,
            111,
        )
        assert change.request == "GET /app/x"
        assert change.detail.startswith("could not connect: ")
        cluster = bed.plan.clusters[0]
        assert cluster is not None
        assert cluster.why_down(0) == change


async def test_single_server_that_cannot_be_reached_is_503() -> None:
    gone = Origin()
    gone.close()
    async with Bed(config_of(server("a", gone.port))) as bed:
        client = await bed.client()
        for _ in range(2):  # marked down or not: the only one is tried again
            await client.send(GET)
            assert (await client.read_answer())[0] == 503
        assert bed.server_state(0)["failed"] == 2
        assert bed.inflight() == [0]


async def test_request_has_one_last_chance() -> None:
    """All three are marked down: one is tried, not all three, and the next request tries the next."""
    origins = [Origin() for _ in range(3)]
    servers = [server(f"s{at}", origin.port) for at, origin in enumerate(origins)]
    async with Bed(config_of(*servers)) as bed:
        cluster = bed.plan.clusters[0]
        assert cluster is not None
        for at, origin in enumerate(origins):
            cluster.set_down(at, 0, now_ms() - 10 + at)
            if at < 2:
                origin.close()
        client = await bed.client()
        for failed in ([1, 0, 0], [1, 1, 0]):
            await client.send(GET)
            assert (await client.read_answer())[0] == 503
            assert [bed.server_state(at)["failed"] for at in range(3)] == failed
        await client.send(GET)
        wire, _ = await origins[2].accept_request()
        await wire.send(b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 0\r\n\r\n")
        assert (await client.read_answer())[0] == 200
        assert bed.server_state(2)["down_until_ms"] == 0
        up = bed.state.changes()[-1]
        assert (up.kind, up.server, up.request) == (ChangeKind.UP, "s2", "GET /app/x")


async def test_every_server_is_tried_once() -> None:
    ports = []
    for _ in range(4):
        gone = Origin()
        ports.append(gone.port)
        gone.close()
    servers = [server(f"s{at}", port) for at, port in enumerate(ports)]
    async with Bed(config_of(*servers)) as bed:
        client = await bed.client()
        await client.send(GET)
        assert (await client.read_answer())[0] == 503
        assert [bed.server_state(at)["failed"] for at in range(4)] == [1, 1, 1, 1]
        assert bed.inflight() == [0, 0, 0, 0]
