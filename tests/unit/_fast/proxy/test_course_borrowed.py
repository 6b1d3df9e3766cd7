"""Nothing that is told of one request comes from the bytes of another: what borrows from them is empty when they are gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.fake_transport import FakeTransport
from tests.support.listening import Listening, listen
from tests.support.stage import Stage
from tests.support.wire import Origin
from wsproxy._fast.proxy.http1 import Http1
from wsproxy._fast.tell.witness import LogLevel
from wsproxy.config.settings import AffinitySettings, QueueSettings, RetrySettings, Settings
from wsproxy.config.settings_told import ExplainSettings

pytestmark = pytest.mark.asan

CLONES = b":".join(b"%02d" % at for at in range(19))
SESSION = b"Cookie: JSESSIONID=0000abcdefghijklmnopqrstu:c0:" + CLONES + b"\r\n"
GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n%b\r\n"
MISS = b"GET /none HTTP/1.1\r\nHost: h\r\n%b\r\n"
ASK = b"X-Wsproxy-Explain: 1\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Busy\r\nDate: now\r\nContent-Length: 0\r\n\r\n"
LARGE = b"P: " + b"p" * 60_000 + b"\r\n"
PEER = "192.0.2.7"  # of every client on a stage


def make(*, backup: bool = False, **settings: object) -> Stage:
    return Stage(
        backup=backup,
        settings=Settings(explain=ExplainSettings(trusted=(PEER,)), **settings),  # type: ignore[arg-type]
        attributes={"clone_id": "c0"},
    )


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = make()
    yield made
    made.end()


def serve(stage: Stage, client: FakeTransport, message: bytes) -> FakeTransport:
    """The server's connection, which is warm now."""
    client.deliver(message)
    upstream = stage.server()
    upstream.deliver(OK)
    client.drain()
    return upstream


def test_request_without_a_route_is_told_of_without_the_clone_ids_of_another(
    stage: Stage,
) -> None:
    witness = listen(stage)
    serve(stage, stage.client(), GET % SESSION)
    assert witness.told[-1].asked.clone_ids[0] == b"c0"
    stage.client().deliver(MISS % b"")
    assert witness.told[-1].asked.clone_ids == []
    assert witness.told[-1].asked.values == []


def test_clone_ids_are_forgotten_with_the_requests_that_were_kept(stage: Stage) -> None:
    """Requests sent ahead lie in memory that is freed with the last of them."""
    witness = listen(stage)
    client = stage.client()
    client.deliver(GET % b"" + (GET % (SESSION + LARGE)) * 3)
    upstream = stage.server()
    for _ in range(4):
        upstream.drain()
        upstream.deliver(OK)
    client.drain()
    assert len(witness.told) == 4
    stage.client().deliver(MISS % b"")
    assert witness.told[-1].asked.clone_ids == []


def test_decision_that_is_asked_for_has_no_clone_ids_of_another_request(stage: Stage) -> None:
    """Route first, then the server: in between there are none."""
    upstream = serve(stage, stage.client(), GET % SESSION)
    client = stage.client()
    client.deliver(GET % ASK)
    assert isinstance(client.protocol, Http1)
    decision = client.protocol.exchange.decision
    assert decision.asked.clone_ids == []
    assert decision.clone_ids == []
    upstream.deliver(OK)
    assert b"\r\nX-Wsproxy-Affinity: none\r\n" in client.drain()


def test_clone_ids_of_a_request_that_goes_elsewhere_are_forgotten_after_the_choice() -> None:
    """They are read again from the kept request, which is then written anew."""
    stage = make(backup=True, retry=RetrySettings())
    witness = listen(stage)
    client = stage.client()
    client.deliver(GET % SESSION)
    stage.server().deliver(BUSY)
    assert witness.later[-1].server == "b"
    stage.client().deliver(MISS % b"")
    assert witness.told[-1].asked.clone_ids == []
    stage.server().deliver(OK)
    assert client.drain() == OK
    stage.end()


def test_clone_ids_of_a_session_that_was_kept_beforehand_are_forgotten_with_it() -> None:
    """Where servers must not see the clone list it lies apart from the request, and ends with the exchange."""
    stage = make(backup=True, affinity=AffinitySettings(strip_clone_ids=("cluster",)))
    witness = listen(stage)
    client = stage.client()
    client.deliver(GET % SESSION)
    stage.server().lose()
    stage.server().deliver(OK)
    client.drain()
    stage.client().deliver(MISS % b"")
    assert witness.told[-1].asked.clone_ids == []
    stage.end()


def test_head_that_is_looked_at_again_for_a_body_that_waits_is_let_go() -> None:
    """Only a build that checks can tell: the next request would find it."""
    stage = Stage(attributes={"wait_for_continue": True})
    client = stage.client()
    client.deliver(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab")
    upstream = stage.server()
    assert b"Expect: 100-continue\r\n" in upstream.drain()
    stage.client().deliver(MISS % b"")
    upstream.deliver(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert client.drain() == OK
    stage.end()


async def test_clone_ids_of_a_request_that_waited_are_forgotten_when_it_goes_on() -> None:
    """Its turn comes with a bell, not with bytes; as before, the next request would find them."""
    origin = Origin()
    settings = Settings(queue=QueueSettings(size=2, wait_s=600))
    config = config_of(server("s", origin.port, max_connections=1, clone_id="c0"))
    async with Bed(config, settings) as bed:
        holder, waiter = await bed.client(), await bed.client()
        await holder.send(GET % b"")
        wire, _ = await origin.accept_request()
        await waiter.send(GET % SESSION)
        await bed.until(lambda: bed.engine.requests == 2)
        await wire.send(OK)
        assert (await holder.read_answer())[0] == 200
        await wire.read_head()
        await holder.send(MISS % b"")
        assert (await holder.read_answer())[0] == 404
        await wire.send(OK)
        assert (await waiter.read_answer())[0] == 200


async def test_request_is_not_told_of_servers_that_an_earlier_one_was_refused_by() -> None:
    """What was seen at the end of its wait was never told; the next request of its connection has the same place in memory."""
    origin = Origin()
    witness = Listening()
    settings = Settings(queue=QueueSettings(size=2, wait_s=0.01))
    names = [server(name, origin.port, max_connections=1) for name in ("s", "b")]
    async with Bed(config_of(*names), settings) as bed:
        bed.engine.witness = witness
        bed.engine.log_level = LogLevel.TRACE
        holders = [await bed.client() for _ in names]
        wires = []
        for holder in holders:
            await holder.send(GET % b"")
            wires.append((await origin.accept_request())[0])
        client = await bed.client()
        await client.send(GET % b"")
        assert (await client.read_answer())[0] == 503
        for holder, wire in zip(holders, wires, strict=True):
            await wire.send(OK)
            assert (await holder.read_answer())[0] == 200
        await client.send(GET % b"")
        await wires[0].read_head()
        await wires[0].send(OK)
        assert (await client.read_answer())[0] == 200
        chosen = witness.told[-1].chosen
        assert chosen is not None
        assert chosen.server == "s"
        assert chosen.passed == []
