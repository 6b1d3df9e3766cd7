"""
The worker takes another configuration in the middle of requests: each goes to its end by the one that it began with.

Nothing but the exchange itself keeps the old View here, so that what points into one that is gone shows under ASAN.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.support.bed import server
from tests.support.fake_transport import FakeTransport
from tests.support.stage import Stage
from wsproxy._fast.decide.view import View
from wsproxy.config.model import (
    Config,
    Route,
    ServerCluster,
    TrustedProxy,
    Uri,
    UriGroup,
    VirtualHost,
    VirtualHostGroup,
)
from wsproxy.config.settings import HttpSettings, QueueSettings, Settings
from wsproxy.dataplane.view import make_view

pytestmark = pytest.mark.asan

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\nCookie: JSESSIONID=0000old:a1; NEWSESSION=0000new:t1\r\n\r\n"
POST = GET.replace(b"GET", b"POST").replace(b"Host", b"Content-Length: 10\r\nHost")
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
# Both names: only that of the exchange's own Route is completed with its own server's clone id.
SETS = OK.replace(
    b"Date", b"Set-Cookie: JSESSIONID=0000abc\r\nSet-Cookie: NEWSESSION=0000abc\r\nDate"
)
OLD_COOKIES = (
    b"Set-Cookie: JSESSIONID=0000abc:a1\r\n",
    b"Set-Cookie: NEWSESSION=0000abc\r\n",
)
NEW_COOKIES = (
    b"Set-Cookie: JSESSIONID=0000abc\r\n",
    b"Set-Cookie: NEWSESSION=0000abc:t1\r\n",
)


def new_config(**more: object) -> Config:
    """Another cookie, another cluster, another server."""
    return Config(
        virtual_host_groups=(VirtualHostGroup("any", (VirtualHost("*:*", "*", None),)),),
        uri_groups=(UriGroup("app", (Uri("/app/*", affinity_cookie="NEWSESSION"),)),),
        server_clusters=(ServerCluster("new", servers=(server("t", 3, clone_id="t1"),)),),
        routes=(Route("new", "app", "any"),),
        **more,  # type: ignore[arg-type]
    )


def views() -> int:
    gc.collect()
    return sum(isinstance(each, View) for each in gc.get_objects())


@pytest.fixture(autouse=True)
def _others_do_not_count() -> Iterator[None]:
    """``views`` counts those that are made from here on: other tests of the session may have left some."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage(backup=True, attributes={"clone_id": "a1"}, body_s=60)
    yield made
    made.end()


def begin(stage: Stage, request: bytes = GET) -> tuple[FakeTransport, FakeTransport]:
    """A client, and the server of the old configuration that has its request."""
    client = stage.client()
    client.deliver(request)
    assert waiting_for(stage) == "s"
    return client, stage.server()


def waiting_for(stage: Stage) -> str:
    pool = stage.slow.waiting[-1].pool
    assert pool is not None
    return pool.name


def check_next_is_new(stage: Stage, client: FakeTransport) -> None:
    """The next request of the same connection; after it nobody is left who needs the old View."""
    client.deliver(GET)
    assert waiting_for(stage) == "t"
    assert views() == 1
    upstream = stage.server()
    assert upstream.drain().startswith(b"GET /app/x")
    upstream.deliver(SETS)
    answer = client.drain()
    assert all(line in answer for line in NEW_COOKIES)
    assert stage.inflight == 0


def check_answer_is_old(client: FakeTransport, upstream: FakeTransport) -> None:
    upstream.deliver(SETS)
    answer = client.drain()
    assert all(line in answer for line in OLD_COOKIES)


def test_head_half_read_goes_by_the_new_one(stage: Stage) -> None:
    """It has not begun: a request does when its head is whole."""
    client = stage.client()
    client.deliver(GET[:30])
    stage.take(new_config())
    client.deliver(GET[30:])
    assert waiting_for(stage) == "t"
    assert views() == 1
    stage.server().deliver(OK)
    assert client.drain() == OK


