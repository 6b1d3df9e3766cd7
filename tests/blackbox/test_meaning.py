"""What messages mean to a proxy beyond their framing: TRACE, hops that are counted, the forms of a target, Via, Date.

Where the sentences of this chapter are tested that are not tested here: hop-by-hop fields, test_headers; absolute-form and CONNECT,
test_refusals; 100 (Continue), 103 and other interim answers, HEAD, 204 and 304, test_exchange and test_handshakes; Expect, test_refusals; both
framings in an answer, test_bad_servers; early answers with the body unread, test_named_lessons; trailers, test_trailers; paths, test_paths;
101 and other upgrades, test_websocket.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import pytest_asyncio

from tests.blackbox.conftest import Shared
from tests.support.client import Client, ask, get, request
from tests.support.origin import answering, field, fields, keep_answering
from tests.support.proxy import Lane, Proxy, lane, running_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALLOW = b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tracing() -> AsyncIterator[tuple[Proxy, Lane]]:
    """A proxy that lets TRACE pass."""
    one = lane("one")
    async with running_proxy([one], settings="[http]\ntrace = true\n") as proxy:
        yield proxy, one


async def test_trace_is_refused(shared: Shared) -> None:
    """By default no server hears of it, and the connection ends."""
    async with await Client.connect(shared.port) as client:
        answer = await client.ask(request("TRACE", f"/{shared.silent.name}/x", "Cookie: a=secret"))
        assert (answer.status, answer.get(b"allow"), answer.closes) == (405, ALLOW, True)
        assert b"secret" not in answer.body
        assert await client.rest() == b""
    await shared.proxy.line(r": 405: TRACE is not served without http\.trace")
    assert not shared.silent.origin.has_waiting()


async def test_trace_is_a_method_like_others_where_allowed(tracing: tuple[Proxy, Lane]) -> None:
    proxy, one = tracing
    async with one.origin.serving(keep_answering), await Client.connect(proxy.port) as client:
        assert (await client.ask(request("TRACE", "/one/x", "Max-Forwards: 10"))).status == 200
        assert (await client.ask(request("TRACE", "/one/y"))).status == 200
    first, second = one.origin.requests[-2:]
    assert first.startswith(b"TRACE /one/x HTTP/1.1\r\n")
    assert field(first, b"max-forwards") == b"9"
    assert field(second, b"max-forwards") is None


async def test_trace_ends_here_at_its_last_hop(tracing: tuple[Proxy, Lane]) -> None:
    """Wsproxy itself echoes nothing: the connection goes on."""
    proxy, one = tracing
    before = len(one.origin.requests)
    async with one.origin.serving(keep_answering), await Client.connect(proxy.port) as client:
        last = request("TRACE", "/one/x", "Max-Forwards: 0", "Cookie: a=secret")
        answer = await client.ask(last)
        assert (answer.status, answer.get(b"allow"), answer.closes) == (405, ALLOW, False)
        assert b"secret" not in answer.body
        assert (await client.ask(get("/one/next"))).body == b"ok"
    assert len(one.origin.requests) == before + 1


async def test_trace_with_a_body_is_refused(tracing: tuple[Proxy, Lane]) -> None:
    proxy, one = tracing
    before = one.origin.accepted
    for message in (
        request("TRACE", "/one/x", body=b"x"),
        request("TRACE", "/one/x", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    ):
        answer = await ask(proxy.port, message)
        assert (answer.status, answer.closes) == (400, True)
    assert one.origin.accepted == before
    assert not one.origin.has_waiting()


@pytest.mark.parametrize(
    ("given", "sent"),
    [("1", b"0"), ("10", b"9"), ("007", b"6"), ("1000000000000", b"999999999999")],
)
async def test_hops_of_options_are_counted(shared: Shared, given: str, sent: bytes) -> None:
    """RFC 9110 7.6.2; also where Connection would take the field away, and the fields around it stay as they are."""
    lane = shared.lane()
    async with lane.origin.serving(keep_answering), await Client.connect(shared.port) as client:
        for line in ("X-More: 0", "Connection: Max-Forwards"):
            message = request(
                "OPTIONS", f"/{lane.name}/x", "X-A: 1", f"Max-Forwards: {given}", line, "X-B: 2"
            )
            assert (await client.ask(message)).status == 200
    for received in lane.origin.requests:
        assert field(received, b"max-forwards") == sent
        assert (field(received, b"x-a"), field(received, b"x-b")) == (b"1", b"2")


async def test_hops_of_a_request_with_other_edits_are_counted() -> None:
    """Clone ids taken away and X-Forwarded fields written in the same head."""
    one = lane("one", 2)
    settings = '[affinity]\nstrip_clone_ids = ["*"]\n[forwarded]\nx_forwarded = true\n'
    async with running_proxy([one], settings=settings) as proxy:
        async with (
            one.origin.serving(keep_answering),
            one.members[1].origin.serving(keep_answering),
        ):
            await ask(
                proxy.port,
                request("OPTIONS", "/one/x", "Cookie: JSESSIONID=0000a:c0", "Max-Forwards: 5"),
            )
        [message] = one.origin.requests
        assert field(message, b"max-forwards") == b"4"
        assert field(message, b"cookie") == b"JSESSIONID=0000a"
        assert field(message, b"x-forwarded-for") == b"127.0.0.1"


async def test_hops_of_other_methods_are_nobodys_business(shared: Shared) -> None:
    lane = shared.lane()
    async with lane.origin.serving(keep_answering):
        await ask(shared.port, get(f"/{lane.name}/x", "Max-Forwards: 0"))
    assert field(lane.origin.requests[0], b"max-forwards") == b"0"


@pytest.mark.parametrize("target", ["/NAME/x", "*"])
async def test_options_ends_here_at_its_last_hop(shared: Shared, target: str) -> None:
    """Answered as whoever it was meant for would, also to pipelined requests and to HTTP/1.0."""
    target = target.replace("NAME", shared.silent.name)
    async with await Client.connect(shared.port) as client:
        answer = await client.ask(request("OPTIONS", target, "Max-Forwards: 0", body=b"x"))
        assert (answer.status, answer.get(b"allow"), answer.body) == (200, ALLOW, b"")
    old = request("OPTIONS", "*", "Max-Forwards: 0", "Connection: keep-alive", version="1.0")
    async with await Client.connect(shared.port) as client:
        await client.send(old * 2)
        for _ in range(2):
            answer = await client.answer()
            assert (answer.status, answer.get(b"connection")) == (200, b"keep-alive")
    assert not shared.silent.origin.has_waiting()


@pytest.mark.parametrize(
    "lines", [("Max-Forwards: x",), ("Max-Forwards: -1",), ("Max-Forwards: 1", "Max-Forwards: 1")]
)
async def test_hops_that_cannot_be_counted_are_refused(
    shared: Shared, lines: tuple[str, ...]
) -> None:
    answer = await ask(shared.port, request("OPTIONS", f"/{shared.silent.name}/x", *lines))
    assert (answer.status, answer.closes) == (400, True)
    assert not shared.silent.origin.has_waiting()


async def test_asterisk_form_reaches_a_web_server_behind() -> None:
    """``OPTIONS *``, and the absolute form without a path that means the same (RFC 9112 3.2.4): no Route has them."""
    web = lane("web")
    settings = f'[fallback]\nmode = "upstream"\nupstream = "127.0.0.1:{web.origin.port}"\n'
    async with running_proxy([web], settings=settings) as proxy:
        async with web.origin.serving(keep_answering):
            for target in ("*", "http://shop.example:9080", "http://other.example:81/"):
                await ask(proxy.port, request("OPTIONS", target))
        first, second, third = web.origin.requests
        assert first.startswith(b"OPTIONS * HTTP/1.1\r\nHost: shop.example:9080\r\n")
        assert second.startswith(b"OPTIONS * HTTP/1.1\r\nHost: shop.example:9080\r\n")
        assert third.startswith(b"OPTIONS / HTTP/1.1\r\nHost: other.example:81\r\n")


async def test_no_via_by_default(shared: Shared) -> None:
    """The plug-in sends none; a client's own goes on, in both directions."""
    lane = shared.lane()
    reply = b"HTTP/1.1 200 OK\r\nVia: 1.1 cache\r\nContent-Length: 0\r\n\r\n"
    async with lane.origin.serving(answering(reply)), await Client.connect(shared.port) as client:
        answer = await client.ask(get(f"/{lane.name}/x"))
        await client.ask(get(f"/{lane.name}/x", "Via: 1.0 before"))
    assert answer.get(b"via") == b"1.1 cache"
    assert [field(each, b"via") for each in lane.origin.requests] == [None, b"1.0 before"]


