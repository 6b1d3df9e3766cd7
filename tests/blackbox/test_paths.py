"""``routing.ambiguous_paths``: paths that servers may read in two ways go on as they came, or are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.blackbox.conftest import Shared
from tests.support.client import Client, get
from tests.support.origin import keep_answering
from tests.support.proxy import Lane, Proxy, lane, running_proxy
from tests.unit._fast.http.test_paths import FINE, REFUSED

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def refusing() -> AsyncIterator[tuple[Proxy, Lane]]:
    """A proxy that refuses them."""
    one = lane("one")
    settings = '[routing]\nambiguous_paths = "refuse"\n'
    async with running_proxy([one], settings=settings) as proxy:
        yield proxy, one


async def test_paths_in_two_ways_are_refused(refusing: tuple[Proxy, Lane]) -> None:
    """Before a server hears of them, with the reason in the log; in origin-form and in absolute-form."""
    proxy, one = refusing
    for path in REFUSED:
        for before in ("", "http://shop.example"):
            async with await Client.connect(proxy.port) as client:
                start = len(proxy.lines)
                answer = await client.ask(get(f"{before}/one{path.decode()}"))
                assert (answer.status, answer.closes) == (400, True), path
                await proxy.line(r"400: path with //.*\(routing\.ambiguous_paths\)", start)
    assert not one.origin.has_waiting()
    assert one.origin.accepted == 0


async def test_other_paths_go_on_as_they_came(refusing: tuple[Proxy, Lane]) -> None:
    """What the query holds is nobody's business."""
    proxy, one = refusing
    async with one.origin.serving(keep_answering), await Client.connect(proxy.port) as client:
        for path in FINE:
            target = f"/one{path.decode()}?/../%2f//\\"
            assert (await client.ask(get(target))).status == 200, path
            assert one.origin.requests[-1].startswith(f"GET {target} HTTP/1.1\r\n".encode())


async def test_all_paths_go_on_as_they_came_by_default(shared: Shared) -> None:
    lane = shared.lane()
    async with lane.origin.serving(keep_answering), await Client.connect(shared.port) as client:
        for path in FINE + REFUSED:
            target = f"/{lane.name}{path.decode()}"
            assert (await client.ask(get(target))).status == 200, path
            assert lane.origin.requests[-1].startswith(f"GET {target} HTTP/1.1\r\n".encode())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def encoding() -> AsyncIterator[tuple[Proxy, Lane]]:
    """A proxy that encodes bytes beyond ASCII; a body of more than 1 KB is not kept."""
    one = lane("one", attributes='PostBufferSize="1"')
    async with running_proxy([one], settings='[http]\nnon_ascii = "encode"\n') as proxy:
        yield proxy, one


RAW = "/one/m\u00fcller?q=\u20ac".encode()
ENCODED = b"/one/m%C3%BCller?q=%E2%82%AC"


def raw_request(method: bytes, target: bytes = RAW, body: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return b"%b %b HTTP/1.1\r\nHost: h\r\n%b\r\n%b" % (method, target, length, body)


async def test_bytes_beyond_ascii_are_refused_by_default(shared: Shared) -> None:
    """400, before a server hears of them."""
    one = shared.lane()
    async with await Client.connect(shared.port) as client:
        answer = await client.ask(raw_request(b"GET", b"/%b/\xfc" % one.name.encode()))
        assert (answer.status, answer.closes) == (400, True)
    assert one.origin.accepted == 0


async def test_bytes_beyond_ascii_go_on_encoded(encoding: tuple[Proxy, Lane]) -> None:
    """In path and query, in absolute-form too, with bodies that are kept and not; what is beside them stays as it is."""
    proxy, one = encoding
    async with one.origin.serving(keep_answering), await Client.connect(proxy.port) as client:
        for target in (RAW, b"http://h" + RAW, ENCODED):
            for body in (b"", b"b\xfc" * 10, b"\xff" * 300_000):
                asked = raw_request(b"POST" if body else b"GET", target, body)
                assert (await client.ask(asked)).status == 200
                sent = one.origin.requests[-1]
                assert sent.split(b" ")[1] == ENCODED
                assert sent.endswith(b"\r\n\r\n" + body)


async def test_bytes_beyond_ascii_may_come_in_pieces_and_several_at_once(
    encoding: tuple[Proxy, Lane],
) -> None:
    """A request that drips in is taken up when it is whole; those sent ahead each have their own bytes."""
    proxy, one = encoding
    start = len(one.origin.requests)
    bodies = [b"", b"first", b"second" * 400]
    stream = b"".join(raw_request(b"POST" if body else b"GET", body=body) for body in bodies)
    async with one.origin.serving(keep_answering), await Client.connect(proxy.port) as client:
        for at in range(0, len(stream), 7):
            await client.send(stream[at : at + 7])
        for _ in bodies:
            assert (await client.answer()).status == 200
        await client.send(stream)
        for _ in bodies:
            assert (await client.answer()).status == 200
    heads_and_bodies = [sent.partition(b"\r\n\r\n") for sent in one.origin.requests[start:]]
    assert [head.split(b" ")[1] for head, _, _ in heads_and_bodies] == [ENCODED] * 6
    assert [body for _, _, body in heads_and_bodies] == bodies * 2


async def test_what_is_wrong_otherwise_stays_wrong(encoding: tuple[Proxy, Lane]) -> None:
    """A control character, a fragment, a target that grows beyond the limit by being encoded."""
    proxy, one = encoding
    accepted = one.origin.accepted
    for target, status in (
        (b"/one/\xfc\x01", 400),
        (b"/one/\xfc#", 400),
        (b"\xfc", 400),
        (b"/one/" + b"\xfc" * 6000, 414),
    ):
        async with await Client.connect(proxy.port) as client:
            answer = await client.ask(raw_request(b"GET", target))
            assert (answer.status, answer.closes) == (status, True), target
    assert one.origin.accepted == accepted