def test_connection_is_looked_for(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    stage.take(new_config())
    assert views() == 2
    assert waiting_for(stage) == "s"
    check_answer_is_old(client, stage.server())
    check_next_is_new(stage, client)


def test_body_half_sent(stage: Stage) -> None:
    client, upstream = begin(stage, POST + b"01234")
    stage.take(new_config())
    client.deliver(b"56789")
    assert upstream.drain().endswith(b"\r\n\r\n0123456789")
    check_answer_is_old(client, upstream)
    check_next_is_new(stage, client)


def test_answer_half_sent(stage: Stage) -> None:
    client, upstream = begin(stage)
    upstream.deliver(SETS[:-1])
    stage.take(new_config())
    upstream.deliver(SETS[-1:])
    answer = client.drain()
    assert answer.endswith(b"ok")
    assert all(line in answer for line in OLD_COOKIES)
    check_next_is_new(stage, client)


def test_retry_pending(stage: Stage) -> None:
    """It goes to the old configuration's other server, with the session that its own cookie names."""
    client, upstream = begin(stage)
    stage.take(new_config())
    upstream.lose(ConnectionResetError())
    assert waiting_for(stage) == "b"
    other = stage.server()
    assert b"$WSFO" in other.drain()
    other.deliver(SETS)
    assert client.drain().endswith(b"ok")
    check_next_is_new(stage, client)


def test_sent_ahead(stage: Stage) -> None:
    """The second request waits in memory for the first one's answer: it begins after it."""
    client, upstream = begin(stage, GET + GET)
    stage.take(new_config())
    check_answer_is_old(client, upstream)
    assert waiting_for(stage) == "t"
    assert views() == 1
    stage.server().deliver(OK)
    assert client.drain() == OK


def test_client_leaves(stage: Stage) -> None:
    """Its server is given back in the old configuration's slot; the View goes with the connection."""
    (old,) = stage.plan.clusters
    assert old is not None
    client, _ = begin(stage)
    assert old.server_state(0)["inflight"] == 1
    stage.take(new_config())
    client.lose()
    stage.transports.remove(client)
    del client
    assert old.server_state(0)["inflight"] == 0
    assert views() == 1


def test_whom_it_trusts_and_how_it_calls_itself(stage: Stage) -> None:
    """What a connection has from its View is the next one's with the next request."""
    settings = Settings(http=HttpSettings(via="second"))
    request = GET.replace(b"Host", b"$WSRA: 203.0.113.9\r\nHost")
    client, upstream = begin(stage, request)
    assert b"$WSRA: 192.0.2.7" in upstream.drain()
    stage.take(
        new_config(trusted_proxies=(TrustedProxy("192.0.2.7"),), trusted_proxy_enable=True),
        settings,
    )
    check_answer_is_old(client, upstream)
    client.deliver(request)
    upstream = stage.server()
    sent = upstream.drain()
    assert b"$WSRA: 203.0.113.9" in sent
    assert b"Via: 1.1 second\r\n" in sent
    stage.take(new_config(), Settings())
    upstream.deliver(OK)
    client.drain()
    client.deliver(request)
    sent = upstream.drain()  # warm still: the server is as it was
    assert b"$WSRA: 192.0.2.7" in sent
    assert b"second" not in sent
    upstream.deliver(OK)


def test_view_that_only_decides_is_not_taken(stage: Stage) -> None:
    """It has no pools, no names to mask, and the slow path finds nothing in it."""
    before = stage.engine.view
    with pytest.raises(TypeError, match="found a View that only decides"):
        stage.engine.take_view(make_view(stage.plan, with_pools=False))
    assert stage.engine.view is before
    assert stage.engine.views_in_use() == [before]


def test_views_that_are_in_use(stage: Stage) -> None:
    """Those of requests that run, and the present one."""
    first = stage.engine.view
    client, upstream = begin(stage)
    stage.take(new_config())
    second = stage.engine.view
    stage.take(new_config())
    assert set(stage.engine.views_in_use()) == {first, second, stage.engine.view}
    del second
    assert set(stage.engine.views_in_use()) == {first, stage.engine.view}
    check_answer_is_old(client, upstream)


async def test_in_the_queue() -> None:
    """Who waits is given a place at the old configuration's server."""
    settings = Settings(queue=QueueSettings(size=2, wait_s=60))
    stage = Stage(settings=settings, attributes={"clone_id": "a1", "max_connections": 1})
    first, upstream = begin(stage)
    second = stage.client()
    second.deliver(GET)
    assert stage.slow.waiting == []
    stage.take(new_config())
    check_answer_is_old(first, upstream)
    stage.slow.room.look()
    assert upstream.is_closing_  # nobody else may use it
    assert waiting_for(stage) == "s"
    check_answer_is_old(second, stage.server())
    assert views() == 2
    first.deliver(GET)
    assert waiting_for(stage) == "t"
    new = stage.server()
    new.deliver(OK)
    assert first.drain() == OK
    second.deliver(GET)  # goes on the connection that the new one has kept
    assert stage.slow.waiting == []
    new.deliver(OK)
    assert second.drain() == OK
    assert views() == 1
    stage.end()
