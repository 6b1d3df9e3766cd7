"""The system's resolver, asked for what every machine knows and for what none can."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

import pytest

from wsproxy.dataplane.resolve import Last, Resolver


async def test_localhost_is_a_loopback_address() -> None:
    addresses = await Resolver(60).resolve("localhost")
    assert addresses
    assert all(ipaddress.ip_address(each).is_loopback for each in addresses)
    assert len(set(addresses)) == len(addresses)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "fe80::1%lo"])
async def test_address_stands_for_itself(address: str) -> None:
    assert await Resolver(60).resolve(address) == [address]


async def test_answer_is_kept_for_the_time_given() -> None:
    keeping, asking = Resolver(60), Resolver(0)
    assert await keeping.resolve("localhost") is await keeping.resolve("localhost")
    assert await asking.resolve("localhost") is not await asking.resolve("localhost")


async def test_unknown_name_is_an_os_error_each_time() -> None:
    """.invalid never exists (RFC 6761); asked again it may be there, so a failure is not kept."""
    resolver = Resolver(60)
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await resolver.resolve("no-such-host.invalid")


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "a..b", "nul\0byte"])
async def test_what_is_no_name_is_an_os_error_too(name: str) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on the C library
        await Resolver(60).resolve(name)


class FailingLoop(asyncio.SelectorEventLoop):
    """Whose resolver answers until it is told not to."""

    mode = "well"
    asked = 0

    async def getaddrinfo(  # type: ignore[override]  # nobody here asks for a family
        self, host: object, *_: object, **__: object
    ) -> Sequence[tuple[object, ...]]:
        self.asked += 1
        if self.mode == "silent":
            await asyncio.Event().wait()
        if self.mode == "fails":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(0, 0, 0, "", ("192.0.2.7", 0))]


@pytest.mark.parametrize("mode", ["fails", "silent"])
def test_last_addresses_hold_while_a_name_fails(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also for the resolver of the next configuration; it is told once, and not asked for every connection."""
    loop = FailingLoop()

    async def ask() -> None:
        last: Last = {}
        assert await Resolver(0, last).resolve("s.example") == ["192.0.2.7"]
        loop.mode = mode
        later = Resolver(0, last)
        for _ in range(3):
            assert await later.resolve("s.example") == ["192.0.2.7"]
        assert loop.asked == 2
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(ask())
    assert caplog.text.count("its last addresses are used: 192.0.2.7") == 1
