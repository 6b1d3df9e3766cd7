"""``routing.ambiguous_paths``: paths that servers may read in two ways go on as they came, or are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.blackbox.conftest import Shared
from tests.parity.test_paths import FINE, REFUSED
from tests.support.client import Client, get
from tests.support.origin import keep_answering
from tests.support.proxy import Lane, Proxy, lane, running_proxy

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