async def test_via_names_the_proxy_behind_all_others() -> None:
    """With the version in which the request came; answers are not marked (a gateway may leave that, RFC 9110 7.6.3)."""
    one = lane("one")
    async with running_proxy([one], settings='[http]\nvia = "edge-1.example:443"\n') as proxy:
        async with one.origin.serving(keep_answering):
            first = get("/one/x", "via: 1.0 fred", "X-A: b", "Via: 1.1 p.example (x, y)")
            answer = await ask(proxy.port, first)
            await ask(proxy.port, get("/one/x", version="1.0"))
        new, old = one.origin.requests
        vias = [value for name, value in fields(new) if name == b"via"]
        assert vias == [b"1.0 fred", b"1.1 p.example (x, y)", b"1.1 edge-1.example:443"]
        assert field(old, b"via") == b"1.0 edge-1.example:443"
        assert answer.get(b"via") is None


async def test_via_stands_in_a_request_that_is_sent_again() -> None:
    """Once, whoever gets it."""
    two = lane("two", 2)
    two.members[0].origin.refuse()
    async with (
        running_proxy([two], settings='[http]\nvia = "edge"\n') as proxy,
        two.members[1].origin.serving(keep_answering),
    ):
        for _ in range(2):
            await ask(proxy.port, get("/two/x"))
    for message in two.members[1].origin.requests:
        assert field(message, b"via") == b"1.1 edge"


def now_s() -> float:
    return datetime.now(UTC).timestamp()


def check_date(value: bytes | None, since: float) -> None:
    assert value is not None
    assert int(since) <= parsedate_to_datetime(value.decode()).timestamp() <= now_s()


@pytest.mark.parametrize("status", [b"200 OK", b"204 No Content", b"304 Not Modified"])
async def test_answer_without_date_gets_one(shared: Shared, status: bytes) -> None:
    """RFC 9110 6.6.1; also to HTTP/1.0, to HEAD and where Connection took the server's away."""
    lane = shared.lane()
    since = now_s()
    none = b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status
    hidden = b"HTTP/1.1 %b\r\nDate: x\r\nConnection: date\r\nContent-Length: 0\r\n\r\n" % status
    for reply in (none, hidden):
        async with lane.origin.serving(answering(reply)):
            check_date((await ask(shared.port, get(f"/{lane.name}/x"))).get(b"date"), since)
            head = request("HEAD", f"/{lane.name}/x", version="1.0")
            check_date((await ask(shared.port, head, head_only=True)).get(b"date"), since)


async def test_date_of_the_server_stands(shared: Shared) -> None:
    """However it is spelled and whatever it says; interim answers get none."""
    lane = shared.lane()
    date = b"Sun, 06 Nov 1994 08:49:37 GMT"
    reply = (
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ndAtE:%b\r\nContent-Length: 0\r\n\r\n"
        % date
    )
    async with lane.origin.serving(answering(reply)), await Client.connect(shared.port) as client:
        await client.send(get(f"/{lane.name}/x"))
        assert (await client.head()).get(b"date") is None
        assert (await client.answer()).all(b"date") == [date]


async def test_local_answers_have_a_date(tmp_path: Path) -> None:
    """Pages, files and the answer to OPTIONS."""
    since = now_s()
    (tmp_path / "a.txt").write_text("a")
    settings = f'[fallback]\nmode = "directory"\ndirectory = "{tmp_path}"\n'
    async with running_proxy([lane("any")], settings=settings) as proxy:
        for message, status in (
            (get("/a.txt"), 200),
            (get("/none"), 404),
            (b"broken\r\n\r\n", 400),
            (request("OPTIONS", "*", "Max-Forwards: 0"), 200),
        ):
            answer = await ask(proxy.port, message)
            assert answer.status == status
            check_date(answer.get(b"date"), since)
